"""The log of actions and their outcomes."""

import sqlalchemy as sa
from alembic import op

# SQLite numbers rows by itself only in a column called INTEGER, which has 64 bits there.
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Compared byte by byte: a language's order passes over the dot before the fraction.
_TIME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "action_events",
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("timestamp", _TIME, nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("action_type", sa.Text, nullable=False),
        sa.Column("tool_name", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("event_id", "phase", name="one_row_per_phase"),
        sqlite_autoincrement=True,
    )
    op.create_index("action_events_by_task", "action_events", ["task_id", "seq"])
    op.create_index("action_events_by_tool", "action_events", ["tool_name", "status", "seq"])
    op.create_index("action_events_by_status", "action_events", ["status", "seq"])
    op.create_index("action_events_by_time", "action_events", ["timestamp"])


def downgrade() -> None:
    op.drop_table("action_events")
