"""Talking HTTP to the agents of Consul and Nomad: deadlines, TLS, tokens from files, errors with a type.

Every answer of theirs tells how fresh it is; `Reading` passes that on. A message names the URL and the
method, never a token.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx
import orjson

from clusterkit.errors import HearthError

DEADLINE_SECONDS = 5.0  #: what a call may take, beside the time it was asked to wait for news
LONGEST_BODY_SHOWN = 2_000  #: characters of an agent's complaint that are repeated

Params = Mapping[str, str | int | Sequence[str]]

Value = TypeVar("Value")


class AgentError(HearthError):
    """A call to Consul or Nomad failed."""

    code = "agent_error"


class UnreachableError(AgentError):
    """The agent cannot be reached, does not answer in time, or shows a certificate nobody vouches for."""

    code = "agent_unreachable"


class RefusedError(AgentError):
    """The token, or its absence, gives no right to this."""

    code = "agent_refused"


class NotFoundError(AgentError):
    """What was asked for does not exist."""

    code = "agent_not_found"


class NoLeaderError(AgentError):
    """The servers have no leader at present: nothing can be written, only stale reads answer."""

    code = "no_cluster_leader"


class RejectedError(AgentError):
    """The agent does not accept the request, or its answer cannot be understood."""

    code = "agent_rejected"


@dataclass(frozen=True, kw_only=True)
class AgentAccess:
    """How to reach an agent."""

    url: str  #: with scheme and port, no path
    ca_file: Path | None = None  #: who vouches for its certificate; the system's authorities when None
    token_file: Path | None = None
    token: str = field(default="", repr=False)  #: where no file holds it
    deadline: float = DEADLINE_SECONDS  #: seconds that a call may take which says nothing else


@dataclass(frozen=True)
class Reading(Generic[Value]):
    """Something an agent said, and how fresh it is."""

    value: Value
    index: int = 0  #: of the last change; a blocking query waits for a higher one
    known_leader: bool = True  #: False: the server that answered has lost its leader, this may be old
    last_contact: float = 0.0  #: seconds since that server heard from its leader


@dataclass(frozen=True)
class Reply:
    """A good answer of an agent."""

    endpoint: str  #: product, method and address that gave it, for messages
    headers: Mapping[str, str]
    body: bytes

    def read(self, parse: Callable[[Any], Value]) -> Reading[Value]:
        """The JSON body as a record. Raises `RejectedError` when it is not as documented."""
        try:
            value = parse(orjson.loads(self.body))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RejectedError(f"{self.endpoint}: an answer that cannot be understood: {error!r}") from error
        return Reading(value, self.index, self._header("knownleader") != "false", self._last_contact())

    @property
    def index(self) -> int:
        """The index to wait on next; never 0, which would not wait."""
        text = self._header("index")
        return max(1, int(text)) if text.isdigit() else 1

    def _last_contact(self) -> float:
        text = self._header("lastcontact")
        return int(text) / 1000 if text.isdigit() else 0.0

    def _header(self, name: str) -> str:
        return self.headers.get(f"x-consul-{name}") or self.headers.get(f"x-nomad-{name}") or ""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """A blocking query: answer when there is something newer than `index`, or after `seconds`."""

    index: int
    seconds: float

    @property
    def params(self) -> dict[str, str | int]:
        """The query parameters."""
        return {"index": self.index, "wait": f"{max(1, round(self.seconds * 1000))}ms"}

    @property
    def deadline(self) -> float:
        """What the call may take: agents add up to a sixteenth of the wait, lest all wake at once."""
        return self.seconds * 17 / 16 + DEADLINE_SECONDS


class TokenFile:
    """A token kept in a file, read again whenever the file changes."""

    def __init__(self, path: Path | None, token: str = "") -> None:
        """Nothing is read yet; without a path it is `token`, for good."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = token

    def read(self) -> str:
        """The token of now. Raises `RefusedError` when the file cannot be read. Blocks."""
        if self._path is None:
            return self._token
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                token = self._path.read_text(encoding="ascii").strip()
                if not token or not token.isprintable():
                    raise RefusedError(f"{self._path} holds no token")
                self._token, self._seen = token, seen
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedError(f"{self._path} cannot be read as a token: {error}") from error
        return self._token


class AgentHttp:
    """One agent's HTTP interface. Use as an async context manager."""

    def __init__(self, product: str, access: AgentAccess) -> None:
        """`product` is Consul or Nomad; nothing is contacted yet."""
        self._product, self._access = product, access
        self._token = TokenFile(access.token_file, access.token)
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Read the authority. Raises `UnreachableError` when its file is unusable."""
        context = await asyncio.to_thread(self._tls)
        # Blocking queries hold a connection each, so there is no limit; deadlines are per call.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._client = httpx.AsyncClient(verify=context, trust_env=False, timeout=None, limits=limits)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    def _tls(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._access.ca_file)
        except (OSError, ssl.SSLError) as error:
            message = f"{self._product}: {self._access.ca_file} is not usable as an authority: {error}"
            raise UnreachableError(message) from error

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        content: bytes | None = None,
        deadline: float | None = None,
    ) -> Reply:
        """One call; `body` is sent as JSON, `content` as it is. Raises `AgentError`."""
        endpoint = self._endpoint(method, path)
        deadline = deadline or self._access.deadline
        try:
            async with asyncio.timeout(deadline):
                request = await self._request(method, path, params, body, content)
                answer = await self._opened().send(request)
        except TimeoutError as error:
            raise UnreachableError(f"{endpoint}: no answer within {deadline:g} s") from error
        except httpx.HTTPError as error:
            raise UnreachableError(f"{endpoint}: {error or type(error).__name__}") from error
        if answer.status_code >= 400:
            raise _failure(endpoint, answer.status_code, answer.text)
        return Reply(endpoint, answer.headers, answer.content)

    async def read(
        self, path: str, wait: Wait | None = None, *, stale: bool = True, **params: str | int
    ) -> Reply:
        """One GET, as a blocking query with `wait`; with `stale` any server answers. Raises `AgentError`."""
        asked = {**params, **({"stale": ""} if stale else {}), **(wait.params if wait else {})}
        return await self.call("GET", path, params=asked, deadline=wait.deadline if wait else None)

    @asynccontextmanager
    async def lines(
        self, path: str, *, params: Params, silence: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an endless answer; `silence` seconds without one break it. Raises `AgentError`."""
        endpoint = self._endpoint("GET", path)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                request = await self._request("GET", path, params, None, None)
                answer = await self._opened().send(request, stream=True)
        except TimeoutError as error:
            raise UnreachableError(f"{endpoint}: no answer within {DEADLINE_SECONDS:g} s") from error
        except httpx.HTTPError as error:
            raise UnreachableError(f"{endpoint}: {error or type(error).__name__}") from error
        try:
            if answer.status_code >= 400:
                raise _failure(
                    endpoint, answer.status_code, (await answer.aread()).decode("utf-8", "replace")
                )
            yield _lines(answer, endpoint, silence)
        except httpx.HTTPError as error:
            raise UnreachableError(f"{endpoint}: {error or type(error).__name__}") from error
        finally:
            await answer.aclose()

    async def _request(
        self,
        method: str,
        path: str,
        params: Params | None,
        body: Any,
        content: bytes | None,
    ) -> httpx.Request:
        token = await asyncio.to_thread(self._token.read)
        headers = {f"x-{self._product.lower()}-token": token} if token else {}
        if body is not None:
            content = orjson.dumps(body)
            headers["content-type"] = "application/json"
        return self._opened().build_request(
            method, f"{self._access.url}{path}", params=params, content=content, headers=headers
        )

    def _endpoint(self, method: str, path: str) -> str:
        return f"{self._product}: {method} {self._access.url}{path}"

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise RuntimeError(f"the {self._product} client is used outside its context")
        return self._client


async def _lines(answer: httpx.Response, endpoint: str, silence: float) -> AsyncIterator[bytes]:
    pieces = answer.aiter_bytes()
    held = b""
    while True:
        try:
            async with asyncio.timeout(silence):
                piece = await anext(pieces, b"")
        except TimeoutError as error:
            raise UnreachableError(f"{endpoint}: silent for {silence:g} s") from error
        if not piece:
            return
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            yield line


def _failure(endpoint: str, status: int, text: str) -> AgentError:
    # A conflict is answered with the value that is there, which may be secret.
    reason = "another value is there" if status == HTTPStatus.CONFLICT else " ".join(text.split())
    complaint = reason[:LONGEST_BODY_SHOWN] or "no reason given"
    message = f"{endpoint}: {status}, {complaint}"
    if "No cluster leader" in text or "leader unknown" in text.lower():
        return NoLeaderError(message)
    kinds: dict[int, type[AgentError]] = {401: RefusedError, 403: RefusedError, 404: NotFoundError}
    if status in kinds:
        return kinds[status](message)
    return UnreachableError(message) if status in (429, 502, 503, 504) else RejectedError(message)
