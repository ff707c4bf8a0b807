"""PostgreSQL, set up so that it keeps the promises that SQLite keeps."""

import ssl
import struct
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from clusterkit.storage.urls import SSL_MODES

SILENCE_SECONDS = 15.0  #: after so long without a byte from the server a statement has failed
LOCK_SECONDS = 5  #: for another writer, as SQLite's busy timeout
DISK_FULL = "53100"  #: SQLSTATE

_WRITER = 7_243_391_845  #: the advisory lock of whoever writes; any number, but always the same


def open_postgresql(url: sa.URL, silence: float) -> Engine:
    """An engine for `url`: one writer at a time, commits synchronised, calls that end.

    `silence` is in seconds. Connections that a restarted server has closed are replaced before they are used.
    """
    engine = sa.create_engine(
        url, connect_args={"timeout": silence}, client_encoding="utf8", pool_pre_ping=True
    )
    sa.event.listen(engine, "do_connect", _connect)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _wait_for_writer)
    return engine


def _connect(dialect: Any, _: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    try:
        return dialect.connect(*arguments, **_of_driver(**options))
    except (OSError, LookupError, ValueError, struct.error) as error:
        # An untrusted certificate, a server of something else: the driver lets their errors through.
        raise dialect.dbapi.InterfaceError("no PostgreSQL server answers there") from error


def _of_driver(
    *,
    host: str = "localhost",
    port: int = 5432,
    sslmode: str = SSL_MODES[0],
    sslrootcert: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """libpq's options as the driver takes them."""
    if host.startswith("/"):
        return {**options, "unix_sock": f"{host}/.s.PGSQL.{port}", "ssl_context": False}
    return {**options, "host": host, "port": port, "ssl_context": _tls(sslmode, sslrootcert)}


def _tls(mode: str, authority: str | None) -> ssl.SSLContext | bool | None:
    if mode in ("prefer", "disable"):
        return None if mode == "prefer" else False
    context = ssl.create_default_context(cafile=authority)
    if mode == "require":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _prepare(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    # The server's own defaults may be weaker: what is acknowledged is on disk.
    cursor.execute("SET synchronous_commit TO on")
    cursor.execute(f"SET lock_timeout TO '{LOCK_SECONDS}s'")
    cursor.close()
    connection.commit()


def _wait_for_writer(connection: Connection) -> None:
    # Numbers of rows are given out before the commit: two writers at once would let a reader that goes by
    # them pass over the slower one's rows for ever.
    if connection.get_execution_options().get("hearth_write", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER})")


def complaint(error: BaseException) -> tuple[str, str]:
    """The SQLSTATE ('' when it is not the server that complains) and the words of an error of the driver."""
    fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    if fields:
        return fields.get("C", ""), fields.get("M", str(error))
    cause = error.__cause__
    if isinstance(cause, OSError):
        return "", f"cannot be reached: {cause.strerror or cause}"
    return "", f"cannot be reached: {error}"
