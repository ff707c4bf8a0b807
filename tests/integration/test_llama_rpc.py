"""One model over several RPC servers of llama.cpp, and what is left when one of them is gone."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clusterkit.config.environment import environment
from llama_expert.kept_server import MAX_FAILED_RESTARTS
from tests.integration.test_llama_expert import FALLBACK, QUESTION, Service, bundled_model, larger, service
from tests.servers.free_ports import free_ports

PROGRAMS = ("llama-server", "rpc-server")
LENT_MB = 1_000_000  #: more than any machine has, so that the large model is split everywhere


def built() -> Path | None:
    """The folder in which the role `llama_cpp` keeps what it built on this machine."""
    kept = Path(environment()["HOME"]) / ".cache" / "hearth" / "built"
    for folder in sorted(kept.glob("llama.cpp-*"), reverse=True):
        if (folder / "SHA256SUMS").is_file():
            return folder
    return None


@pytest.fixture
def programs() -> Path:
    folder = built()
    if folder is None:
        pytest.skip("llama.cpp is not built here; `make molecule ROLE=llama_cpp` builds it")
    return folder


@asynccontextmanager
async def rpc_servers(programs: Path, count: int) -> AsyncIterator[Mapping[str, asyncio.subprocess.Process]]:
    """So many of them on loopback, by address."""
    running: dict[str, asyncio.subprocess.Process] = {}
    try:
        for port in free_ports(count):
            running[f"127.0.0.1:{port}"] = await asyncio.create_subprocess_exec(
                programs / "rpc-server",
                *("--host", "127.0.0.1", "--port", str(port)),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        yield running
    finally:
        for process in running.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def split_expert(home: Path, programs: Path, servers: Mapping[str, object]) -> AsyncIterator[Service]:
    """The expert `main`, whose first model no machine could hold alone."""
    (home / "models").mkdir()
    shutil.copy(bundled_model(), home / "models" / "large.gguf")
    told = {
        "engine": "llama-server",
        "llama_server_binary": str(programs / "llama-server"),
        "rpc_servers": ",".join(servers),
        "rpc_server_memory_mb": str(LENT_MB),
    }
    async with service(home, [larger("large", LENT_MB), FALLBACK], **told) as running:
        yield running


async def test_a_killed_rpc_server_ends_in_the_fallback_model_and_not_in_a_crash_loop(
    tmp_path: Path, programs: Path
) -> None:
    async with (
        rpc_servers(programs, 2) as servers,
        split_expert(tmp_path, programs, servers) as running,
        running.client() as client,
    ):
        answer = await client.post("/experts/main/v1/chat/completions", json=QUESTION)
        assert answer.status_code == 200
        (before,) = (await client.get("/experts")).json()["experts"]
        assert before["model"] == "large"

        gone, process = next(iter(servers.items()))
        process.kill()
        broken = await client.post("/experts/main/v1/chat/completions", json=QUESTION)
        assert broken.status_code in (502, 503)
        await running.logged("model_chosen", expert="main", model=FALLBACK["name"])
        await running.healthy()
        again = await client.post("/experts/main/v1/chat/completions", json=QUESTION)
        assert again.status_code == 200
        (after,) = (await client.get("/experts")).json()["experts"]
        assert after["model"] == FALLBACK["name"]
        tries = [event["problem"] for event in running.seen if event["event"] == "model_did_not_load"]
        assert len(tries) == MAX_FAILED_RESTARTS
        assert all(f"Failed to connect to {gone}" in problem for problem in tries)
