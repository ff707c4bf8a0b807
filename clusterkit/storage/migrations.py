"""What every deployable's Alembic environment does."""

import sqlalchemy as sa
from alembic import context

from clusterkit.storage.database import open_engine

SILENCE_SECONDS = 600.0  #: a server may need so long for one change of a large table


def run_migrations(*targets: sa.MetaData) -> None:
    """Migrate the database whose URL `clusterkit.storage.database.migrate` handed over, towards `targets`."""
    engine = open_engine(context.config.attributes["url"], silence=SILENCE_SECONDS).execution_options(
        hearth_write=True
    )
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=targets, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
