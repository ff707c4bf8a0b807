"""How one expert is, and what there is to say about it."""

from dataclasses import dataclass
from typing import Literal

from clusterkit.config.catalogue import ModelSpec
from llama_expert.choose import Reason, Refusal
from llama_expert.server_process import ModelServer

#: `starting` is the first load, `loading` a later one; `unloaded` is loaded when it is asked for.
ServingState = Literal["starting", "ready", "restarting", "loading", "unloaded", "without_model"]
#: What keeps a model from being used that somebody wanted to be used; a file that is not there is no news.
_NOTEWORTHY = frozenset(
    (Reason.TRUNCATED, Reason.NOT_A_MODEL, Reason.WRONG_HASH, Reason.UNREADABLE, Reason.DID_NOT_LOAD)
)


@dataclass(frozen=True)
class ExpertState:
    """How one expert is."""

    expert: str
    state: ServingState
    model: str | None = None
    server: ModelServer | None = None  #: set when `state` is ready
    restarts: int = 0
    refused: tuple[Refusal, ...] = ()
    spec: ModelSpec | None = None  #: the model's entry in the catalogue
    context: int = 0  #: tokens the server was started with
    next_model: str | None = None  #: what is to take the model's place, once it has proved to answer
    waiting: int = 0  #: requests that wait for it
    queued: bool = False  #: whether its model waits for memory that others have

    @property
    def ready(self) -> bool:
        """Whether a request is served, at once or after a load that it only has to wait for."""
        return self.state in ("ready", "loading", "unloaded")

    @property
    def waits(self) -> bool:
        """Whether a request has to wait at present."""
        return self.state in ("starting", "restarting", "loading")

    @property
    def detail(self) -> str:
        """Why it is not ready, or what there is to know though it is; ''."""
        if self.state == "without_model":
            return f"no model can be used: {_all(self.refused)}" if self.refused else "choosing a model"
        if self.model is None:
            return "choosing a model"
        return "; ".join(filter(None, (self._doing, self._troubles)))

    @property
    def _doing(self) -> str:
        waiting = f", {self.waiting} requests wait" if self.waiting else ""
        if self.queued:
            return f"{self.model} waits until others leave memory{waiting}"
        if self.state == "ready":
            return f"{self.next_model} is loading, {self.model} answers until then" if self.next_model else ""
        if self.state == "unloaded":
            return f"{self.model} is loaded when it is asked for"
        return f"{self.model} is {self.state}{waiting}"

    @property
    def _troubles(self) -> str:
        return _all(tuple(one for one in self.refused if one.reason in _NOTEWORTHY))


def _all(refused: tuple[Refusal, ...]) -> str:
    return "; ".join(f"{refusal.model}: {refusal.detail}" for refusal in refused)
