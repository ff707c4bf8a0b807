"""Which databases there can be, and what is said of others: never a password."""

import pytest

from clusterkit.errors import StorageError
from clusterkit.storage.urls import database_url


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:////folder/agent.db", "sqlite"),
        ("sqlite+pysqlite:////folder/agent.db", "sqlite"),
        ("postgresql://me:secret@db/mine", "postgresql+pg8000"),
        ("postgresql+pg8000://me:secret@db:5433/mine", "postgresql+pg8000"),
        ("postgresql://me@/mine?host=/run/postgresql", "postgresql+pg8000"),
        ("postgresql://me:secret@db/mine?sslmode=verify-full&sslrootcert=/etc/ca.pem", "postgresql+pg8000"),
    ],
)
def test_a_kind_of_database_has_one_driver(text: str, driver: str) -> None:
    assert database_url(text).drivername == driver


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "mysql://me:canary@db/mine",
            "'mysql' is not a kind .* use sqlite:////folder/file.db or postgresql://",
        ),
        ("postgres://me:canary@db/mine", "'postgres' is not a kind of database"),
        ("postgresql+psycopg://me:canary@db/mine", r"'postgresql\+psycopg' is not a kind of database"),
        ("sqlite+aiosqlite:///file.db", r"'sqlite\+aiosqlite' is not a kind of database"),
        ("canary", "should be a database's URL, as sqlite:"),
        ("postgresql://me:canary@db:port/mine", "should be a database's URL, as sqlite:"),
        ("postgresql://me:canary@db", "should name a user and a database, as sqlite:"),
        ("postgresql://db/mine", "should name a user and a database, as sqlite:"),
        (
            "postgresql://me:canary@db/mine?sslcert=canary",
            r"'sslcert' .*\(valid: host, sslmode, sslrootcert\)",
        ),
        (
            "postgresql://me:canary@db/mine?sslmode=no",
            r"'no' .*\(valid: prefer, disable, require, verify-full\)",
        ),
    ],
)
def test_what_is_no_usable_url_is_refused_with_the_valid_choices(text: str, complaint: str) -> None:
    with pytest.raises(StorageError, match=complaint) as caught:
        database_url(text)
    assert "canary" not in str(caught.value)
