"""What the `hearth` command can be told, by environment variables that start with `HEARTH_`.

On a host of a cluster they come from a file that `HEARTH_ENV_FILE` names.
"""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from clusterkit.config.environment import DEFAULT_HOME
from clusterkit.config.settings import settings_config


class HearthSettings(BaseSettings):
    """Settings of the command and of the one-machine composition."""

    model_config = settings_config("HEARTH_")

    home: Path = Field(
        DEFAULT_HOME,
        description="State folder: models, secrets, databases, logs and `hearth.toml` live under it.",
    )
    consul_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+$",
        description="Where this host's Consul agent listens; when set, the command is about the cluster.",
    )
    consul_ca_file: Path | None = Field(
        None, description="PEM file of the authority that vouches for Consul's and Nomad's certificates."
    )
    consul_token_file: Path | None = Field(None, description="File with a Consul token that may read.")
    nomad_url: str | None = Field(
        None, pattern=r"^https?://[^/]+$", description="Where this host's Nomad agent listens."
    )
    nomad_token_file: Path | None = Field(
        None, description="File with a Nomad token that may read jobs, hosts and logs."
    )
    gateway_key_file: Path | None = Field(
        None, description="File with the key that `hearth ask` shows the cluster's gateway."
    )
    up_timeout_s: float = Field(
        120.0, gt=0, description="Seconds that `hearth up` waits for everything to be healthy."
    )
    grow: bool = Field(
        True,
        description="Whether a better model that fits this machine is fetched in the background: on or off.",
    )
