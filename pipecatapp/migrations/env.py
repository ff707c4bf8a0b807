"""Alembic's entry: run by `clusterkit.storage.database.migrate`."""

from clusterkit.storage.migrations import run_migrations
from clusterkit.telemetry.event_log import metadata
from pipecatapp.memory.tables import metadata as memory

run_migrations(metadata, memory)
