"""What stores something is tested on both databases that Hearth can use."""

from pathlib import Path

import pytest

from clusterkit.storage.urls import sqlite_url
from tests.servers.postgres import Postgres, postgres

__all__ = ["postgres"]


@pytest.fixture
def postgresql_url(postgres: Postgres) -> str:
    """The URL of an empty database on a PostgreSQL server."""
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: a SQLite file that is not there yet, and one of PostgreSQL."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "data" / "agent.db")
    url: str = request.getfixturevalue("postgresql_url")
    return url
