"""`python -m clusterkit.cluster.preflight`: facts as JSON on stdin, problems as a JSON list of sentences."""

import argparse
import json
import sys
from pathlib import Path

from clusterkit.cluster.preflight.host import folders_above, host_problems
from clusterkit.cluster.preflight.inventory import inventory_problems
from clusterkit.cluster.preflight.names import names_in


def main() -> None:
    """Ends with 0 once it has judged, whatever it found."""
    parser = argparse.ArgumentParser(prog="clusterkit.cluster.preflight", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    inventory = commands.add_parser("inventory", help="judge an inventory; no host is reached")
    inventory.add_argument("root", type=Path, help="the folder with ansible/ and group_vars/")
    folders = commands.add_parser("folders", help="each folder and all above it, the deepest first")
    folders.add_argument("paths", nargs="+", metavar="PATH")
    commands.add_parser("host", help="judge one host")
    asked = parser.parse_args()
    if asked.command == "folders":
        answer = folders_above(asked.paths)
    elif asked.command == "inventory":
        answer = inventory_problems(json.load(sys.stdin), names_in(asked.root))
    else:
        answer = host_problems(json.load(sys.stdin))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
