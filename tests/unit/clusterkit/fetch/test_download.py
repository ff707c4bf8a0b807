"""Downloads against a real HTTP server with every bad habit."""

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clusterkit.fetch.download import MAX_REDIRECTS, copy_file, download
from clusterkit.fetch.part_file import DownloadProgress, FetchError, NoSpaceError
from llama_expert.gguf import MEBIBYTE
from llama_expert.gguf_checks import gguf_checks
from tests.servers.threaded_server import serving_in_thread

SIZE = 3 * MEBIBYTE


@dataclass
class Host:
    """What the server has and how it behaves."""

    body: bytes
    etag: str = '"v1"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)  #: bytes after which the next connections break
    redirects: int = 0
    status: int = 200
    tells_size: bool = True
    url: str = ""
    asked: list[str | None] = field(default_factory=list)  #: the Range header of every request

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def handler_for(host: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/hop/"):
                left = int(self.path.rsplit("/", 1)[1])
                self.send_response(302)
                self.send_header("Location", f"/hop/{left - 1}" if left > 1 else "/model.gguf")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            asked = self.headers["Range"]
            host.asked.append(asked)
            whole = re.fullmatch(r"bytes=(\d+)-", asked) if asked and host.ranges else None
            start = int(whole[1]) if whole else 0
            if start and start >= len(host.body):
                self.send_error(416)
                return
            self.send_response(206 if start else host.status)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(host.body) - 1}/{len(host.body)}")
            self.send_header("ETag", host.etag)
            if host.tells_size:
                self.send_header("Content-Length", str(len(host.body) - start))
            self.end_headers()
            end = start + host.cuts.pop(0) if host.cuts else len(host.body)
            with suppress(ConnectionError):  # a client that refuses what it is offered hangs up
                self.wfile.write(host.body[start:end])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def host(make_gguf_bytes: Callable[..., bytes]) -> Iterator[Host]:
    base = make_gguf_bytes()
    given = Host(make_gguf_bytes(padding=SIZE - len(base)))
    with serving_in_thread(handler_for(given)) as url:
        given.url = f"{url}/model.gguf"
        yield given


class Fetched(NamedTuple):
    destination: Path
    seen: list[DownloadProgress]

    async def __call__(self, url: str, **checks: Any) -> None:
        checks.setdefault("sha256", None)
        await download(
            url, self.destination, checks=gguf_checks("model.gguf", **checks), progress=self.seen.append
        )

    @property
    def left_behind(self) -> list[str]:
        folder = self.destination.parent
        return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def fetch(tmp_path: Path) -> Fetched:
    return Fetched(tmp_path / "models" / "model.gguf", [])


async def test_a_model_is_downloaded_with_progress_and_nothing_else_stays(host: Host, fetch: Fetched) -> None:
    await fetch(host.url, sha256=host.sha256)
    assert fetch.destination.read_bytes() == host.body
    assert fetch.left_behind == ["model.gguf"]
    assert fetch.seen[-1] == DownloadProgress(SIZE, SIZE)
    assert len(fetch.seen) >= 3


async def test_a_broken_connection_is_resumed_where_it_broke(host: Host, fetch: Fetched) -> None:
    host.cuts = [2 * MEBIBYTE + 17]
    await fetch(host.url, sha256=host.sha256)
    assert fetch.destination.read_bytes() == host.body
    assert host.asked[0] is None
    assert host.asked[1] == f"bytes={2 * MEBIBYTE}-"


async def test_a_download_that_gave_up_goes_on_at_the_next_call(host: Host, fetch: Fetched) -> None:
    host.cuts = [MEBIBYTE, 0]
    with pytest.raises(FetchError, match=f"{MEBIBYTE} bytes are kept"):
        await fetch(host.url)
    assert "model.gguf" not in fetch.left_behind
    await fetch(host.url, sha256=host.sha256)
    assert fetch.destination.read_bytes() == host.body
    assert host.asked[-1] == f"bytes={MEBIBYTE}-"
    assert fetch.left_behind == ["model.gguf"]


async def test_a_server_that_knows_no_ranges_is_asked_for_everything_again(
    host: Host, fetch: Fetched
) -> None:
    host.ranges = False
    host.cuts = [MEBIBYTE, 0]
    with pytest.raises(FetchError):
        await fetch(host.url)
    await fetch(host.url, sha256=host.sha256)
    assert fetch.destination.read_bytes() == host.body


@pytest.mark.parametrize("change", ["etag", "length"])
async def test_a_file_that_changed_on_the_server_is_fetched_from_the_start(
    host: Host, fetch: Fetched, change: str
) -> None:
    host.cuts = [MEBIBYTE, 0]
    with pytest.raises(FetchError):
        await fetch(host.url)
    if change == "etag":
        host.etag = '"v2"'
        host.body = host.body[:-1] + b"x"
    else:
        host.body += b"longer"
    await fetch(host.url)
    assert fetch.destination.read_bytes() == host.body


async def test_a_wrong_hash_is_refused_and_nothing_stays(host: Host, fetch: Fetched) -> None:
    with pytest.raises(FetchError, match=f"sha256 is {host.sha256}, expected 000"):
        await fetch(host.url, sha256="0" * 64)
    assert fetch.left_behind == []


async def test_a_web_page_is_refused_at_its_first_bytes(host: Host, fetch: Fetched) -> None:
    host.body = b"<!doctype html>" + bytes(SIZE)
    with pytest.raises(FetchError, match="no GGUF"):
        await fetch(host.url)
    assert fetch.left_behind == []
    assert fetch.seen == []


async def test_a_file_that_is_short_at_the_source_is_refused(host: Host, fetch: Fetched) -> None:
    host.body = host.body[:40]
    with pytest.raises(FetchError, match=r"model.gguf: .*cut short"):
        await fetch(host.url)
    assert fetch.left_behind == []


async def test_a_refused_download_leaves_the_old_file_alone(host: Host, fetch: Fetched) -> None:
    await fetch(host.url)
    host.body = b"GGUF" + bytes(100)
    with pytest.raises(FetchError):
        await fetch(host.url)
    assert fetch.destination.stat().st_size == SIZE


async def test_a_size_check_refuses_before_anything_is_fetched(host: Host, fetch: Fetched) -> None:
    def too_large(size: int) -> None:
        raise FetchError(f"{size} is too large")

    with pytest.raises(FetchError, match=f"{SIZE} is too large"):
        await fetch(host.url, size=too_large)
    assert fetch.seen == []
    assert fetch.left_behind == []


async def test_an_error_page_says_what_the_server_answered(host: Host, fetch: Fetched) -> None:
    host.status = 404
    with pytest.raises(FetchError, match="the server answered 404"):
        await fetch(host.url)


async def test_a_few_redirects_are_followed_and_many_are_not(host: Host, fetch: Fetched) -> None:
    base = host.url.removesuffix("model.gguf")
    await fetch(f"{base}hop/{MAX_REDIRECTS}")
    with pytest.raises(FetchError, match="redirects"):
        await fetch(f"{base}hop/{MAX_REDIRECTS + 1}")


@pytest.mark.parametrize("url", ["ftp://example.org/a.gguf", "file:///etc/passwd", "a.gguf"])
async def test_only_http_addresses_are_downloaded(fetch: Fetched, url: str) -> None:
    with pytest.raises(FetchError, match="only http"):
        await fetch(url)


async def test_an_unreachable_server_is_named(fetch: Fetched) -> None:
    with pytest.raises(FetchError, match=r"http://127.0.0.1:9/a.gguf: "):
        await fetch("http://127.0.0.1:9/a.gguf")


@pytest.fixture
def small_disk(fetch: Fetched) -> Iterator[Path]:
    """One free megabyte where models go."""
    folder = fetch.destination.parent
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_disk_that_is_too_small_is_noticed_before_the_download(
    host: Host, fetch: Fetched, small_disk: Path
) -> None:
    with pytest.raises(NoSpaceError, match=r"models: model.gguf needs 3 MB more, 1 MB are free"):
        await fetch(host.url)
    assert fetch.left_behind == []


async def test_a_disk_that_fills_up_leaves_nothing_behind(
    host: Host, fetch: Fetched, small_disk: Path
) -> None:
    host.tells_size = False  # so nobody can know before
    with pytest.raises(NoSpaceError, match="is full; nothing was kept"):
        await fetch(host.url)
    assert fetch.left_behind == []


async def test_a_local_file_is_copied_with_the_same_checks(
    make_gguf: Callable[..., Path], fetch: Fetched, tmp_path: Path
) -> None:
    source, checks = make_gguf("mine.gguf", padding=MEBIBYTE), gguf_checks("model.gguf", None)
    await copy_file(source, fetch.destination, checks=checks, progress=fetch.seen.append)
    assert fetch.destination.read_bytes() == source.read_bytes()
    assert fetch.seen[-1].done == source.stat().st_size
    with pytest.raises(FetchError, match="cannot be read: No such file"):
        await copy_file(
            tmp_path / "no",
            fetch.destination,
            checks=gguf_checks("model.gguf", None),
            progress=fetch.seen.append,
        )
    with pytest.raises(FetchError, match="is no file"):
        await copy_file(tmp_path, fetch.destination, checks=checks, progress=fetch.seen.append)
