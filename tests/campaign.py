"""`python -m tests.campaign`: all that nobody waits for, one after the other; a failure stops nothing."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Molecule comes first: it builds llama.cpp, which some tests skip without.
PARTS: Mapping[str, Sequence[str]] = {
    "molecule": ("-m", "tests.lab.molecule_run"),
    "playbooks": ("-m", "pytest", "tests/playbooks"),
    "llama.cpp": ("-m", "pytest", "tests/integration/test_llama_rpc.py"),
    "faults": ("-m", "tests.faults"),
    "mutants": ("-m", "tests.mutants", "--all"),
    "pages": ("-m", "docs.generate"),
}


def main(parts: Mapping[str, Sequence[str]] = PARTS) -> int:
    """Run them all and say how each ended; the exit status is 1 when one failed."""
    lines, failed = [], False
    for name, arguments in parts.items():
        sys.stdout.write(f"\n== {name} ==\n")
        sys.stdout.flush()
        began = time.monotonic()
        status = subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode
        failed = failed or status != 0
        result = "passed" if status == 0 else f"failed ({status})"
        lines.append(f"{name:<10} {result:<11} {time.monotonic() - began:8.0f} s\n")
    sys.stdout.write("\n" + "".join(lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
