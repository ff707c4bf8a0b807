"""The expert catalogue: which models an expert may use, in order of preference.

`group_vars/all/models.yaml` ships the lists; a person's own models from `hearth.toml` go in front.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from clusterkit.config.sources import ModelUrl, Packages, Source, source_of
from clusterkit.config.suggest import closest, suggest
from clusterkit.config.toml_file import read_toml
from clusterkit.config.yaml_file import Location, YamlDocument, describe_problem, read_yaml
from clusterkit.errors import ConfigFileError

SERVICE_PREFIX = "expert-"  #: an expert's service name in the registry is this plus its name


def _bare_file_name(value: str) -> str:
    if value in {".", ".."} or not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._ +@-]*", value):
        raise ValueError("must be a bare file name without a path, such as 'model.gguf'")
    return value


def _tool_mode(value: object) -> object:
    # Until there were modes the field said whether tools were offered at all.
    if isinstance(value, bool):
        return "native" if value else "none"
    return value


BareFileName = Annotated[str, AfterValidator(_bare_file_name)]
ExpertName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
ModelName = Annotated[str, Field(min_length=1, max_length=120)]
#: How a model calls tools: as its model server reads them, as text that is put right, by a decision under a
#: schema, or not at all.
ToolMode = Literal["native", "repair", "schema", "none"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _ModelFacts(BaseModel):
    """What is said of a model wherever it is listed."""

    model_config = ConfigDict(frozen=True, strict=True)

    filename: Annotated[BareFileName, Field(description="Its bare file name in the models folder.")]
    memory_mb: Annotated[
        int, Field(gt=0, description="Main memory it needs when loaded, context included, in MB.")
    ]
    bytes: Annotated[int | None, Field(gt=0, description="Size of the file.")] = None
    sha256: Annotated[Sha256 | None, Field(description="Hash of the file, lower-case hex.")] = None
    context: Annotated[int | None, Field(ge=256, description="Context length in tokens.")] = None
    tools: Annotated[
        ToolMode,
        BeforeValidator(_tool_mode),
        Field(
            description="How it calls tools: native (its model server reads them), repair (it writes them "
            "as text, which is put right), schema (it decides under a schema), none (it is offered none)."
        ),
    ] = "native"
    repeat_penalty: Annotated[
        float, Field(ge=1, le=2, description="Sampling default against endless repetition; 1 is off.")
    ] = 1.0


class ListedModel(_ModelFacts):
    """One entry of `models` in `models.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="Model")

    licence: Annotated[str, Field(min_length=1, description="SPDX name, or what its makers call it.")]
    sources: Annotated[list[Source], Field(min_length=1, description="Where it comes from, tried in order.")]
    unverified: Annotated[bool, Field(description="True when nobody has published the file's hash.")] = False

    @model_validator(mode="after")
    def _hash_or_said_so(self) -> Self:
        if (self.sha256 is None) != self.unverified:
            raise ValueError("must have either sha256 or unverified: true")
        if self.bytes is None and any(source.packages for source in self.sources):
            raise ValueError("must have bytes, the size of the whole, because it comes in packages")
        return self


class OwnModel(_ModelFacts):
    """One `[[experts.NAME]]` table of `hearth.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[ModelName, Field(description="What people call the model.")]
    url: Annotated[
        ModelUrl, Field(description="Where it comes from: http(s)://, file:///PATH, package:NAME.")
    ]


class ModelSpec(_ModelFacts):
    """One model that an expert may use. Given a `url` in place of `sources`, that is its one source."""

    name: Annotated[ModelName, Field(description="What people call the model.")]
    licence: Annotated[str | None, Field(description="SPDX name; None for a person's own.")] = None
    sources: Annotated[
        tuple[Source, ...],
        Field(min_length=1, validate_default=True, description="Where it comes from, in order."),
    ] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_url_is_one_source(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "url" not in given:
            return given
        own = OwnModel.model_validate(given)
        return {**own.model_dump(exclude={"url"}), "sources": (source_of(own.url),)}

    @property
    def url(self) -> str:
        """The first source, for people: an address, `package:NAME`, or the packages of a registry."""
        return str(self.sources[0])

    @property
    def package(self) -> str | None:
        """The installed Python package that ships the file, or None."""
        return next((source.package for source in self.sources if source.package), None)

    @property
    def local_path(self) -> Path | None:
        """The path of a `file:` source, or None."""
        return next((source.local_path for source in self.sources if source.local_path), None)


class SpeechFile(BaseModel):
    """One file of a speech model."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    filename: Annotated[BareFileName, Field(description="Its bare name in the model's own folder.")]
    bytes: Annotated[int, Field(gt=0, description="Size of the file.")]
    sha256: Annotated[Sha256, Field(description="Hash of the file, lower-case hex.")]
    sources: Annotated[list[Source], Field(min_length=1, description="Where it comes from, tried in order.")]


class SpeechModel(BaseModel):
    """A voice, or a model that hears: files that lie in a folder of the model's name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    licence: Annotated[str, Field(min_length=1, description="SPDX name, or what its makers call it.")]
    files: Annotated[list[SpeechFile], Field(min_length=1, description="All of its files.")]


class CatalogueFile(BaseModel):
    """`models.yaml` as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="Expert models")

    fallback_max_memory_mb: Annotated[
        int,
        Field(gt=0, description="Every list must end in a model that needs at most this much memory, in MB."),
    ]
    models: Annotated[
        dict[ModelName, ListedModel], Field(min_length=1, description="Model to what it is, once.")
    ]
    expert_models: Annotated[
        dict[ExpertName, Annotated[list[ModelName], Field(min_length=1)]],
        Field(min_length=1, description="Expert to its models, largest first; the first that fits is used."),
    ]
    speech_models: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")], SpeechModel],
        Field(description="Speech model to its files."),
    ] = {}


class OwnModelsFile(BaseModel):
    """The part of `hearth.toml` that concerns experts."""

    model_config = ConfigDict(frozen=True, strict=True)

    experts: dict[ExpertName, list[OwnModel]] = {}


@dataclass(frozen=True)
class ExpertSpec:
    """One expert and the models it may use, most wanted first."""

    name: str
    models: tuple[ModelSpec, ...]

    @property
    def service_name(self) -> str:
        """The expert's name in the registry."""
        return f"{SERVICE_PREFIX}{self.name}"


@dataclass(frozen=True)
class Catalogue:
    """Every expert by name, in the order of the file, and every model that the file describes."""

    experts: Mapping[str, ExpertSpec]
    models: Mapping[str, ModelSpec]
    speech_models: Mapping[str, SpeechModel]


def load_catalogue(path: Path, own_models: Path | None = None) -> Catalogue:
    """Read `path` and put the models of `own_models` (TOML; may be absent) in front of the lists.

    Raises `ConfigFileError` naming the file, the line and what was expected.
    """
    document = read_yaml(path)
    try:
        file = CatalogueFile.model_validate(document.data)
    except ValidationError as error:
        problem = error.errors()[0]
        raise document.error(_location(problem), _describe(problem)) from error
    _check_lists(file, document)
    models = {name: _spec(name, listed) for name, listed in file.models.items()}
    lists = {expert: tuple(models[name] for name in names) for expert, names in file.expert_models.items()}
    if own_models is not None and own_models.exists():
        for name, own in read_own_models(own_models, lists).items():
            lists[name] = (*own, *lists[name])
    experts = {name: ExpertSpec(name, specs) for name, specs in lists.items()}
    return Catalogue(
        MappingProxyType(experts), MappingProxyType(models), MappingProxyType(dict(file.speech_models))
    )


def _spec(name: str, listed: ListedModel) -> ModelSpec:
    facts = listed.model_dump(exclude={"sources", "unverified"})
    return ModelSpec(name=name, sources=tuple(listed.sources), **facts)


def read_own_models(
    path: Path, shipped: Mapping[str, tuple[ModelSpec, ...]]
) -> dict[str, tuple[ModelSpec, ...]]:
    """The `[[experts.NAME]]` tables of a TOML file, in order; other tables are not looked at.

    `shipped` names the experts there are, and the models whose names are taken. Raises `ConfigFileError`.
    """
    document = read_toml(path)
    if key := closest("experts", (key for key in document.data if key != "experts"), cutoff=0.8):
        problem = f"unknown table {key!r} (did you mean 'experts'?)"
        raise ConfigFileError(document.source, document.line((key,)), 1, problem)
    try:
        own = OwnModelsFile.model_validate(document.data)
    except ValidationError as error:
        first = error.errors()[0]
        problem = describe_problem({**first, "loc": first["loc"][-1:]}, OwnModel)
        raise document.error(_location(first), problem) from error
    for name, models in own.experts.items():
        if name not in shipped:
            raise document.error(("experts", name), f"unknown expert {name!r}{suggest(name, shipped)}")
        taken = {model.name for model in shipped[name]}
        for index, model in enumerate(models):
            if model.name in taken:
                where = ("experts", name, index, "name")
                raise document.error(where, f"the model name {model.name!r} is already taken")
            taken.add(model.name)
    return {
        name: tuple(ModelSpec.model_validate(model.model_dump()) for model in models)
        for name, models in own.experts.items()
    }


def catalogue_json_schema() -> dict[str, Any]:
    """The JSON schema of `models.yaml`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **CatalogueFile.model_json_schema()}


def _check_lists(file: CatalogueFile, document: YamlDocument) -> None:
    for location, problem in _list_problems(file):
        raise document.error(location, problem)


def _list_problems(file: CatalogueFile) -> Iterator[tuple[Location, str]]:
    limit = file.fallback_max_memory_mb
    for expert, names in file.expert_models.items():
        where: Location = ("expert_models", expert)
        for index, name in enumerate(names):
            if name not in file.models:
                yield (*where, index), f"there is no model {name!r} under models{suggest(name, file.models)}"
            if name in names[:index]:
                yield (*where, index), f"the model name {name!r} is already taken in this list"
        sizes = [file.models[name].memory_mb for name in names if name in file.models]
        for index, (before, size) in enumerate(pairwise(sizes), start=1):
            if size > before:
                yield (*where, index), f"{size} MB after {before} MB: list the largest model first"
        if sizes[-1] > limit:
            problem = (
                f"the last model needs {sizes[-1]} MB; every list must end in a fallback of at most "
                f"fallback_max_memory_mb = {limit} MB"
            )
            yield (*where, len(names) - 1), problem


def _location(problem: Any) -> Location:
    return tuple(part for part in problem["loc"] if part != "[key]")


#: What is written under a key, for the keys that an unknown one may have been meant to be.
_RECORDS: Mapping[str | int, type[BaseModel]] = {
    "models": ListedModel,
    "speech_models": SpeechModel,
    "files": SpeechFile,
    "sources": Source,
    "packages": Packages,
}


def _describe(problem: Any) -> str:
    where = problem["loc"]
    known = [_RECORDS[part] for part in where[:-1] if part in _RECORDS]
    return describe_problem({**problem, "loc": where[-1:]}, known[-1] if known else CatalogueFile)
