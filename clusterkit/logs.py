"""Structured logs: an event name plus keys, one JSON object a line, with the trace id bound."""

import logging
import re
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from clusterkit.redaction import HIDDEN, redact

_SECRET_KEY = re.compile(r"(?i)(authorization|token|secret|password|api_?key|cookie)s?$")


_CHATTY = ("alembic", "asyncio", "httpcore", "httpcore2", "httpx", "httpx2", "openai")  #: tell every step


@lru_cache(maxsize=1024)
def _names_a_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def hide_secrets(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep secrets out of a log line: values under keys that name one, and what texts of others quote."""
    # Only warnings and worse carry texts of others (messages of errors, tracebacks); the rest is
    # written at every request and has to be cheap.
    quotes_others = level not in ("debug", "info")
    for key in event:
        if key.startswith("_"):
            continue  # the logging library's own
        if _names_a_secret(key) and not isinstance(event[key], int | float | None):
            event[key] = HIDDEN
        elif quotes_others or isinstance(event[key], dict):
            event[key] = redact(event[key])
    return event


def _dump(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=repr).decode()


def configure_logging(service: str, level: str, log_format: str) -> None:
    """Set up structlog and the standard library's logging to write to standard error.

    `level` is debug, info, warning or error; `log_format` is json or console.
    """
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(_dump)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    # Local variables are left out of tracebacks: they hold keys, tokens and what people said.
    tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        tracebacks if log_format == "json" else structlog.processors.format_exc_info,
        hide_secrets,
    ]
    structlog.contextvars.bind_contextvars(service=service)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(getattr(logging, level.upper()))
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
