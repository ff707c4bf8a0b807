"""Fetching a file: by HTTP with resumption, or from a path."""

import asyncio
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx

from clusterkit.fetch.part_file import CHUNK_BYTES, Checks, FetchError, Origin, PartFile, ProgressCallback

MAX_REDIRECTS = 5
MAX_RESUMPTIONS = 5  #: times a connection may break in one download, as long as each brought something
TIMEOUT = httpx.Timeout(30.0, connect=10.0)  #: seconds; 30 between two pieces of the body


async def download(url: str, destination: Path, *, checks: Checks, progress: ProgressCallback) -> None:
    """Fetch `url` to `destination`, going on where an earlier attempt was cut off.

    Only a whole file that passes `checks` ever gets the destination's name. Raises
    `FetchError` (`NoSpaceError` when the disk is too small) and what the checks raise.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise FetchError(f"{url!r}: only http:// and https:// addresses can be downloaded")
    part = PartFile(destination, progress)
    async with httpx.AsyncClient(follow_redirects=True, max_redirects=MAX_REDIRECTS, timeout=TIMEOUT) as http:
        for _ in range(MAX_RESUMPTIONS + 1):
            before = part.resumable(url)
            try:
                await _fetch(http, url, part, checks)
                break
            except httpx.TransportError as error:
                after = part.resumable(url)
                if after is None or (before is not None and after[0] <= before[0]):
                    raise FetchError(_broken(url, error, after)) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise FetchError(_broken(url, error, None)) from error
        else:
            raise FetchError(f"{url}: the connection broke {MAX_RESUMPTIONS + 1} times; try again to go on")
    await part.finish(checks)


async def copy_file(source: Path, destination: Path, *, checks: Checks, progress: ProgressCallback) -> None:
    """Copy a file with the same checks as `download`. Raises as `download` does."""
    try:
        size = await asyncio.to_thread(_regular_size, source)
        checks.size(size)
        file = await asyncio.to_thread(source.open, "rb")
    except OSError as error:
        raise FetchError(f"{source} cannot be read: {error.strerror}") from error
    part = PartFile(destination, progress)
    try:
        await part.write(_chunks(file), Origin(str(source), "", size), have=0, checks=checks)
    finally:
        await asyncio.to_thread(file.close)
    await part.finish(checks)


def _regular_size(source: Path) -> int:
    status = source.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FetchError(f"{source} is no file")
    return status.st_size


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk


async def _fetch(http: httpx.AsyncClient, url: str, part: PartFile, checks: Checks) -> None:
    """One connection's worth of download; a stale start is given up and fetched anew."""
    resumable = part.resumable(url)
    have, earlier = resumable or (0, None)
    if earlier is not None and earlier.total == have:
        return
    headers = {"accept-encoding": "identity"}
    if have:
        headers["range"] = f"bytes={have}-"
    async with http.stream("GET", url, headers=headers) as response:
        _check_answer(url, response)
        origin = _origin(url, response)
        continues = response.status_code == httpx.codes.PARTIAL_CONTENT
        changed = continues and (origin != earlier or _range_start(response) != have)
        if not changed and response.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            if origin.total is not None:
                checks.size(origin.total)
            done = await part.write(
                response.aiter_raw(CHUNK_BYTES), origin, have=have if continues else 0, checks=checks
            )
            if origin.total is not None and done != origin.total:
                raise httpx.RemoteProtocolError(f"got {done} of {origin.total} bytes")
            return
    part.discard()
    await _fetch(http, url, part, checks)


def _check_answer(url: str, response: httpx.Response) -> None:
    hops = [*(earlier.url for earlier in response.history), response.url]
    if hops[0].scheme == "https" and any(hop.scheme != "https" for hop in hops):
        raise FetchError(f"{url} redirects from https to http, where it could be tampered with")
    expected = {httpx.codes.OK}
    if "range" in response.request.headers:
        expected |= {httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE}
    if response.status_code not in expected:
        raise FetchError(f"{url}: the server answered {response.status_code} {response.reason_phrase}")


def _origin(url: str, response: httpx.Response) -> Origin:
    version = response.headers.get("etag") or response.headers.get("last-modified") or ""
    content_range = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("content-range", ""))
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        return Origin(url, version, int(content_range[1]) if content_range else None)
    length = response.headers.get("content-length", "")
    return Origin(url, version, int(length) if length.isdigit() else None)


def _range_start(response: httpx.Response) -> int | None:
    start = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return int(start[1]) if start else None


def _broken(url: str, error: Exception, kept: tuple[int, Origin] | None) -> str:
    why = str(error) or type(error).__name__
    resume = f"; {kept[0]} bytes are kept, the same command goes on from there" if kept else ""
    return f"{url}: {why}{resume}"
