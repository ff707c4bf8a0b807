"""`python -m llama_expert.fetch CATALOGUE FOLDER NAME`: brings a model of a catalogue to this host.

NAME is a model, or a speech model, whose files go into a folder of its name. Prints `present` or `fetched`;
what was cut off goes on where it ended. With `--progress`, each line before that is a JSON object of bytes:
`{"done": …, "total": …}`.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from clusterkit.config.catalogue import Catalogue, ModelSpec, SpeechModel, load_catalogue
from clusterkit.config.suggest import suggest
from clusterkit.errors import HearthError, SettingsError
from clusterkit.fetch.fetch import fetch
from clusterkit.fetch.part_file import Checks, DownloadProgress, ProgressCallback
from clusterkit.http.process import run
from clusterkit.storage.hashes import VerifiedHashes
from llama_expert.gguf_checks import gguf_checks
from llama_expert.model_file import find_model

USAGE = "python -m llama_expert.fetch [--progress] CATALOGUE FOLDER NAME"


class UnknownModelError(HearthError):
    """The catalogue has no model of that name."""

    code = "unknown_model"


async def fetch_named(catalogue: Catalogue, folder: Path, name: str, progress: ProgressCallback) -> bool:
    """Make sure that the model `name` is in `folder`, whole; whether it had to be fetched.

    Raises `UnknownModelError`, `FetchError`; a file that fails its checks does not get its name.
    """
    if name in catalogue.models:
        return await fetch_model(catalogue.models[name], folder, progress)
    if name in catalogue.speech_models:
        return await fetch_speech(catalogue.speech_models[name], folder / name, progress)
    known = [*catalogue.models, *catalogue.speech_models]
    raise UnknownModelError(f"there is no model {name!r} in the catalogue{suggest(name, known)}")


async def fetch_model(spec: ModelSpec, folder: Path, progress: ProgressCallback) -> bool:
    """Make sure that the file of `spec` can be found; whether it had to be fetched. Raises `FetchError`."""
    hashes = VerifiedHashes(folder / ".verified.json")

    def is_whole() -> bool:
        found = find_model(spec, folder)
        return found is not None and (spec.sha256 is None or hashes.sha256(found) == spec.sha256)

    if await asyncio.to_thread(is_whole):
        return False
    destination = folder / spec.filename
    fetched = await fetch(
        spec.sources,
        destination,
        size=spec.bytes,
        checks=gguf_checks(spec.filename, spec.sha256),
        progress=progress,
    )
    if spec.sha256 is not None:
        await asyncio.to_thread(hashes.sha256, destination)  # the next look then costs nothing
    return fetched


async def fetch_speech(model: SpeechModel, folder: Path, progress: ProgressCallback) -> bool:
    """Make sure that all files of `model` are in `folder`; whether one had to be fetched.

    The progress is over all of them. Raises `FetchError`.
    """
    total = sum(file.bytes for file in model.files)
    before, fetched = 0, False
    for file in model.files:
        fetched |= await fetch(
            file.sources,
            folder / file.filename,
            size=file.bytes,
            checks=Checks(file.sha256),
            progress=_shifted(progress, before, total),
        )
        before += file.bytes
    return fetched


def _shifted(progress: ProgressCallback, before: int, total: int) -> ProgressCallback:
    return lambda state: progress(DownloadProgress(before + state.done, total))


def _quiet(_: DownloadProgress) -> None:
    """Whoever calls this shows no progress."""


def _told(write: Callable[[str], object]) -> ProgressCallback:
    def tell(state: DownloadProgress) -> None:
        write(orjson.dumps(asdict(state)).decode() + "\n")
        sys.stdout.flush()

    return tell


async def main(arguments: Sequence[str]) -> None:
    """Fetch what the arguments name. Raises `HearthError`."""
    words = [word for word in arguments if word != "--progress"]
    if len(words) != 3:
        raise SettingsError(f"{USAGE}: {len(words)} words were given")
    catalogue, folder, name = words
    progress = _told(sys.stdout.write) if "--progress" in arguments else _quiet
    fetched = await fetch_named(load_catalogue(Path(catalogue)), Path(folder), name, progress)
    sys.stdout.write("fetched\n" if fetched else "present\n")


if __name__ == "__main__":
    sys.exit(run(lambda: main(sys.argv[1:])))
