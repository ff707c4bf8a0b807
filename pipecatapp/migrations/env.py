"""Alembic's entry: run by `clusterkit.storage.database.migrate`."""

from clusterkit.storage.migrations import run_migrations
from clusterkit.telemetry.event_log import metadata

run_migrations(metadata)
