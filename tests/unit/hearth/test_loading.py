"""What a command loads: the figures of `make bench` follow from it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterkit.config.environment import environment
from clusterkit.testing import ScriptedAnswer, ScriptedLlm, scripted_llm
from tests.servers.places import GATEWAY, staged_machine

RUN = """
import sys
from hearth.__main__ import main
before = set(sys.modules)
sys.argv = ["hearth", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - sys.stdlib_module_names), file=sys.stderr)
"""


def run(*arguments: str, home: Path) -> tuple[str, set[str]]:
    """What the command prints, and the packages beyond Python's own that it has loaded by its end."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env={**environment(), "HEARTH_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split())


@pytest.fixture(scope="module")
def gateway() -> Iterator[ScriptedLlm]:
    with scripted_llm([ScriptedAnswer(text="It is 42.")]) as model:
        yield model


def test_the_version_is_told_without_loading_anything(tmp_path: Path) -> None:
    shown, loaded = run("--version", home=tmp_path)
    assert shown.strip().count(".") == 2
    assert loaded == {"hearth"}


async def test_a_question_loads_the_command_line_and_what_speaks_to_the_gateway(
    tmp_path: Path, gateway: ScriptedLlm
) -> None:
    async with staged_machine(tmp_path / "hearth") as machine:
        await machine.serve(GATEWAY, gateway.port)
        process = await asyncio.to_thread(run, "ask", "what is 6 * 7", home=machine.layout.home)
    shown, loaded = process
    assert shown == "It is 42.\n"
    own = {name for name in loaded if "cython" not in name}  # what httptools is compiled with
    assert own == {"hearth", "clusterkit", "click", "httptools", "orjson"}
