"""The environment of this process: the only place that reads it.

It stands apart from the settings classes because those take longer to load than some commands to run.
"""

import os
from pathlib import Path

DEFAULT_HOME = Path("~/.hearth").expanduser()  #: the state folder, unless a variable names another


def environment() -> dict[str, str]:
    """A copy of this process's environment, for handing on to a child."""
    return dict(os.environ)  # noqa: TID251 - the one reader


def variables(prefix: str) -> dict[str, str]:
    """What is set and not empty of the variables that start with `prefix`, by the rest of their names.

    Names are in upper case, however they are written.
    """
    names = ((name.upper(), value) for name, value in environment().items())
    return {name.removeprefix(prefix): value for name, value in names if name.startswith(prefix) and value}
