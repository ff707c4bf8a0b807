"""The figures of one run as lines of text. Pure."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.understanding.scoring import Message, Score, ToolCall

TARGETS = {"right tool": 0.95, "right arguments": 0.92, "wrong action": 0.01, "leaked": 0.0}


@dataclass(frozen=True)
class Outcome:
    """What became of one message."""

    message: Message
    score: Score
    calls: Sequence[ToolCall]
    reply: str
    asked_model: int  #: requests to a model
    seconds: float
    failed: bool  #: no answer came

    @property
    def stage(self) -> str:
        """What understood it: without a model, it was the grammar or an example."""
        return "model" if self.asked_model else "no model"

    @property
    def is_right(self) -> bool:
        """Whether the right tool was called rightly, and nothing leaked."""
        return self.score.right_arguments and not self.score.leaked and not self.failed

    def miss(self) -> dict[str, Any]:
        """What to read when it was not understood."""
        return {
            "text": self.message.text,
            "kind": self.message.kind,
            "want": [{one.tool or "none": dict(one.arguments)} for one in self.message.either],
            "calls": [{call.tool: dict(call.arguments)} for call in self.calls],
            "reply": self.reply,
            "stage": self.stage,
        }


def report(model: str, half: str, outcomes: Sequence[Outcome]) -> str:
    """The lines to print; an empty run is said to be one."""
    if not outcomes:
        return "no message was asked\n"
    none = [one for one in outcomes if one.message.wants_none]
    lines = [
        f"{model}, {len(outcomes)} messages ({half})",
        _share("right tool", sum(one.score.right_tool for one in outcomes), len(outcomes)),
        _share("right arguments", sum(one.score.right_arguments for one in outcomes), len(outcomes)),
        _share("wrong action", sum(one.score.wrong_action for one in none), len(none)),
        _share("leaked", sum(one.score.leaked for one in outcomes), len(outcomes)),
        f"failed: {sum(one.failed for one in outcomes)}",
    ]
    for stage, number in sorted(Counter(one.stage for one in outcomes).items()):
        of_it = [one for one in outcomes if one.stage == stage]
        right = sum(one.score.right_tool for one in of_it)
        took = statistics.median(one.seconds for one in of_it)
        lines.append(f"  by {stage}: {number}, right tool {right / number:.1%}, median {took * 1000:.0f} ms")
    for kind, number in sorted(Counter(one.message.kind for one in outcomes).items()):
        right = sum(one.score.right_tool for one in outcomes if one.message.kind == kind)
        lines.append(f"  {kind}: {right} of {number}")
    return "".join(f"{line}\n" for line in lines)


def _share(what: str, count: int, total: int) -> str:
    share = count / total if total else 0.0
    bound = "at most" if what in ("wrong action", "leaked") else "at least"
    return f"{what}: {share:.1%} ({count} of {total}; target {bound} {TARGETS[what]:.0%})"
