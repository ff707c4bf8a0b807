"""Typed settings, read once at the edge.

Every deployable has one settings class whose variables start with the deployable's own name
(`MOE_GATEWAY_PORT`). An environment file named by `<PREFIX>ENV_FILE` is read first; real variables
win over it.
"""

import ipaddress
import secrets
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from clusterkit.config.environment import DEFAULT_HOME, environment
from clusterkit.config.yaml_file import describe_problem
from clusterkit.errors import SettingsError

Settings = TypeVar("Settings", bound=BaseSettings)
AddressPort = Annotated[str, Field(pattern=r"^\S+:\d{1,5}$")]  #: ADDRESS:PORT


def settings_config(prefix: str) -> SettingsConfigDict:
    """The configuration of a settings class whose variables start with `prefix`."""
    return SettingsConfigDict(
        env_prefix=prefix,
        frozen=True,
        extra="ignore",
        env_file_encoding="utf-8",
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )


class ServiceSettings(BaseSettings):
    """What every service can be told."""

    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless told otherwise.")
    port: int = Field(0, ge=0, le=65535, description="TCP port to listen on; 0 takes any free one.")
    home: Path = Field(
        DEFAULT_HOME,
        description="State folder of this Hearth: registry, secrets, databases and logs live under it.",
    )
    secrets_dir: Path = Field(
        default_factory=lambda values: values["home"] / "secrets",
        description="Folder of the tokens between services, one file NAME.token each, readable by the "
        "owner alone (default: secrets in the state folder).",
    )
    consul_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+$",
        description="Where this host's Consul agent listens, as https://127.0.0.1:8501; the services find "
        "each other through it. Unset: this machine is all there is.",
    )
    consul_ca_file: Path | None = Field(
        None, description="PEM file of the authority that vouches for Consul's certificate."
    )
    consul_token_file: Path | None = Field(
        None, description="File with the Consul token; it is read again when it changes."
    )
    announce: Literal["self", "nomad"] = Field(
        "self",
        description="Who makes this service known in Consul: the service itself, or Nomad, which runs it.",
    )
    advertised: AddressPort | None = Field(
        None,
        description="ADDRESS:PORT under which others know this service, where it listens behind a proxy or "
        "in a network of its own.",
    )
    instance_id: str = Field(
        default_factory=lambda: secrets.token_hex(4),
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="What tells this copy of the service from others of its name. One that is started anew "
        "under the id of its predecessor takes over its place in the registry.",
    )
    upstreams: dict[str, AddressPort] = Field(
        {},
        description="Services that are reached through a proxy beside this one, whichever instance it takes: "
        'JSON, as {"expert-main": "127.0.0.1:9101"}.',
    )
    stop_timeout_s: int = Field(
        5, ge=0, description="Seconds that requests in flight get to finish when the service is stopped."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is written to the log."
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="`json` for machines, `console` for people at a terminal."
    )

    @property
    def registry_file(self) -> Path:
        """The SQLite file of `LocalRegistry`."""
        return self.home / "run" / "registry.db"

    @property
    def own_secrets_dir(self) -> Path:
        """Where secrets lie that this host makes itself and never shares."""
        return self.home / "secrets"

    @property
    def data_dir(self) -> Path:
        """Where databases live."""
        return self.home / "data"

    @property
    def is_loopback(self) -> bool:
        """Whether `host` can be reached from this machine only."""
        return is_loopback(self.host)


@lru_cache(maxsize=128)  # asked at every request, about few names
def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def address_and_port(text: str) -> tuple[str, int]:
    """The two parts of an `AddressPort`."""
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)


def load_settings(cls: type[Settings], **overrides: Any) -> Settings:
    """Read `cls` from the environment; `overrides` win.

    Raises `SettingsError` naming every wrong variable, its value unless it is a secret, and what
    would have been right.
    """
    prefix = str(cls.model_config.get("env_prefix", ""))
    env_file = environment().get(f"{prefix}ENV_FILE")
    if env_file and not Path(env_file).is_file():
        raise SettingsError(f"{prefix}ENV_FILE={env_file!r}: there is no such file")
    try:
        return cls(_env_file=env_file, **overrides)
    except ValidationError as error:
        values = environment()
        problems = [_problem(cls, prefix, problem, values) for problem in error.errors()]
        raise SettingsError("; ".join(problems)) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{prefix}ENV_FILE={env_file!r}: is not UTF-8 text") from error


def _problem(cls: type[BaseSettings], prefix: str, problem: Any, values: Mapping[str, str]) -> str:
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    name = str(problem["loc"][0])
    field = cls.model_fields.get(name)
    variable = f"{prefix}{name}".upper()
    secret = field is not None and "Secret" in str(field.annotation)
    value = values.get(variable)
    shown = variable if value is None or secret else f"{variable}={value!r}"
    valid = ""
    if field is not None and get_origin(field.annotation) is Literal:
        valid = f" (valid: {', '.join(map(str, get_args(field.annotation)))})"
    default = ""
    if field is not None and not field.is_required() and not secret and not _takes_others(field):
        default = f" (default {field.get_default(call_default_factory=True)!s})"
    complaint = "is not allowed" if valid else describe_problem({**problem, "input": ...})
    return f"{shown}: {complaint}{valid}{default}"


def _takes_others(field: FieldInfo) -> bool:
    """Whether the default follows from other settings."""
    return field.default_factory is not None and field.default_factory_takes_validated_data is True


def describe_settings(cls: type[BaseSettings]) -> list[tuple[str, str, str, str]]:
    """Rows (variable, type, default, description) of a settings class, for the reference page."""
    prefix = str(cls.model_config.get("env_prefix", ""))
    rows = []
    for name, field in cls.model_fields.items():
        default = "required" if field.is_required() else str(field.get_default())
        if field.default_factory is not None:
            default = "computed"  # it would differ from machine to machine
        home = str(Path.home())
        kind = _kind(field.annotation)
        rows.append((f"{prefix}{name}".upper(), kind, default.replace(home, "~"), field.description or ""))
    return rows


def _kind(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin is Annotated:
        return _kind(parts[0])
    if origin in (Union, UnionType):
        return " | ".join("none" if part is NoneType else _kind(part) for part in parts)
    return str(annotation) if parts else getattr(annotation, "__name__", str(annotation))
