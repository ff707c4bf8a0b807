"""The registry of one machine is shared by all of its processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from clusterkit.clock import SystemClock
from clusterkit.errors import StorageError
from clusterkit.ports.local_registry import LocalRegistry

ANNOUNCE = """
import asyncio, sys
from pathlib import Path
from clusterkit.clock import SystemClock
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance

async def main():
    async with LocalRegistry(Path(sys.argv[1]), SystemClock()) as registry:
        instance = Instance(service="agent", id=sys.argv[2], address="127.0.0.1", port=1)
        await registry.register(instance, ttl=60)
        await registry.heartbeat(sys.argv[2], healthy=True)

asyncio.run(main())
"""


async def test_processes_that_start_at_once_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "run" / "registry.db"
    children = [
        subprocess.Popen([sys.executable, "-c", ANNOUNCE, str(path), f"agent-{n}"], stderr=subprocess.PIPE)  # noqa: ASYNC220 - it outlives no test
        for n in range(4)
    ]
    for child in children:
        assert child.communicate(timeout=60)[1] == b""
    async with LocalRegistry(path, SystemClock()) as registry:
        found = await registry.instances()
    assert [(one.id, one.healthy) for one in found] == [(f"agent-{n}", True) for n in range(4)]
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_text("not a database " * 100)
    with pytest.raises(StorageError, match=r"registry\.db: file is not a database"):
        async with LocalRegistry(path, SystemClock()):
            pass
