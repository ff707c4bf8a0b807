"""Messages over HTTP: taken at one address, spoken at another."""

from collections.abc import AsyncIterator
from typing import Annotated, Self

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from clusterkit.http.openai_wire import sse
from clusterkit.http.principal import principal_of
from pipecatapp.turns.conversation import Conversation
from pipecatapp.turns.errors import ForeignCallback, TooManyMessages
from pipecatapp.turns.inbox import Callback, Inbox, InboxMessage
from pipecatapp.turns.turns import is_unicode
from pipecatapp.web.chat import EVENT_STREAM
from pipecatapp.web.errors import as_api_error


def _fits_a_header(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("may hold printable ASCII characters without spaces only")
    return value


class ResponseChannel(BaseModel):
    """Where the answer to a message goes, and the proof that it is the answer."""

    model_config = ConfigDict(extra="forbid")

    response_id: Annotated[str, Field(min_length=1, max_length=200)]
    url: AnyHttpUrl
    secret: Annotated[SecretStr, Field(min_length=16, max_length=200), AfterValidator(_fits_a_header)]

    @field_validator("url")
    @classmethod
    def _names_nobody(cls, value: AnyHttpUrl) -> AnyHttpUrl:
        # A client would send them instead of the secret.
        if value.username is not None or value.password is not None:
            raise ValueError("must not hold a user name or password")
        return value

    def as_callback(self) -> Callback:
        """The same for the inbox."""
        secret = self.secret.get_secret_value()
        return Callback(self.response_id, str(self.url), self.url.host or "", secret)


class Message(BaseModel):
    """Something said to the agent."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    respond_to: ResponseChannel | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.text.strip():
            raise ValueError("the text is blank")
        if not is_unicode(self.text):
            raise ValueError("the text holds half of a character")
        return self

    def as_message(self) -> InboxMessage:
        """The same for the inbox."""
        return InboxMessage(self.text, self.respond_to.as_callback() if self.respond_to else None)


def message_routes(inbox: Inbox, conversation: Conversation) -> APIRouter:
    """`POST /api/messages` and the stream of what is spoken."""
    router = APIRouter(prefix="/api", tags=["messages"])

    @router.post("/messages", status_code=202)
    async def post_message(message: Message, request: Request) -> dict[str, str]:
        """Take a message; its answer goes to `respond_to`, or is spoken."""
        try:
            await inbox.take(message.as_message(), principal=principal_of(request.scope))
        except (TooManyMessages, ForeignCallback) as error:
            raise as_api_error(error) from error
        return {"status": "accepted"}

    @router.get("/spoken", response_class=StreamingResponse, responses={200: EVENT_STREAM})
    async def get_spoken() -> StreamingResponse:
        """Server-sent events with every text that is spoken from now on."""

        async def events() -> AsyncIterator[bytes]:
            yield b": listening\n\n"
            async for text in conversation.listen():
                yield sse({"text": text})

        headers = {"cache-control": "no-cache"}
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    return router
