"""What a model server service can be told."""

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from clusterkit.config.settings import ServiceSettings, settings_config


def default_threads() -> int:
    """One inference thread fewer than there are cores: spinning threads on all of them starve each other."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


class LlamaExpertSettings(ServiceSettings):
    """Settings of `llama_expert`; variables start with LLAMA_EXPERT_."""

    model_config = settings_config("LLAMA_EXPERT_")

    experts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Experts to serve here, separated by commas; empty serves all of the catalogue."
    )
    models_file: Path = Field(Path("group_vars/all/models.yaml"), description="The expert catalogue.")
    own_models_file: Path | None = Field(
        None, description="TOML file with your own models (default: hearth.toml in the state folder)."
    )
    models_dir: Path | None = Field(
        None, description="Where model files lie (default: models in the state folder)."
    )
    engine: Literal["xllamacpp", "llama-server", "llama-cpp-python"] = Field(
        "xllamacpp", description="The program that runs the models."
    )
    llama_server_binary: Path | None = Field(
        None, description="The llama-server program, for the engine of that name."
    )
    rpc_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="HOST:PORT of llama.cpp RPC servers, separated by commas: a model too big for this "
        "machine is split over them. Needs the engine llama-server.",
    )
    rpc_server_memory_mb: int = Field(0, ge=0, description="Main memory in MB that each of them lends.")
    threads: int = Field(
        default_factory=default_threads, ge=1, le=1024, description="Threads of each model server."
    )
    context: int = Field(
        4096, ge=256, description="Context length in tokens, unless the catalogue says otherwise for a model."
    )
    reserve_mb: int = Field(512, ge=0, description="Main memory in MB that stays free for everything else.")
    memory_mb: int | None = Field(
        None,
        ge=0,
        description="Free main memory in MB; measured when not set. For tests and shared machines.",
    )
    load_timeout_s: float = Field(120.0, gt=0, description="Seconds that a model may take to load.")
    wait_timeout_s: float = Field(
        240.0, gt=0, description="Seconds that a request may wait for a model that loads, or for its turn."
    )
    drain_timeout_s: float = Field(
        300.0, gt=0, description="Seconds that running requests get on a server that another has replaced."
    )

    @field_validator("experts", "rpc_servers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @model_validator(mode="after")
    def _only_one_engine_splits(self) -> Self:
        if self.rpc_servers and self.engine != "llama-server":
            raise ValueError(
                f"LLAMA_EXPERT_RPC_SERVERS: the engine {self.engine!r} cannot split a model; "
                "set LLAMA_EXPERT_ENGINE to llama-server, or none of them"
            )
        return self

    @cached_property
    def models_folder(self) -> Path:
        """Where model files lie."""
        return self.models_dir or self.home / "models"

    @cached_property
    def own_models(self) -> Path:
        """The TOML file with a person's own models; may be absent."""
        return self.own_models_file or self.home / "hearth.toml"
