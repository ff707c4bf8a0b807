"""The wheel holds everything that a machine without the repository needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.houses import House

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a wheel built from this repository."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_hearth_runs_from_the_wheel_alone(unpacked: Path, house: House) -> None:
    house.extra["PYTHONPATH"] = str(unpacked)
    started = subprocess.run(
        [sys.executable, "-m", "hearth", "up", "--detach"],
        cwd=house.home.parent,
        env=house.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    commands = {" ".join(process.cmdline()) for process in house.processes()}
    assert any("moe_gateway" in command for command in commands)
    told = next(process for process in house.processes() if "moe_gateway" in process.cmdline()).environ()
    assert told["MOE_GATEWAY_MODELS_FILE"] == str(unpacked / "hearth" / "data" / "models.yaml")
    assert house.hearth("ask", "what is 17 * 23").stdout.strip() == "391"


def test_the_metadata_asks_for_nothing_that_an_index_does_not_have(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    wanted = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist:")]
    assert len(wanted) > 10
    assert [line for line in wanted if "@" in line or "file:" in line] == []
