"""What the gateway can be told, by environment variables that start with `MOE_GATEWAY_`."""

from pathlib import Path

from pydantic import Field

from clusterkit.config.settings import ServiceSettings, settings_config
from clusterkit.http.request_body import MAX_BODY_BYTES

SERVICE = "moe_gateway"  #: this deployable, and whose token its callers present
AGENT_TOKEN = "pipecatapp"  #: whose token the agent asks for
EXPERT_TOKEN = "llama_expert"  #: whose token every expert asks for; experts are served by that deployable


class GatewaySettings(ServiceSettings):
    """Settings of the gateway."""

    model_config = settings_config("MOE_GATEWAY_")

    port: int = Field(8080, ge=0, le=65535, description="TCP port to listen on; 0 takes any free one.")
    service_name: str = Field("moe-gateway", description="The gateway's own name in the registry.")
    agent_model: str = Field("hearth", description="Model name under which clients reach the agent.")
    agent_service: str = Field("pipecatapp", description="The agent's service name in the registry.")
    default_expert: str = Field("main", description="The expert that the model name `auto` stands for.")
    models_file: Path | None = Field(
        None, description="The expert catalogue, so that experts are listed even while they are down."
    )
    max_body_bytes: int = Field(
        MAX_BODY_BYTES, ge=1024, description="Largest request body that is accepted, in bytes."
    )
    connect_timeout_s: float = Field(
        2.0, gt=0, description="Seconds for a connection to a model server before the next one is tried."
    )
    first_byte_timeout_s: float = Field(
        300.0, gt=0, description="Seconds a model server may take until its answer begins."
    )
    idle_timeout_s: float = Field(
        120.0, gt=0, description="Seconds a model server may fall silent in the middle of an answer."
    )
    keys_file: Path | None = Field(
        None,
        description="Client keys: one SHA-256 (hex) of a key a line. Needed to listen beyond loopback.",
    )
