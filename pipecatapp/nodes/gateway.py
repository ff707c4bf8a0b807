"""The OpenAI client for the gateway, wherever the registry says that it is."""

import openai
from openai import AsyncOpenAI

from clusterkit.registry import Registry
from pipecatapp.workflow.errors import ErrorCode, NodeError

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 600.0  #: a node's own `timeout` and `idle_timeout` are shorter


class GatewayClient:
    """Hands out the client; keeps one connection pool as long as the gateway stays where it is."""

    def __init__(
        self, registry: Registry, service: str, token: str, http: openai.DefaultAsyncHttpxClient
    ) -> None:
        """`token` is what the gateway asks callers for; `http` is closed by whoever made it."""
        self._registry, self._service, self._token, self._http = registry, service, token, http
        self._known: tuple[str, AsyncOpenAI] | None = None

    async def connect(self) -> AsyncOpenAI:
        """The client to use for the next call. Raises `NodeError` when no gateway is healthy."""
        found = await self._registry.instances(self._service)
        url = next((one.url for one in found if one.healthy), None)
        if url is None:
            detail = found[0].detail if found else "it has not announced itself"
            raise NodeError(ErrorCode.OVERLOADED, f"{self._service} is not healthy: {detail}", retry_after=2)
        if self._known is None or self._known[0] != url:
            client = AsyncOpenAI(
                base_url=f"{url}/v1",
                api_key=self._token,
                max_retries=0,
                http_client=self._http,
                timeout=openai.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            )
            self._known = (url, client)
        return self._known[1]
