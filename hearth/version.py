"""Which version of Hearth this is."""

import sys
from importlib.metadata import version


def print_version() -> None:
    """Print the version of the installed package."""
    sys.stdout.write(version("hearth") + "\n")
