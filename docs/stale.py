"""`python -m docs.stale`: which kept results are about what has changed since; it fails nothing."""

import sys
from collections import Counter
from pathlib import Path

from tests.subjects import stale_results

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Name them, a file of results a line."""
    names = list(stale_results(ROOT))
    for file, count in Counter(name.split(": ")[0] for name in names).items():
        stale = (name.split(": ", 1)[1] for name in names if name.startswith(f"{file}: "))
        which = ", ".join(dict.fromkeys(stale))
        sys.stdout.write(f"stale: {file}, {count}{f': {which}' if which else ''}\n")


if __name__ == "__main__":
    main()
