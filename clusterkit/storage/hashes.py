"""Hashes of files, and remembering them: gigabytes are not read again at every start."""

import contextlib
import hashlib
from pathlib import Path

import orjson

from clusterkit.storage.files import write_whole


def sha256_of(path: Path) -> str:
    """The hash of a file, lower-case hex. Blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class VerifiedHashes:
    """Hashes of files, remembered in a JSON file by path, size and time of change.

    Gigabytes need not be read again at every start; a file that was touched is.
    """

    def __init__(self, path: Path) -> None:
        """`path` need not exist; an unreadable one counts as empty and is written anew."""
        self._path = path

    def sha256(self, path: Path) -> str:
        """The hash of `path`. Blocks; raises OSError when it cannot be read."""
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns]
        hashes = self._read()
        entry = hashes.get(str(path))
        if isinstance(entry, list) and entry[:2] == stamp and len(entry) == 3 and isinstance(entry[2], str):
            return entry[2]
        digest = sha256_of(path)
        with contextlib.suppress(OSError):  # a full disk must not make a good model unusable
            self._write({**hashes, str(path): [*stamp, digest]})
        return digest

    def _read(self) -> dict[str, object]:
        try:
            hashes = orjson.loads(self._path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return hashes if isinstance(hashes, dict) else {}

    def _write(self, hashes: dict[str, object]) -> None:
        content = orjson.dumps(hashes, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        write_whole(self._path, content, mode=0o600)
