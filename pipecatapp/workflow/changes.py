"""The rows that one event changes, on top of those that stay."""

from typing import Generic

from pipecatapp.workflow.graph import Scope, inside
from pipecatapp.workflow.journal import NodeRow, NodeStatus, Rows, RowT
from pipecatapp.workflow.schedule import Ended, Outcome


class Changes(Generic[RowT]):
    """Rows by path; those that are set are kept apart until `rows` puts both together."""

    def __init__(self, rows: Rows[RowT]) -> None:
        """`rows` stay as they are."""
        self._rows: Rows[RowT] = rows
        self._changed: dict[str, RowT] = {}

    def __getitem__(self, path: str) -> RowT:
        """The row as it is now. Raises `KeyError`."""
        row = self._changed.get(path)
        return self._rows[path] if row is None else row

    def __setitem__(self, path: str, row: RowT) -> None:
        """Change a row."""
        self._changed[path] = row

    def rows(self) -> Rows[RowT]:
        """All rows as they are now."""
        return self._rows.updated(self._changed)


class Waiting:
    """`Memory` for a schedule: the counters in the rows of one round."""

    def __init__(self, nodes: Changes[NodeRow], round_: str) -> None:
        """`round_`: its path."""
        self._nodes, self._round = nodes, round_

    def __getitem__(self, id_: str) -> int:
        """How many of the nodes that it waits for have not ended."""
        return self._nodes[inside(self._round, id_)].sources

    def __setitem__(self, id_: str, sources: int) -> None:
        """Change it. The node has not begun."""
        self._nodes[inside(self._round, id_)] = NodeRow(sources=sources)


class RowOutcomes:
    """`Memory` for a schedule: how nodes of one round ended, by their rows. What it skips is noted here."""

    def __init__(self, nodes: Changes[NodeRow], scope: Scope, round_: str) -> None:
        """`round_`: its path; `scope`: its nodes."""
        self._nodes, self._scope, self._round = nodes, scope, round_
        self._noted: dict[str, Outcome] = {}

    def __contains__(self, id_: object) -> bool:
        """Whether a node has ended."""
        return id_ in self._noted or self._status(str(id_)) in _ENDED

    def __getitem__(self, id_: str) -> Outcome:
        """How it ended."""
        if id_ in self._noted:
            return self._noted[id_]
        row = self._nodes[inside(self._round, id_)]
        if row.status is NodeStatus.SKIPPED:
            return Outcome(Ended.SKIPPED)
        if row.status is NodeStatus.SUCCEEDED or self._scope.nodes[id_].fallback is not None:
            return Outcome(Ended.OK, frozenset(row.leads_to))
        return Outcome(Ended.FAILED)

    def __setitem__(self, id_: str, outcome: Outcome) -> None:
        """Note how a node ended."""
        self._noted[id_] = outcome

    def _status(self, id_: str) -> NodeStatus:
        return self._nodes[inside(self._round, id_)].status


_ENDED = frozenset({NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.TIMED_OUT, NodeStatus.SKIPPED})
