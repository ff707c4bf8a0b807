"""`python -m clusterkit.cluster.explain SUBJECT`: answers as JSON on stdin, lines for people as JSON."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from clusterkit.cluster.explain.removal import farewell_lines, removal_lines

SUBJECTS: Mapping[str, Callable[[Any], Any]] = {
    "removal": removal_lines,
    "farewell": farewell_lines,
}


def main() -> None:
    """Ends with 0 when it has explained."""
    parser = argparse.ArgumentParser(prog="clusterkit.cluster.explain", description=__doc__)
    parser.add_argument("subject", choices=SUBJECTS)
    subject = parser.parse_args().subject
    json.dump(SUBJECTS[subject](json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
