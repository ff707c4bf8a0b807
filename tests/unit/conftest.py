"""Both databases that Hearth can use, and a model file small enough to write in a test."""

import struct
from collections.abc import Callable, Mapping
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


MakeGguf = Callable[..., Path]


def gguf_bytes(
    metadata: Mapping[str, str | int] | None = None, *, tensors: int = 1, padding: int = 0
) -> bytes:
    """A version 3 file: text and 32-bit entries, F32 tensors of 8 elements each, zeros for weights."""
    entries = {"general.architecture": "llama", **(metadata or {})}
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(entries))
    for key, value in entries.items():
        head += struct.pack("<Q", len(key)) + key.encode()
        if isinstance(value, str):
            head += struct.pack("<IQ", 8, len(value)) + value.encode()
        else:
            head += struct.pack("<II", 4, value)
    for number in range(tensors):
        name = f"t{number}".encode()
        head += struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 8, 0, 32 * number)
    head += bytes(-len(head) % 32)
    return head + bytes(32 * tensors + padding)


@pytest.fixture
def make_gguf(tmp_path: Path) -> MakeGguf:
    """Writes `gguf_bytes(...)` to a named file in `tmp_path`."""

    def make(name: str = "model.gguf", metadata: Mapping[str, str | int] | None = None, **rest: int) -> Path:
        path = tmp_path / name
        path.write_bytes(gguf_bytes(metadata, **rest))
        return path

    return make


@pytest.fixture
def make_gguf_bytes() -> Callable[..., bytes]:
    """`gguf_bytes` itself."""
    return gguf_bytes
