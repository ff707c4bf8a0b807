"""Finding a model's file and making sure that it is whole and the right one."""

import contextlib
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from clusterkit.config.catalogue import ModelSpec
from clusterkit.storage.hashes import VerifiedHashes
from llama_expert.choose import FileFacts, Reason
from llama_expert.gguf import MEBIBYTE, GgufError, TruncatedGgufError, read_header


def find_model(spec: ModelSpec, models_dir: Path) -> Path | None:
    """Where the file of `spec` lies: the models folder, then its `file:` path or its Python package."""
    places = [models_dir / spec.filename]
    if spec.local_path is not None:
        places.append(spec.local_path)
    if spec.package is not None:
        # find_spec does not run the package: importing it could pull in anything.
        package = importlib.util.find_spec(spec.package)
        folders = package.submodule_search_locations if package else None
        places += [Path(folder) / spec.filename for folder in folders or ()]
    return next((place for place in places if place.is_file()), None)


def inspect_model(spec: ModelSpec, models_dir: Path, hashes: VerifiedHashes) -> FileFacts:
    """Everything `choose` wants to know about the file of `spec`. Blocks: reads the file."""
    path = find_model(spec, models_dir)
    if path is None:
        return FileFacts(reason=Reason.MISSING, detail=_where_expected(spec, models_dir))
    version = ""
    try:
        state = path.stat()
        version = _version(state)
        read_header(path)
        actual = hashes.sha256(path) if spec.sha256 else None
    except TruncatedGgufError as error:
        return FileFacts(str(path), reason=Reason.TRUNCATED, detail=str(error), version=version)
    except GgufError as error:
        return FileFacts(str(path), reason=Reason.NOT_A_MODEL, detail=str(error), version=version)
    except OSError as error:
        detail = f"{path}: {error.strerror}"
        return FileFacts(str(path), reason=Reason.UNREADABLE, detail=detail, version=version)
    if actual != spec.sha256:
        detail = f"{path}: sha256 is {actual}, expected {spec.sha256}"
        return FileFacts(str(path), reason=Reason.WRONG_HASH, detail=detail, version=version)
    return FileFacts(str(path), state.st_size / MEBIBYTE, version=version)


class ModelFiles:
    """What is known of many models' files; each is read again only when it has changed."""

    def __init__(self, models_dir: Path, hashes: "VerifiedHashes") -> None:
        """Nothing is read yet."""
        self._models_dir, self._hashes = models_dir, hashes
        self._known: dict[ModelSpec, FileFacts] = {}

    def inspect(self, specs: Iterable[ModelSpec]) -> dict[ModelSpec, FileFacts]:
        """`inspect_model` for each of `specs`. Blocks."""
        self._known = {spec: self._facts(spec) for spec in set(specs)}
        return dict(self._known)

    def _facts(self, spec: ModelSpec) -> FileFacts:
        known, path = self._known.get(spec), find_model(spec, self._models_dir)
        if known is not None and path is not None and known.path == str(path):
            with contextlib.suppress(OSError):
                if known.version == _version(path.stat()) and known.reason is not Reason.UNREADABLE:
                    return known
        return inspect_model(spec, self._models_dir, self._hashes)


def _version(state: os.stat_result) -> str:
    return f"{state.st_dev}-{state.st_ino}-{state.st_size}-{state.st_mtime_ns}"


def _where_expected(spec: ModelSpec, models_dir: Path) -> str:
    if spec.package is not None:
        return f"{spec.filename} is neither in {models_dir} nor in the Python package {spec.package}"
    if spec.local_path is not None:
        return f"{spec.filename} is not in {models_dir}, and {spec.local_path} is no file"
    return f"{spec.filename} is not in {models_dir}"
