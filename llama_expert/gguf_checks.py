"""What a file must pass before it is taken for a model."""

from collections.abc import Callable
from pathlib import Path

from clusterkit.fetch.part_file import Checks, FetchError
from llama_expert.gguf import MAGIC, GgufError, GgufHeader, read_header


def _anything(*_: object) -> None:
    """The check that refuses nothing."""


def gguf_checks(
    name: str,
    sha256: str | None,
    *,
    size: Callable[[int], None] = _anything,
    model: Callable[[GgufHeader, Path], None] = _anything,
) -> Checks:
    """The checks of a whole GGUF file that people know as `name`, and of its hash where it is known.

    `size` is told the size in bytes before anything is fetched, `model` the header and where the file lies.
    """

    def start(first: bytes) -> None:
        if not first.startswith(MAGIC):
            raise FetchError(f"{name} is no GGUF model file (it does not start with GGUF)")

    def whole(path: Path) -> None:
        try:
            header = read_header(path)
        except GgufError as error:
            raise FetchError(str(error).replace(str(path), name)) from error
        model(header, path)

    return Checks(sha256, size, start, whole)
