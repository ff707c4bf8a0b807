"""The expert catalogue: which models an expert may use, in order of preference.

`group_vars/all/models.yaml` ships the lists; a person's own models from `hearth.toml` go in front.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from clusterkit.config.suggest import closest, suggest
from clusterkit.config.yaml_file import Location, YamlDocument, describe_problem, read_yaml
from clusterkit.errors import ConfigFileError

SERVICE_PREFIX = "expert-"  #: an expert's service name in the registry is this plus its name
PACKAGE_SCHEME = "package"  #: `package:NAME` is a file inside an installed Python package


def _bare_file_name(value: str) -> str:
    if value in {".", ".."} or not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._ +@-]*", value):
        raise ValueError("must be a bare file name without a path, such as 'model.gguf'")
    return value


def _model_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme in {"http", "https"} and parts.hostname and not (parts.username or parts.password):
        return value
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        return value
    if parts.scheme == PACKAGE_SCHEME and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", parts.path):
        return value
    raise ValueError("must be an http(s):// address, file:///PATH or package:NAME")


def _tool_mode(value: object) -> object:
    # Until there were modes the field said whether tools were offered at all.
    if isinstance(value, bool):
        return "native" if value else "none"
    return value


BareFileName = Annotated[str, AfterValidator(_bare_file_name)]
ModelUrl = Annotated[str, AfterValidator(_model_url)]
ExpertName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
#: How a model calls tools: as its model server reads them, as text that is put right, by a decision under a
#: schema, or not at all.
ToolMode = Literal["native", "repair", "schema", "none"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelSpec(BaseModel):
    """One model file an expert may use."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1, max_length=120, description="What people call the model.")]
    url: Annotated[
        ModelUrl, Field(description="Where it comes from: http(s)://, file:///PATH, package:NAME.")
    ]
    filename: Annotated[BareFileName, Field(description="Its bare file name in the models folder.")]
    memory_mb: Annotated[
        int, Field(gt=0, description="Main memory it needs when loaded, context included, in MB.")
    ]
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

    @property
    def package(self) -> str | None:
        """The Python package that ships the file, or None."""
        scheme, _, name = self.url.partition(":")
        return name if scheme == PACKAGE_SCHEME else None

    @property
    def local_path(self) -> Path | None:
        """The path of a `file:` url, or None."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None


ModelList = Annotated[list[ModelSpec], Field(min_length=1)]


class CatalogueFile(BaseModel):
    """`models.yaml` as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="Expert models")

    fallback_max_memory_mb: Annotated[
        int,
        Field(gt=0, description="Every list must end in a model that needs at most this much memory, in MB."),
    ]
    expert_models: Annotated[
        dict[ExpertName, ModelList],
        Field(min_length=1, description="Expert to its models, largest first; the first that fits is used."),
    ]


class OwnModelsFile(BaseModel):
    """The part of `hearth.toml` that concerns experts."""

    model_config = ConfigDict(frozen=True, strict=True)

    experts: dict[ExpertName, list[ModelSpec]] = {}


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
    """Every expert by name, in the order of the file."""

    experts: Mapping[str, ExpertSpec]


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
    lists = {name: tuple(models) for name, models in file.expert_models.items()}
    if own_models is not None and own_models.exists():
        for name, models in read_own_models(own_models, lists).items():
            lists[name] = (*models, *lists[name])
    experts = {name: ExpertSpec(name, models) for name, models in lists.items()}
    return Catalogue(MappingProxyType(experts))


def read_own_models(
    path: Path, shipped: Mapping[str, tuple[ModelSpec, ...]]
) -> dict[str, tuple[ModelSpec, ...]]:
    """The `[[experts.NAME]]` tables of a TOML file, in order; other tables are not looked at.

    `shipped` names the experts there are, and the models whose names are taken. Raises `ConfigFileError`.
    """
    source = str(path)
    text, data = _read_toml(path)
    if key := closest("experts", (key for key in data if key != "experts"), cutoff=0.8):
        raise ConfigFileError(
            source, _toml_line(text, (key,)), 1, f"unknown table {key!r} (did you mean 'experts'?)"
        )
    try:
        own = OwnModelsFile.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        where = _location(problem)
        raise _toml_error(source, text, where, _describe(problem)) from error
    for name, models in own.experts.items():
        if name not in shipped:
            raise _toml_error(
                source, text, ("experts", name), f"unknown expert {name!r}{suggest(name, shipped)}"
            )
        taken = {model.name for model in shipped[name]}
        for index, model in enumerate(models):
            if model.name in taken:
                where = ("experts", name, index, "name")
                raise _toml_error(source, text, where, f"the model name {model.name!r} is already taken")
            taken.add(model.name)
    return {name: tuple(models) for name, models in own.experts.items()}


def catalogue_json_schema() -> dict[str, Any]:
    """The JSON schema of `models.yaml`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **CatalogueFile.model_json_schema()}


def _check_lists(file: CatalogueFile, document: YamlDocument) -> None:
    for location, problem in _list_problems(file):
        raise document.error(location, problem)


def _list_problems(file: CatalogueFile) -> Iterator[tuple[Location, str]]:
    limit = file.fallback_max_memory_mb
    for expert, models in file.expert_models.items():
        where: Location = ("expert_models", expert)
        names = [model.name for model in models]
        sizes = [model.memory_mb for model in models]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield (*where, index, "name"), f"the model name {name!r} is already taken in this list"
        for index, (before, size) in enumerate(pairwise(sizes), start=1):
            if size > before:
                problem = f"{size} MB after {before} MB: list the largest model first"
                yield (*where, index, "memory_mb"), problem
        if sizes[-1] > limit:
            problem = (
                f"the last model needs {sizes[-1]} MB; every list must end in a fallback of at most "
                f"fallback_max_memory_mb = {limit} MB"
            )
            yield (*where, len(models) - 1, "memory_mb"), problem


def _location(problem: Any) -> Location:
    return tuple(part for part in problem["loc"] if part != "[key]")


def _describe(problem: Any) -> str:
    where = problem["loc"]
    owner: type[BaseModel] = ModelSpec if len(where) > 1 else CatalogueFile
    return describe_problem({**problem, "loc": where[-1:]}, owner)


def _read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigFileError(source, 1, 1, f"not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise ConfigFileError(source, 1, 1, f"cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        line, column = (int(at[1]), int(at[2])) if at else (max(1, len(text.splitlines())), 1)
        problem = str(error)[: at.start()] if at else str(error)
        raise ConfigFileError(source, line, column, f"malformed TOML: {problem}") from error


def _toml_error(source: str, text: str, where: Location, problem: str) -> ConfigFileError:
    return ConfigFileError(source, _toml_line(text, where), 1, problem, ".".join(str(part) for part in where))


def _toml_line(text: str, where: Location) -> int:
    """The line of `where`, or of its table: tomllib gives values without positions."""
    table = [str(part) for part in where[:2]]
    index = where[2] if len(where) > 2 and isinstance(where[2], int) else 0
    header = re.compile(r"\s*\[\[?\s*" + r"\s*\.\s*".join(rf"[\"']?{re.escape(p)}[\"']?" for p in table))
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if header.match(line)]
    if index >= len(starts):
        return 1
    key = str(where[3]) if len(where) > 3 else None
    for number in range(starts[index] + 1, len(lines)):
        if lines[number].lstrip().startswith("["):
            break
        if key is not None and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", lines[number]):
            return number + 1
    return starts[index] + 1
