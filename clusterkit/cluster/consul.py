"""The calls to Consul that Hearth makes, typed."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from clusterkit.cluster.agent_http import (
    AgentAccess,
    AgentHttp,
    NotFoundError,
    Reading,
    Wait,
)


class CheckStatus(StrEnum):
    """What a health check says; maintenance shows as critical."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, kw_only=True)
class ServiceCheck:
    """One health check, of a service or (without `service_id`) of its whole host."""

    id: str
    name: str
    node: str
    status: CheckStatus
    output: str = ""
    notes: str = ""
    service_id: str = ""
    service: str = ""


@dataclass(frozen=True, kw_only=True)
class CatalogService:
    """One instance of a service, as registered, with its checks and those of its host."""

    id: str
    service: str
    node: str
    node_address: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    enable_tag_override: bool = False
    checks: tuple[ServiceCheck, ...] = ()
    definition: Mapping[str, Any] = field(default_factory=dict, repr=False)  #: all that Consul keeps of it


@dataclass(frozen=True, kw_only=True)
class Member:
    """One agent of the cluster as the agent that was asked sees it by gossip."""

    name: str
    address: str
    alive: bool
    server: bool


@dataclass(frozen=True, kw_only=True)
class KvEntry:
    """A key's value; `session` holds the lock on it, if any does."""

    value: str
    session: str = ""
    modify_index: int = 0


class Consul:
    """A Consul agent. Use as an async context manager; every method raises `AgentError`.

    Reads of the catalogue and of health are stale ones: any server answers, also without a leader,
    and the `Reading` tells how old that may be.
    """

    def __init__(self, access: AgentAccess) -> None:
        """Nothing is contacted yet."""
        self._http = AgentHttp("Consul", access)

    async def __aenter__(self) -> Self:
        """Open the client."""
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self._http.__aexit__(kind, error, trace)

    # --- who is there -------------------------------------------------------------------------------
    async def leader(self) -> str:
        """The address of the servers' leader, '' when there is none."""
        return str((await self._http.call("GET", "/v1/status/leader")).read(str).value)

    async def members(self) -> tuple[Member, ...]:
        """All agents that gossip knows, by name."""
        reply = await self._http.call("GET", "/v1/agent/members")
        members = reply.read(lambda rows: [_member(row) for row in rows]).value
        return tuple(sorted(members, key=lambda member: member.name))

    async def services(
        self, *, wait: Wait | None = None, stale: bool = True
    ) -> Reading[dict[str, tuple[str, ...]]]:
        """Every service name with all tags that its instances carry."""
        reply = await self._http.read("/v1/catalog/services", wait, stale=stale)
        return reply.read(lambda body: {name: tuple(tags) for name, tags in body.items()})

    async def service(
        self, name: str, *, wait: Wait | None = None, stale: bool = True
    ) -> Reading[tuple[CatalogService, ...]]:
        """The instances of a service with their checks, whatever those say."""
        reply = await self._http.read(f"/v1/health/service/{_part(name)}", wait, stale=stale)
        return reply.read(lambda rows: tuple(_catalog_service(row) for row in rows))

    async def checks(
        self, *, wait: Wait | None = None, stale: bool = True
    ) -> Reading[tuple[ServiceCheck, ...]]:
        """Every check of every host and service."""
        reply = await self._http.read("/v1/health/state/any", wait, stale=stale)
        return reply.read(lambda rows: tuple(_check(row) for row in rows))

    # --- announcing ---------------------------------------------------------------------------------
    async def register_service(self, definition: Mapping[str, Any]) -> None:
        """Register a service with the agent that is asked, in place of what has its id."""
        await self._http.call(
            "PUT",
            "/v1/agent/service/register",
            params={"replace-existing-checks": "true"},
            body=dict(definition),
        )

    async def deregister_service(self, service_id: str) -> None:
        """Forget a service of the agent that is asked; an unknown one is ignored."""
        try:
            await self._http.call("PUT", f"/v1/agent/service/deregister/{_part(service_id)}")
        except NotFoundError:
            return

    async def update_check(self, check_id: str, status: CheckStatus, output: str) -> None:
        """Renew a TTL check. Raises `NotFoundError` when the agent does not know it."""
        body = {"Status": status.value, "Output": output}
        await self._http.call("PUT", f"/v1/agent/check/update/{_part(check_id)}", body=body)

    async def set_tags(self, service: CatalogService, tags: Sequence[str]) -> None:
        """Set the tags of an instance in the catalogue.

        Whoever registered it keeps them only where its `enable_tag_override` is set.
        """
        body = {
            "Node": service.node,
            "Address": service.node_address,
            "SkipNodeUpdate": True,
            "Service": {**service.definition, "Tags": list(tags)},
        }
        await self._http.call("PUT", "/v1/catalog/register", body=body)

    # --- keys, sessions -----------------------------------------------------------------------------
    async def kv_get(self, key: str) -> KvEntry | None:
        """A key, or None; not a stale read."""
        try:
            reply = await self._http.call("GET", f"/v1/kv/{_path(key)}")
        except NotFoundError:
            return None
        return reply.read(lambda rows: _kv_entry(rows[0])).value

    async def kv_put(self, key: str, value: str, **condition: str | int) -> bool:
        """Set a key; with `acquire=SESSION`, `release=SESSION` or `cas=INDEX` only when that holds."""
        reply = await self._http.call("PUT", f"/v1/kv/{_path(key)}", params=condition, content=value.encode())
        return reply.read(bool).value

    async def kv_delete(self, key: str) -> None:
        """Forget a key; an unknown one is ignored."""
        await self._http.call("DELETE", f"/v1/kv/{_path(key)}")

    async def create_session(self, name: str, *, ttl: float, lock_delay: float) -> str:
        """A session that ends when it is not renewed for `ttl` seconds (10 at least), and its keys with it.

        After that nobody gets its locks for `lock_delay` seconds.
        """
        body = {
            "Name": name,
            "TTL": f"{ttl:g}s",
            "LockDelay": f"{lock_delay:g}s",
            "Behavior": "delete",
        }
        reply = await self._http.call("PUT", "/v1/session/create", body=body)
        return reply.read(lambda answer: str(answer["ID"])).value

    async def renew_session(self, session: str) -> None:
        """Renew a session. Raises `NotFoundError` when it has ended."""
        await self._http.call("PUT", f"/v1/session/renew/{_part(session)}")

    async def destroy_session(self, session: str) -> None:
        """End a session; the locks that it holds are free."""
        await self._http.call("PUT", f"/v1/session/destroy/{_part(session)}")


def _part(text: str) -> str:
    return quote(text, safe="")


def _path(text: str) -> str:
    return quote(text, safe="/")


def _check(row: Mapping[str, Any]) -> ServiceCheck:
    return ServiceCheck(
        id=row["CheckID"],
        name=row["Name"],
        node=row["Node"],
        status=CheckStatus(row["Status"]),
        output=row["Output"],
        notes=row["Notes"],
        service_id=row["ServiceID"],
        service=row["ServiceName"],
    )


def _catalog_service(row: Mapping[str, Any]) -> CatalogService:
    node, service = row["Node"], row["Service"]
    return CatalogService(
        id=service["ID"],
        service=service["Service"],
        node=node["Node"],
        node_address=node["Address"],
        address=service["Address"] or node["Address"],
        port=service["Port"],
        tags=tuple(service["Tags"] or ()),
        meta=service["Meta"] or {},
        enable_tag_override=service["EnableTagOverride"],
        checks=tuple(_check(check) for check in row["Checks"]),
        definition=service,
    )


def _member(row: Mapping[str, Any]) -> Member:
    alive = 1  # serf's number; leaving, left and failed are 2, 3 and 4
    return Member(
        name=row["Name"],
        address=row["Addr"],
        alive=row["Status"] == alive,
        server=row["Tags"].get("role") == "consul",
    )


def _kv_entry(row: Mapping[str, Any]) -> KvEntry:
    # A key without a value comes as null; values are base64 whatever they hold.
    return KvEntry(
        value=b64decode(row["Value"] or "").decode("utf-8"),
        session=row.get("Session", ""),
        modify_index=row["ModifyIndex"],
    )
