"""Which models the experts may use, and how they share the memory; read again when a file has changed."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clusterkit.config.catalogue import Catalogue, ExpertSpec, load_catalogue
from clusterkit.config.suggest import suggest
from clusterkit.config.yaml_file import describe_problem
from clusterkit.errors import ConfigFileError

SECONDS_PER_MINUTE = 60.0


class MemoryTable(BaseModel):
    """The table `[memory]` of `hearth.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    models: Annotated[
        Literal["together", "in_turn"],
        Field(
            description="together: models that fit into memory side by side; in_turn: the largest that fits "
            "alone for each expert, loaded when it is asked for."
        ),
    ] = "together"
    pinned: Annotated[list[str], Field(description="Experts whose models never leave memory.")] = []
    idle_minutes: Annotated[
        float, Field(gt=0, description="With in_turn, an unused model leaves after so long.")
    ] = 15.0


@dataclass(frozen=True)
class MemoryRules:
    """How the experts share the memory."""

    in_turn: bool = False  #: models take turns; otherwise those are chosen that fit together
    pinned: frozenset[str] = frozenset()  #: names of experts
    idle_seconds: float | None = None  #: after which an unused model leaves; None keeps it


@dataclass(frozen=True)
class Lists:
    """Everything that a person decides about experts and their models."""

    experts: tuple[ExpertSpec, ...]
    memory: MemoryRules = MemoryRules()


class ListReader:
    """Reads the catalogue and a person's `hearth.toml`."""

    def __init__(
        self, catalogue: Path, own: Path, select: Callable[[Catalogue], tuple[ExpertSpec, ...]]
    ) -> None:
        """`select` picks the experts that are served here. `own` may be absent."""
        self._catalogue, self._own, self._select = catalogue, own, select
        self._read: tuple[object, Lists] | None = None

    def read(self) -> Lists:
        """What the files say now; parsed only when they have changed. Blocks.

        Raises `ConfigFileError`, and what `select` raises.
        """
        stamp = (_stamp(self._catalogue), _stamp(self._own))
        if self._read is None or self._read[0] != stamp:
            catalogue = load_catalogue(self._catalogue, self._own)
            rules = read_memory_rules(self._own, tuple(catalogue.experts))
            self._read = (stamp, Lists(self._select(catalogue), rules))
        return self._read[1]


def read_memory_rules(path: Path, experts: tuple[str, ...]) -> MemoryRules:
    """The table `[memory]` of the TOML file `path`, which may be absent; `experts` names those there are.

    Raises `ConfigFileError`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return MemoryRules()
    try:
        table = MemoryTable.model_validate(tomllib.loads(text).get("memory", {}))
    except ValidationError as error:
        problem = error.errors()[0]
        where = [str(part) for part in problem["loc"][:1]]
        raise _error(path, text, where, describe_problem(problem, MemoryTable)) from error
    for name in table.pinned:
        if name not in experts:
            raise _error(path, text, ["pinned"], f"unknown expert {name!r}{suggest(name, experts)}")
    in_turn = table.models == "in_turn"
    idle = table.idle_minutes * SECONDS_PER_MINUTE if in_turn else None
    return MemoryRules(in_turn, frozenset(table.pinned), idle)


def _error(path: Path, text: str, where: list[str], problem: str) -> ConfigFileError:
    lines = text.splitlines()
    table = next((n for n, line in enumerate(lines) if re.match(r"\s*\[?\s*memory\b", line)), 0)
    keys = (rf"\s*{re.escape(key)}\s*=" for key in where)
    line = next((n for key in keys for n in range(table, len(lines)) if re.match(key, lines[n])), table)
    return ConfigFileError(str(path), line + 1, 1, problem, ".".join(["memory", *where]))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
