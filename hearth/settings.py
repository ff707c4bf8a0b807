"""What the `hearth` command can be told, by environment variables that start with `HEARTH_`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from clusterkit.settings import settings_config


class HearthSettings(BaseSettings):
    """Settings of the command and of the one-machine composition."""

    model_config = settings_config("HEARTH_")

    home: Path = Field(
        Path("~/.hearth").expanduser(),
        description="State folder: models, secrets, databases, logs and `hearth.toml` live under it.",
    )
    up_timeout_s: float = Field(
        120.0, gt=0, description="Seconds that `hearth up` waits for everything to be healthy."
    )
