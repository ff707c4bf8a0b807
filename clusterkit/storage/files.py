"""Files that no reader ever sees half of."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes, *, mode: int, replace: bool = True) -> bool:
    """Write `path` in one step, with its content on disk before its name; folders above it are made.

    With `replace=False` a file that is there already stays: of two writers at once one wins. Returns whether
    the content is now in place. Raises `OSError`, and leaves nothing behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask takes away
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        if replace:
            aside.replace(path)
            return True
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        return True
    finally:
        aside.unlink(missing_ok=True)
