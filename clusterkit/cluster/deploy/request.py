"""What the program is asked for, as its caller writes it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clusterkit.cluster.agent_http import AgentAccess
from clusterkit.errors import HearthError

CALL_SECONDS = 30.0  #: what one call may take; an agent is slow while its host rolls a job out


class DeploymentError(HearthError):
    """The job is not what its file says; each line of the message is one for a person."""

    code = "job_not_deployed"


class _Part(BaseModel):
    # A request of another release is refused; the message repeats no value, which may be a token.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Agent(_Part):
    """One of the host's agents."""

    url: str
    token: str = Field(repr=False)
    ca_file: Path  #: read only where the URL is https

    @property
    def access(self) -> AgentAccess:
        """The same for its client."""
        ca_file = self.ca_file if self.url.startswith("https:") else None
        return AgentAccess(url=self.url, ca_file=ca_file, token=self.token, deadline=CALL_SECONDS)


class DeploymentRequest(_Part):
    """One job; whoever only verifies it needs neither its file nor its secrets."""

    job: str  #: the id that the file must have
    source: str = ""  #: where the file comes from, for messages
    hcl: str = ""
    secrets: dict[str, str] = Field(default={}, repr=False)  #: items of the Nomad variable nomad/jobs/<job>
    service: str = ""  #: that must pass in Consul in the end; "" for a job without one
    wait: bool = True
    timeout_s: float = Field(gt=0)  #: for each thing that is waited for
    poll_s: float = Field(gt=0)
    log_bytes: int = Field(gt=0)  #: of the last output of a task that failed
    nomad: Agent
    consul: Agent


def read_request(text: str) -> DeploymentRequest:
    """The request in `text`, JSON. Raises `DeploymentError` that names the first key that is wrong."""
    try:
        return DeploymentRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "stdin"
        raise DeploymentError(
            f"the request is not as this release reads it: {where}: {first['msg']}"
        ) from error
