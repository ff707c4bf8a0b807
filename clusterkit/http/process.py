"""The edge of a service's process: what it exits with, and what it says when it cannot start."""

import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvloop

from clusterkit.errors import HearthError

EXIT_REFUSED = 2  #: the service cannot run as it is set up; starting it again will not help

Main = Callable[[], Coroutine[Any, Any, None]]


def run(main: Main) -> int:
    """Run `main` to its end; the exit status is 0, or `EXIT_REFUSED` after one line per problem."""
    problems: list[HearthError] = []
    try:
        uvloop.run(main())
    except* HearthError as group:
        problems = list(_errors(group))
    except* KeyboardInterrupt:
        pass
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    return EXIT_REFUSED if problems else 0


def _errors(group: BaseExceptionGroup[HearthError]) -> Iterator[HearthError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _errors(error)
        else:
            yield error
