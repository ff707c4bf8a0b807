"""Alembic's entry: run by `clusterkit.storage.migrate`."""

from clusterkit.event_log import metadata
from clusterkit.migrations import run_migrations

run_migrations(metadata)
