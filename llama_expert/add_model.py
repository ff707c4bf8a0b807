"""Making a person's own GGUF file the first choice of an expert."""

import asyncio
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from clusterkit.config.catalogue import ModelSpec
from clusterkit.errors import HearthError
from clusterkit.fetch.download import copy_file, download
from clusterkit.fetch.part_file import ProgressCallback, check_file
from clusterkit.storage.hashes import sha256_of
from llama_expert.choose import FileFacts, needed_mb
from llama_expert.gguf import MEBIBYTE, GgufHeader, estimate_memory_mb
from llama_expert.gguf_checks import gguf_checks

#: `general.type` of GGUF files that are no language models of their own, such as adapters.
MODEL_TYPES = (None, "model")


class ModelTooLargeError(HearthError):
    """The model needs more memory than this machine has free."""

    code = "model_too_large"


class InvalidModelError(HearthError):
    """What was named cannot be used as a model."""

    code = "invalid_model"


async def add_model(
    source: str,
    expert: str,
    *,
    models_dir: Path,
    free_mb: int,
    reserve_mb: int,
    context: int,
    progress: ProgressCallback,
    sha256: str | None = None,
    name: str | None = None,
) -> ModelSpec:
    """Bring `source` (a path, or an http(s) address) into `models_dir` and describe it.

    `free_mb` is the machine's free memory, of which `reserve_mb` stays free; `context` is in tokens. The
    list of `expert` is not touched: pass the result to `prepend_own_model`. Raises `FetchError`,
    `ModelTooLargeError`, `InvalidModelError` (all `HearthError`); a refused file does not stay.
    """
    spec = requested_model(source, sha256=sha256, name=name)
    destination = models_dir / spec.filename
    local = spec.local_path
    room = free_mb - reserve_mb
    described: list[ModelSpec] = []

    def check_size(size: int) -> None:
        _check_fit(expert, spec, size, room)

    def check_model(header: GgufHeader, path: Path) -> None:
        described.append(_describe(expert, spec, header, path, context, room))

    checks = gguf_checks(spec.filename, sha256, size=check_size, model=check_model)
    if local is None:
        await download(source, destination, checks=checks, progress=progress)
    elif local == destination.absolute():
        await asyncio.to_thread(check_file, destination, spec.filename, checks)
    else:
        await copy_file(local, destination, checks=checks, progress=progress)
    return described[-1]


def requested_model(source: str, *, sha256: str | None, name: str | None) -> ModelSpec:
    """What `source`, a path or an http(s) address, would be listed as; its memory stands at 1 MB.

    Raises `InvalidModelError`.
    """
    remote = urlsplit(source).scheme in {"http", "https"}
    url = source if remote else Path(source).expanduser().absolute().as_uri()
    filename = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    return _spec(name or model_name_from(filename), url, filename, sha256)


def is_in_place(requested: ModelSpec, listed: ModelSpec, models_dir: Path) -> bool:
    """Whether the entry `listed` is what is `requested`, and its file is whole. Blocks: reads the file.

    A person's file that has changed since it was copied is another one; an address is not asked again.
    """
    if (listed.name, listed.url, listed.filename) != (requested.name, requested.url, requested.filename):
        return False
    if listed.sha256 is None or requested.sha256 not in (None, listed.sha256):
        return False
    copies = {models_dir / listed.filename, requested.local_path or models_dir / listed.filename}
    return all(copy.is_file() and sha256_of(copy) == listed.sha256 for copy in copies)


def model_name_from(filename: str) -> str:
    """A short model name from a file name: 'Qwen2.5-7B.Q4_K_M.gguf' becomes 'qwen2.5-7b.q4_k_m'."""
    return re.sub(r"\.gguf$", "", filename, flags=re.IGNORECASE).lower()


def _spec(name: str, url: str, filename: str, sha256: str | None) -> ModelSpec:
    try:
        return ModelSpec(name=name, url=url, filename=filename, memory_mb=1, sha256=sha256)
    except ValidationError as error:
        first = error.errors()[0]
        field, value = first["loc"][-1], first["input"]
        problem = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidModelError(f"{field} {value!r}: {problem}") from error


def _describe(
    expert: str, spec: ModelSpec, header: GgufHeader, path: Path, context: int, room: int
) -> ModelSpec:
    kind = header.metadata.get("general.type")
    if kind not in MODEL_TYPES or not header.tensor_count:
        kind_of_file = f"a GGUF of type {kind!r}" if kind not in MODEL_TYPES else "a GGUF without weights"
        raise InvalidModelError(f"{spec.filename} is {kind_of_file}, not a language model")
    size = path.stat().st_size
    estimate = estimate_memory_mb(header, size, context)
    described = spec.model_copy(update={"memory_mb": estimate, "sha256": spec.sha256 or sha256_of(path)})
    _check_fit(expert, described, size, room)
    return described


def _check_fit(expert: str, spec: ModelSpec, size: int, room: int) -> None:
    needed = needed_mb(spec, FileFacts(size_mb=size / MEBIBYTE))
    if needed > room:
        raise ModelTooLargeError(
            f"{spec.filename} needs {needed} MB of memory for the expert {expert!r}, "
            f"{max(0, room)} MB are free"
        )
