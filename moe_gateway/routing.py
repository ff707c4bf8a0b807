"""Decides which service and which instances answer a request for a model. Does no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from clusterkit.http.openai_wire import ApiError

AUTO = "auto"  #: the model name that leaves the choice to the gateway
LONGEST_NAME_SHOWN = 100  #: characters of a made-up model name that are repeated to the client
RETRY_AFTER_S = 2.0  #: what clients are told when no instance is healthy; a restart takes about that


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """One instance of a service, as far as routing cares."""

    service: str
    host: str
    port: int
    base_path: str = ""
    healthy: bool = False
    detail: str = ""  #: why it is not healthy
    model: str = ""  #: the model file it serves at present, when it said so
    waits: bool = False  #: whether it lets requests wait at present, because its model is loading


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A model that clients can name: the service behind it and its instances, healthy ones first."""

    name: str
    service: str
    kind: Literal["agent", "expert"]
    backends: tuple[Backend, ...] = ()
    healthy: int = 0  #: how many of `backends`, from the front, are healthy

    @property
    def ready(self) -> bool:
        """Whether a request would be answered now."""
        return self.healthy > 0

    @property
    def candidates(self) -> tuple[Backend, ...]:
        """The instances to send a request to: those that answer at once, else those where it only waits."""
        healthy = self.backends[: self.healthy]
        at_once = tuple(one for one in healthy if not one.waits)
        return at_once or healthy or tuple(one for one in self.backends if one.waits)

    @property
    def loading(self) -> bool:
        """Whether a request would have to wait for a model that loads."""
        candidates = self.candidates
        return bool(candidates) and candidates[0].waits

    @property
    def detail(self) -> str:
        """Why it is down or a request has to wait, or ''."""
        if self.loading:
            return self.candidates[0].detail
        if self.ready:
            return ""
        return "; ".join(b.detail for b in self.backends if b.detail) or "no instance is running"


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Everything that can be asked for at one moment; `aliases` map a name onto another target's."""

    targets: Mapping[str, Target] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, model: str) -> Target | None:
        """The target that `model` names, directly or by an alias."""
        return self.targets.get(self.aliases.get(model, model))

    @property
    def names(self) -> list[str]:
        """Every name that can be asked for, aliases first."""
        return [*self.aliases, *self.targets]

    @property
    def experts(self) -> list[Target]:
        """The experts, in order."""
        return [target for target in self.targets.values() if target.kind == "expert"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """Which names mean what, from the settings."""

    agent_model: str
    agent_service: str
    default_expert: str
    expert_prefix: str


def build_table(naming: Naming, catalogued: Iterable[str], backends: Sequence[Backend]) -> RoutingTable:
    """The table for the `catalogued` experts and whatever `backends` have announced."""
    prefix = naming.expert_prefix
    running = [b.service.removeprefix(prefix) for b in backends if b.service.startswith(prefix)]
    targets = {naming.agent_model: _target(naming.agent_model, naming.agent_service, "agent", backends)}
    for name in dict.fromkeys((*catalogued, *running)):
        targets[name] = _target(name, f"{prefix}{name}", "expert", backends)
    aliases = {AUTO: naming.default_expert} if naming.default_expert in targets else {}
    return RoutingTable(MappingProxyType(targets), MappingProxyType(aliases))


def _target(name: str, service: str, kind: Literal["agent", "expert"], backends: Sequence[Backend]) -> Target:
    mine = sorted((b for b in backends if b.service == service), key=lambda b: not b.healthy)
    healthy = sum(b.healthy for b in mine)
    return Target(name=name, service=service, kind=kind, backends=tuple(mine), healthy=healthy)


def route(table: RoutingTable, model: str) -> Target:
    """The target for `model`, which has at least one instance to send a request to.

    Raises `ApiError`: 404 `model_not_found` naming the known models, or 503 with Retry-After when the
    model is known but nothing healthy serves it, nor will as soon as it has loaded.
    """
    target = table.find(model)
    if target is None:
        raise not_found(table, model)
    if not target.candidates:
        raise ApiError(
            f"The model {model!r} is not available now: {target.detail}.",
            status=503,
            type="server_error",
            code="model_unavailable",
            param="model",
            retry_after=RETRY_AFTER_S,
        )
    return target


def not_found(table: RoutingTable, model: str) -> ApiError:
    """The 404 for a name that nothing answers to; long names are cut."""
    shown = model if len(model) <= LONGEST_NAME_SHOWN else f"{model[:LONGEST_NAME_SHOWN]}…"
    return ApiError(
        f"The model {shown!r} does not exist. Known models: {', '.join(table.names)}.",
        status=404,
        code="model_not_found",
        param="model",
    )


def in_turn(target: Target, turn: int) -> tuple[Backend, ...]:
    """The candidates of `target` in the order to try them, beginning with another one each `turn`."""
    candidates = target.candidates
    if len(candidates) < 2:
        return candidates
    first = turn % len(candidates)
    return candidates[first:] + candidates[:first]
