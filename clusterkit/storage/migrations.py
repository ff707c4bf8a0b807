"""What every deployable's Alembic environment does."""

import sqlalchemy as sa
from alembic import context

from clusterkit.storage.database import open_engine


def run_migrations(target: sa.MetaData) -> None:
    """Migrate the database whose URL `clusterkit.storage.database.migrate` handed over, towards `target`."""
    engine = open_engine(context.config.attributes["url"]).execution_options(hearth_write=True)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
