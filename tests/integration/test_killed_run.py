"""A test run that is killed leaves nothing behind: no Hearth, no process of a process, no container."""

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.houses import House
from tests.integration.waiting import eventually
from tests.lab.engine import docker

ROOT = Path(__file__).resolve().parents[2]
STARTS_A_HOUSE = """
import subprocess
from pathlib import Path
from tests.houses import make_house

def test_a_house():
    house = make_house(Path(__file__).parent / "house")
    assert house.hearth("up", "--detach").returncode == 0
    (Path(__file__).parent / "is up").touch()
    subprocess.run(["sleep", "1000"])
"""
STARTS_AN_ORPHAN = """
import subprocess
from pathlib import Path

def test_an_orphan():
    argv = ["sh", "-c", "sleep 1000 & echo $!; exit"]
    started = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    (Path(__file__).parent / "is up").write_text(started.stdout.readline())
    subprocess.run(["sleep", "1000"])
"""
LEAVES_A_CONTAINER = """
import subprocess
from pathlib import Path
from tests.lab.engine import docker, run_label

def test_a_container():
    container = docker("create", *run_label(), "IMAGE", "/bin/true").stdout.strip()
    (Path(__file__).parent / "is up").write_text(container)
    subprocess.run(["sleep", "1000"])
"""


@pytest.fixture
def image(lab_engine: None, tmp_path: Path) -> Iterator[str]:
    """An image in which there is nothing."""
    with tarfile.open(tmp_path / "nothing.tar", "w"):
        pass
    made = docker("import", str(tmp_path / "nothing.tar")).stdout.strip()
    yield made
    docker("image", "rm", made)


def start(folder: Path, text: str) -> subprocess.Popen[bytes]:
    """A run of these tests that is under way; what they start is there."""
    (folder / "test_toy.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.watched_run", "-p", "no:cacheprovider", "test_toy.py"],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    eventually(lambda: (folder / "is up").exists() or run.poll() is not None, within=150)
    assert run.poll() is None
    return run


@pytest.mark.timeout(300)
def test_a_house_ends_with_the_run_that_is_killed(tmp_path: Path) -> None:
    run, house = start(tmp_path, STARTS_A_HOUSE), House(tmp_path / "house", 1, 1)
    assert len(house.processes()) >= 4
    run.kill()
    run.wait()
    eventually(lambda: house.processes() == [], within=60)


def test_a_process_of_a_process_ends_with_the_run_that_is_killed(tmp_path: Path) -> None:
    run = start(tmp_path, STARTS_AN_ORPHAN)
    orphan = psutil.Process(int((tmp_path / "is up").read_text()))
    run.kill()
    run.wait()
    orphan.wait(timeout=60)


def test_a_container_ends_with_the_run_that_is_killed(tmp_path: Path, image: str) -> None:
    run = start(tmp_path, LEAVES_A_CONTAINER.replace("IMAGE", image))
    container = (tmp_path / "is up").read_text()
    run.kill()
    run.wait()
    gone = ["container", "ls", "--all", "--quiet", "--no-trunc", "--filter", f"id={container}"]
    eventually(lambda: docker(*gone).stdout == "", within=60)
