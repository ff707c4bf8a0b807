"""The database of the agent can be brought up, taken down and up again, and ends as the code expects it."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

import pipecatapp
from clusterkit.errors import StorageError
from clusterkit.storage.database import migrate, open_engine
from clusterkit.storage.urls import sqlite_url
from clusterkit.telemetry import event_log
from pipecatapp.memory import tables as memory

TABLES = set(event_log.metadata.tables) | set(memory.metadata.tables)
MIGRATIONS = Path(pipecatapp.__file__).parent / "migrations"


def tables(url: str) -> set[str]:
    engine = open_engine(url)
    names = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    return names - {"alembic_version", "sqlite_sequence"}


def config(url: str) -> Config:
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["url"] = url
    return made


def test_an_empty_database_is_brought_up_and_up_again(database_url: str) -> None:
    migrate(database_url, MIGRATIONS)
    migrate(database_url, MIGRATIONS)
    assert tables(database_url) == TABLES


def test_the_database_is_taken_down_and_brought_up_again(database_url: str) -> None:
    migrate(database_url, MIGRATIONS)
    command.downgrade(config(database_url), "base")
    assert tables(database_url) == set()
    migrate(database_url, MIGRATIONS)
    assert tables(database_url) == TABLES


def test_the_migrated_database_is_what_the_code_expects(database_url: str) -> None:
    migrate(database_url, MIGRATIONS)
    engine = open_engine(database_url)
    both = sa.MetaData()
    for table in (*event_log.metadata.tables.values(), *memory.metadata.tables.values()):
        table.to_metadata(both)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), both)
    engine.dispose()
    assert differences == []


def test_a_place_with_an_odd_name_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "50% of #1?x=y ü"
    migrate(sqlite_url(folder / "agent.db"), MIGRATIONS)
    assert (folder / "agent.db").exists()


def test_a_file_that_is_no_database_is_said_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.write_text("a letter to grandmother " * 100)
    with pytest.raises(StorageError, match=r"agent\.db: file is not a database"):
        migrate(sqlite_url(path), MIGRATIONS)
    assert path.read_text() == "a letter to grandmother " * 100
