"""The service as it is wired: which settings and which machine decide what an expert gets."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from clusterkit.clock import SystemClock
from llama_expert.__main__ import make_model_servers
from llama_expert.memory import free_memory_mb
from llama_expert.settings import LlamaExpertSettings
from tests.catalogues import catalogue_of

MakeGguf = Callable[..., Path]
STEP_MB = 512  #: between the models of the list below


@pytest.fixture
def home(tmp_path: Path, make_gguf: MakeGguf) -> Path:
    """A state folder with a list of a model for every half gigabyte, up to one that fits no machine."""
    (tmp_path / "models").mkdir()
    make_gguf("models/any.gguf")
    sizes = [10**9, *range(256 * 1024, 0, -STEP_MB), 1]
    models = [
        {"name": f"of {size}", "url": "file:///x", "filename": "any.gguf", "memory_mb": size}
        for size in sizes
    ]
    catalogue = catalogue_of({"main": models}, fallback_max_memory_mb=1)
    (tmp_path / "models.yaml").write_text(json.dumps(catalogue))  # JSON is YAML
    return tmp_path


async def chosen_mb(home: Path, memory_mb: int | None) -> int:
    """The size of the model that the expert gets, in MB; the server that would serve it ends at once."""
    settings = LlamaExpertSettings(
        home=home,
        models_file=home / "models.yaml",
        memory_mb=memory_mb,
        reserve_mb=100,
        engine="llama-server",
        llama_server_binary=Path("/bin/false"),
    )
    servers = make_model_servers(settings, SystemClock())
    chosen: asyncio.Queue[str] = asyncio.Queue()

    def take(_: Any, __: str, event: MutableMapping[str, Any]) -> Any:
        if event["event"] == "model_chosen":
            chosen.put_nowait(event["model"])
        raise structlog.DropEvent

    structlog.configure(processors=[take], cache_logger_on_first_use=False)
    supervising = asyncio.create_task(servers.run())
    try:
        async with asyncio.timeout(20):
            name = await chosen.get()
    finally:
        supervising.cancel()
        await asyncio.wait({supervising})
        structlog.reset_defaults()
    return int(name.removeprefix("of "))


@pytest.mark.req("MOD-07", "MOD-08")
async def test_two_machines_that_report_different_memory_get_different_models(home: Path) -> None:
    assert await chosen_mb(home, 4096) == 7 * STEP_MB
    assert await chosen_mb(home, 16_000) == 31 * STEP_MB


@pytest.mark.req("MOD-08")
async def test_where_nothing_is_said_the_memory_of_the_machine_that_runs_it_counts(home: Path) -> None:
    before = free_memory_mb()
    chosen = await chosen_mb(home, None)
    after = free_memory_mb()
    others = 1024  # other programs come and go meanwhile
    assert min(before, after) - 100 - STEP_MB - others <= chosen <= max(before, after) - 100 + others


@pytest.mark.req("MOD-03")
def test_the_binding_of_llama_cpp_is_imported_only_to_load_a_model() -> None:
    program = "import llama_expert.engines.llama_cpp_python, sys; sys.exit('llama_cpp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 0
