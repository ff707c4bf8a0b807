"""What a test run starts ends with it, also when it is killed."""

import os
import subprocess
import sys
import uuid

import pytest

from tests import watchdog

WATCH = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    run = uuid.uuid4().hex
    inherited = dict(os.environ)  # noqa: TID251 - what a child is to inherit is set here
    inherited.pop(watchdog.VARIABLE, None)
    session.config.stash[WATCH] = subprocess.Popen(
        [sys.executable, "-I", "-S", watchdog.__file__, run],
        env=inherited,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    os.environ[watchdog.VARIABLE] = run  # noqa: TID251


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    watch = config.stash.get(WATCH, None)
    if watch is not None:
        watch.communicate(watchdog.ENDED)
