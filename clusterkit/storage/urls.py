"""Which databases there can be: their URLs, the drivers behind them, and what is wrong with others."""

import importlib.util
from pathlib import Path

import sqlalchemy as sa

from clusterkit.errors import StorageError

SQLITE, POSTGRESQL = "sqlite", "postgresql+pg8000"  #: dialect and driver
EXAMPLES = "sqlite:////folder/file.db or postgresql://user:password@host:5432/database"
SSL_MODES = (
    "prefer",
    "disable",
    "require",
    "verify-full",
)  #: as libpq understands them; the first is the default
_OPTIONS = {"host", "sslmode", "sslrootcert"}  #: of a PostgreSQL URL, as libpq names them
_NAMES = {"sqlite": SQLITE, "sqlite+pysqlite": SQLITE, "postgresql": POSTGRESQL, POSTGRESQL: POSTGRESQL}


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its name has."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def database_url(text: str) -> sa.URL:
    """The URL with the driver that Hearth uses. Raises `StorageError` for what it cannot open.

    No message repeats more of `text` than the names of its scheme and options: it may hold a password.
    """
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StorageError(f"should be a database's URL, as {EXAMPLES}") from error
    if url.drivername not in _NAMES:
        raise StorageError(f"{url.drivername!r} is not a kind of database that is supported; use {EXAMPLES}")
    url = url.set(drivername=_NAMES[url.drivername])
    if url.drivername == POSTGRESQL:
        _check_postgresql(url)
    return url


def _check_postgresql(url: sa.URL) -> None:
    if importlib.util.find_spec("pg8000") is None:
        raise StorageError(
            "PostgreSQL needs the driver pg8000, which is not installed; pip install 'hearth[postgresql]'"
        )
    for name in sorted(set(url.query) - _OPTIONS):
        raise StorageError(f"the option {name!r} is not supported (valid: {', '.join(sorted(_OPTIONS))})")
    mode = url.query.get("sslmode", SSL_MODES[0])
    if mode not in SSL_MODES:
        raise StorageError(f"sslmode={mode!r} is not supported (valid: {', '.join(SSL_MODES)})")
    if not url.username or not url.database:
        raise StorageError(f"should name a user and a database, as {EXAMPLES}")
