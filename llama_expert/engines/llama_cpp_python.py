"""The child program that serves a model with `llama-cpp-python`: the last fallback engine.

It needs no prebuilt llama.cpp server, only the Python binding, and does one request at a time.
"""

import asyncio
import socket
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError

from clusterkit.http.guard import service_guard
from clusterkit.http.openai_wire import DONE, ApiError, ChatRequest, error_body, sse
from llama_expert.engines.engine import REPEAT_WINDOW, ChildOptions, announce, read_options

#: Request fields that `Llama.create_chat_completion` takes by the same name.
PASSED_ON = (
    *("messages", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "max_tokens"),
    *("presence_penalty", "frequency_penalty", "repeat_penalty", "logit_bias", "logprobs", "top_logprobs"),
    *("tools", "tool_choice", "response_format"),
)


class ChatModel(Protocol):
    """The part of `llama_cpp.Llama` that is used. Not safe for two threads at once."""

    def create_chat_completion(self, **arguments: Any) -> Any:
        """A completion object, or with `stream=True` an iterator of chunks."""
        ...


class OneAtATime:
    """A `ChatModel` behind a single thread, so that no two requests ever use it at once."""

    def __init__(self, model: ChatModel) -> None:
        """The thread starts with the first request."""
        self._model = model
        self._thread = ThreadPoolExecutor(1, "model")

    async def complete(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """A whole completion. Raises `ApiError` when the model refuses the request."""
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(
                self._thread, lambda: self._model.create_chat_completion(**wanted)
            )
        except ValueError as error:  # the prompt does not fit the context, or a parameter is out of range
            raise ApiError(str(error), status=400) from error
        assert isinstance(answer, dict)
        return answer

    async def stream(self, wanted: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a completion; generation ends when the caller stops listening.

        Raises ValueError when the model refuses the request.
        """
        loop = asyncio.get_running_loop()
        left = threading.Event()
        chunks: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        def generate() -> None:
            for chunk in self._model.create_chat_completion(**wanted):
                if left.is_set():
                    return
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)

        job = loop.run_in_executor(self._thread, generate)
        job.add_done_callback(lambda _: chunks.put_nowait(None))
        try:
            while (chunk := await chunks.get()) is not None:
                yield chunk
            await job
        finally:
            left.set()


def model_app(model: ChatModel, alias: str, repeat_penalty: float = 1.0) -> FastAPI:
    """An application with `/health`, `/v1/models` and `/v1/chat/completions`.

    `repeat_penalty` holds for requests that bring none.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    served = OneAtATime(model)

    @app.get("/health")
    async def get_health() -> dict[str, str]:
        """The model is loaded before the server listens."""
        return {"status": "ok"}

    @app.get("/v1/models")
    async def get_models() -> dict[str, Any]:
        """The one model there is."""
        entry = {"id": alias, "object": "model", "created": 0, "owned_by": "hearth"}
        return {"object": "list", "data": [entry]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        """A chat completion, streamed when asked for."""
        wanted = {"repeat_penalty": repeat_penalty, **_arguments(await request.body())}
        if wanted["stream"]:
            return StreamingResponse(_events(served, wanted, alias), media_type="text/event-stream")
        return JSONResponse({**await served.complete(wanted), "model": alias})

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return JSONResponse(error_body(error.message, error.type, error.code, error.param), error.status)

    app.add_exception_handler(ApiError, refused)
    return app


def _arguments(body: bytes) -> dict[str, Any]:
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise ApiError(f"{where}: {first['msg']}", status=400, param=where) from error
    raw = request.model_dump(exclude_none=True)
    return {**{name: raw[name] for name in PASSED_ON if name in raw}, "stream": request.stream}


async def _events(served: OneAtATime, wanted: Mapping[str, Any], alias: str) -> AsyncIterator[bytes]:
    try:
        async for piece in served.stream(wanted):
            yield sse({**piece, "model": alias})
    except ValueError as error:
        yield sse(error_body(str(error), "invalid_request_error"))
        return
    yield DONE


def load(options: ChildOptions) -> ChatModel:
    """Load the model. Raises ValueError when llama.cpp cannot."""
    import llama_cpp  # an optional package, and slow to import: only here is it needed

    model: ChatModel = llama_cpp.Llama(
        options.model,
        n_ctx=options.context,
        n_threads=options.threads,
        n_threads_batch=options.threads,
        last_n_tokens_size=REPEAT_WINDOW,
        verbose=False,
    )
    return model


def main() -> None:
    """Load the model, say where it is served, and serve until told to end."""
    options = read_options(sys.argv[1:])
    app = service_guard(
        model_app(load(options), options.alias, options.repeat_penalty), options.key, paths=("/v1",)
    )
    opened = socket.create_server(("127.0.0.1", 0))
    announce(f"http://127.0.0.1:{opened.getsockname()[1]}")
    config = uvicorn.Config(app, ws="none", lifespan="off", log_level="warning", access_log=False)
    uvicorn.Server(config).run([opened])


if __name__ == "__main__":
    main()
