"""Waiting for something to become true, with an end."""

import threading
import time
from collections.abc import Callable

PAUSE_SECONDS = 0.1


def eventually(condition: Callable[[], bool], *, within: float) -> None:
    """Return once `condition` holds; fail when it does not within so many seconds."""
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, f"not true within {within} s"
        threading.Event().wait(PAUSE_SECONDS)
