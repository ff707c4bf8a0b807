"""Serve an ASGI application inside the running event loop, for tests: a real socket, the real server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from clusterkit.http.listener import HttpServer


@asynccontextmanager
async def serving(app: ASGIApp, address: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve `app` on a free port of `address`, loopback unless told otherwise; gives its base URL."""
    opened = socket.socket()
    opened.bind((address, 0))
    url = f"http://{address}:{opened.getsockname()[1]}"
    server = HttpServer(app, grace_seconds=1)
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[opened])
    try:
        yield url
    finally:
        # Not uvicorn's own shutdown: it waits a tenth of a second, which adds up over many tests.
        for listener in server.servers:
            listener.close()
        opened.close()
        for connection in tuple(server.server_state.connections):
            connection.shutdown()
        await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
        await asyncio.sleep(0)
