"""Real hosts on one machine: systemd, sshd and an address each, to converge, break and heal.

`Lab("name", hosts=3)` in Python, `python -m tests.lab up name --hosts 3` at a terminal.
"""

from tests.lab.engine import LabError, LabUnavailable
from tests.lab.host import Host
from tests.lab.lab import Lab, own_name
from tests.lab.playbook_run import PlaybookRun, Recap

__all__ = ["Host", "Lab", "LabError", "LabUnavailable", "PlaybookRun", "Recap", "own_name"]
