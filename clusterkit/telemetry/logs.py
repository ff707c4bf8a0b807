"""Structured logs: an event name plus keys, one JSON object a line, with the trace id bound."""

import io
import logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from clusterkit.errors import SettingsError
from clusterkit.telemetry.redaction import HIDDEN, redact

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


class _Both(io.TextIOBase):
    """Standard error, and a file beside it. A file that cannot be written (disk full) silences nothing."""

    def __init__(self, file: TextIO) -> None:
        """Write to `file` too."""
        self._file = file

    def write(self, text: str) -> int:
        """See `TextIO.write`."""
        with suppress(OSError):
            self._file.write(text)
        return sys.stderr.write(text)

    def flush(self) -> None:
        """See `TextIO.flush`."""
        with suppress(OSError):
            self._file.flush()
        sys.stderr.flush()


def _stream(log_file: Path | None) -> TextIO:
    if log_file is None:
        return sys.stderr
    try:
        # Appended to, so that whoever rotates logs may cut the file short under us.
        opened = log_file.open("a", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"the log file {log_file} cannot be written: {error.strerror}") from error
    return cast(TextIO, _Both(opened))


def configure_logging(service: str, level: str, log_format: str, log_file: Path | None = None) -> None:
    """Set up structlog and the standard library's logging to write to standard error.

    `level` is debug, info, warning or error; `log_format` is json or console; `log_file` gets a copy of
    every line. Raises `SettingsError` when that cannot be opened.
    """
    stream = _stream(log_file)
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
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
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
