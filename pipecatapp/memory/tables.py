"""The tables of what is kept. There is one household to a database, so nothing in them says whose it is."""

from datetime import UTC, datetime

import sqlalchemy as sa

# SQLite numbers rows by itself only in a column called INTEGER, which has 64 bits there.
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Compared byte by byte: a language's order passes over the dot before the fraction.
_TIME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

metadata = sa.MetaData()
facts = sa.Table(
    "facts",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("subject", sa.Text, nullable=False),  #: what it is about; see `pipecatapp.memory.words.subject`
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("told", _TIME, nullable=False),
    sa.UniqueConstraint("subject", name="one_fact_per_subject"),
)
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("written", _TIME, nullable=False),
)
list_items = sa.Table(
    "list_items",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("item", sa.Text, nullable=False),  #: its words, by which it is found
    sa.Column("text", sa.Text, nullable=False),
    sa.UniqueConstraint("item", name="an_item_once"),
)
alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("due", _TIME, nullable=False),
    sa.Column("seconds", _NUMBER),  #: how long a timer runs
    sa.Index("alarms_by_due", "due"),
)


def as_text(moment: datetime) -> str:
    """A moment as the tables hold it: in UTC, and of one length, so that texts sort as the moments do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def as_moment(text: str) -> datetime:
    """The moment that `as_text` wrote."""
    return datetime.fromisoformat(text)
