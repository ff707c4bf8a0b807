"""How long the steps of a cluster took: printed at the end, and kept beside the caches of this tree."""

from dataclasses import dataclass, field

from tests.lab.host import dump
from tests.lab.playbook_run import ROOT, PlaybookRun

KEPT = ROOT / ".cache" / "results" / "cluster.json"


@dataclass
class Timings:
    """Named figures in the order in which they were noted."""

    figures: dict[str, float] = field(default_factory=dict)

    def note(self, what: str, seconds: float) -> float:
        """Remember one, and keep all."""
        self.figures[what] = round(seconds, 2)
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(dump(self.figures))
        return seconds

    def note_run(self, what: str, run: PlaybookRun) -> None:
        """Remember a whole playbook and its plays."""
        self.note(what, run.seconds)
        for play, seconds in run.plays.items():
            self.note(f"{what}: {play}", seconds)

    def lines(self) -> list[str]:
        """For people."""
        return [f"{seconds:8.1f} s  {what}" for what, seconds in self.figures.items()]
