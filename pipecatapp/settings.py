"""What the agent can be told, by environment variables that start with `PIPECATAPP_`."""

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr

from clusterkit.config.settings import ServiceSettings, settings_config
from clusterkit.errors import StorageError
from clusterkit.storage.urls import database_url, sqlite_url

SERVICE = "pipecatapp"  #: the agent's own name in the registry, and whose token its callers present
GATEWAY_TOKEN = "moe_gateway"  #: whose token the gateway asks for


def _is_database_url(value: SecretStr) -> SecretStr:
    try:
        database_url(value.get_secret_value())
    except StorageError as error:
        raise ValueError(str(error)) from error
    return value


def _is_time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {value!r}; use an IANA name such as Europe/Berlin") from error
    return value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_is_database_url)]  #: may hold a password


class PipecatappSettings(ServiceSettings):
    """Settings of the agent."""

    model_config = settings_config("PIPECATAPP_")

    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes any free one.")
    model_name: str = Field("hearth", description="The model name under which the agent answers.")
    gateway_service: str = Field("moe-gateway", description="The gateway's service name in the registry.")
    main_expert_service: str = Field(
        "expert-main", description="The service name of the expert behind the agent's own thinking."
    )
    log_file: Path | None = Field(
        None, description="File that gets a copy of every log line; appended to, whoever likes may rotate it."
    )
    workflows_dir: Path = Field(Path("workflows"), description="Folder of workflow files.")
    workflow: str = Field(
        "default_agent_loop",
        pattern=r"^[a-z][a-z0-9_]*$",
        description="The workflow that answers a turn, by name.",
    )
    plugins_dir: Path | None = Field(
        None, description="Folder of Python files with further node types; code in it runs as the agent."
    )
    database_url: DatabaseUrl | None = Field(
        None,
        description="URL of the agent's database, as postgresql://user:password@host:5432/database; a SQLite "
        "file under HOME by default.",
    )
    household: str = Field(
        "", max_length=100, description="The name of the household, as the agent says it: the Millers."
    )
    time_zone: Annotated[str, AfterValidator(_is_time_zone)] | None = Field(
        None, description="The household's time zone, as Europe/Berlin; this machine's own by default."
    )
    max_concurrent_agents: int = Field(3, ge=1, le=1000, description="Turns that run at the same time.")
    max_waiting_turns: int = Field(64, ge=0, description="Turns that may wait for a place; more get 429.")
    default_timeout_seconds: float = Field(
        300.0, gt=0, allow_inf_nan=False, description="Longest time a turn may take."
    )
    environment: Literal["development", "production"] = Field(
        "production", description="What kind of installation this is; told by `/health`."
    )
    debug_mode: bool = Field(False, description="Log at debug level, whatever LOG_LEVEL says.")

    @property
    def effective_log_level(self) -> str:
        """The log level with `debug_mode` considered."""
        return "debug" if self.debug_mode else self.log_level

    @property
    def effective_database_url(self) -> str:
        """The database URL with the default filled in."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return sqlite_url(self.data_dir / "pipecatapp.db")

    @property
    def zone(self) -> ZoneInfo | None:
        """The household's time zone; None for this machine's own."""
        return ZoneInfo(self.time_zone) if self.time_zone is not None else None

    @property
    def sentences_dir(self) -> Path:
        """Where a person keeps sentences of their own, in a folder for each language."""
        return self.home / "sentences"
