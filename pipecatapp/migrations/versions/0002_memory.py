"""What the household asked to keep: facts, notes, the shopping list, timers and reminders."""

import sqlalchemy as sa
from alembic import op

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "facts",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("told", _TIME, nullable=False),
        sa.UniqueConstraint("subject", name="one_fact_per_subject"),
    )
    op.create_table(
        "notes",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("written", _TIME, nullable=False),
    )
    op.create_table(
        "list_items",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.UniqueConstraint("item", name="an_item_once"),
    )
    op.create_table(
        "alarms",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("due", _TIME, nullable=False),
        sa.Column("seconds", _NUMBER),
    )
    op.create_index("alarms_by_due", "alarms", ["due"])


def downgrade() -> None:
    for name in ("alarms", "list_items", "notes", "facts"):
        op.drop_table(name)
