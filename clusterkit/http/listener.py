"""Listening: the socket, who else holds it, and uvicorn set up as all of Hearth uses it."""

import errno
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

import psutil
import uvicorn
from starlette.types import ASGIApp

from clusterkit.config.settings import ServiceSettings
from clusterkit.errors import HearthError


class BindError(HearthError):
    """A service cannot or must not listen where it was told to."""

    code = "cannot_listen"


class HttpServer(uvicorn.Server):
    """uvicorn on sockets that are open already, leaving signals to the program around it."""

    def __init__(
        self, app: ASGIApp, *, grace_seconds: int, at_shutdown: Callable[[], None] | None = None
    ) -> None:
        """Serve `app`; at the end requests in flight get `grace_seconds` to finish.

        `at_shutdown` is called before that, to end streams which would go on for ever.
        """
        self._at_shutdown = at_shutdown
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=grace_seconds,
            )
        )

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Capture none: uvicorn would raise them again at the end and cut our own clean-up short."""
        return nullcontext()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server.shutdown`."""
        if self._at_shutdown is not None:
            self._at_shutdown()
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Begin to shut down."""
        self.should_exit = True


def listen(settings: ServiceSettings, prefix: str, *, authenticated: bool) -> socket.socket:
    """Open the listening socket.

    Raises `BindError` when others than this machine could reach a service that asks for no
    credentials, and when the port is taken (naming who holds it).
    """
    if not settings.is_loopback and not authenticated:
        raise BindError(
            f"{prefix}HOST={settings.host!r} can be reached from other machines, and this service would "
            "ask them for no credentials; set 127.0.0.1, or set up accounts or keys first"
        )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((settings.host, settings.port))
        opened.listen(2048)
    except OSError as error:
        opened.close()
        raise BindError(_bind_problem(settings, prefix, error)) from error
    opened.setblocking(False)
    return opened


def _bind_problem(settings: ServiceSettings, prefix: str, error: OSError) -> str:
    where = f"{settings.host}:{settings.port}"
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {where}: {error.strerror}"
    holder = port_holder(settings.port) or "another process (of another user, so its name cannot be seen)"
    return f"port {where} is taken by {holder}; stop it, or set {prefix}PORT to a free port"


def port_holder(port: int) -> str | None:
    """Who listens on TCP `port`, as 'process 123 (name: command line)', or None when it cannot be seen."""
    for connection in psutil.net_connections("tcp"):
        listening = connection.status == psutil.CONN_LISTEN
        if listening and getattr(connection.laddr, "port", None) == port and connection.pid:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process = psutil.Process(connection.pid)
                command = " ".join(" ".join(process.cmdline()).split())[:120]
                return f"process {process.pid} ({process.name()}: {command})"
            return f"process {connection.pid}"
    return None
