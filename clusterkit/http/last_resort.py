"""What nobody expected, answered in OpenAI's shape and logged."""

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterkit.http.answers import send_error
from clusterkit.http.openai_wire import ApiError

log = structlog.get_logger()


class LastResort:
    """ASGI: what nobody expected, of any application inside, is logged and answered in OpenAI's shape."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        begun = ended = False

        async def watch(message: Message) -> None:
            nonlocal begun, ended
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:  # the edge of a request: nobody else will see to it
            if ended:
                return  # answered and logged already, by the framework inside
            log.error("unexpected_failure", path=scope.get("path"), exc_info=error)
            if begun:
                raise  # the connection must break, or half an answer would look like a whole one
            await send_error(send, unexpected_failure())


def unexpected_failure() -> ApiError:
    """The answer for a mistake of ours: a 500 that tells nothing of it."""
    return ApiError("Something went wrong here; the log has it.", status=500, type="server_error")
