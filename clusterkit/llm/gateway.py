"""The OpenAI client for the gateway, wherever the registry says that it is."""

import openai
from openai import AsyncOpenAI

from clusterkit.llm.chat import ModelError, ModelProblem
from clusterkit.ports.registry import Registry

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 600.0  #: a node's own `timeout` and `idle_timeout` are shorter


class GatewayClient:
    """Hands out the client: of several healthy gateways another one each time."""

    def __init__(
        self, registry: Registry, service: str, token: str, http: openai.DefaultAsyncHttpxClient
    ) -> None:
        """`token` is what the gateway asks callers for; `http` is closed by whoever made it."""
        self._registry, self._service, self._token, self._http = registry, service, token, http
        self._clients: dict[str, AsyncOpenAI] = {}
        self._turn = 0

    async def connect(self) -> AsyncOpenAI:
        """The client to use for the next call. Raises `ModelError` when no gateway is healthy."""
        gateways = await self._registry.instances(self._service)
        urls = [one.url for one in gateways if one.healthy]
        if not urls:
            detail = gateways[0].detail if gateways else "it has not announced itself"
            problem = f"{self._service} is not healthy: {detail}"
            raise ModelError(ModelProblem.OVERLOADED, problem, retry_after=2)
        self._clients = {url: client for url, client in self._clients.items() if url in urls}
        self._turn += 1
        url = urls[self._turn % len(urls)]
        if url not in self._clients:
            self._clients[url] = AsyncOpenAI(
                base_url=f"{url}/v1",
                api_key=self._token,
                max_retries=0,
                http_client=self._http,
                timeout=openai.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            )
        return self._clients[url]
