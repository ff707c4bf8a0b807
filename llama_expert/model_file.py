"""Finding a model's file and making sure that it is whole and the right one."""

import importlib.util
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
    try:
        size = path.stat().st_size
        read_header(path)
        actual = hashes.sha256(path) if spec.sha256 else None
    except TruncatedGgufError as error:
        return FileFacts(str(path), reason=Reason.TRUNCATED, detail=str(error))
    except GgufError as error:
        return FileFacts(str(path), reason=Reason.NOT_A_MODEL, detail=str(error))
    except OSError as error:
        return FileFacts(str(path), reason=Reason.UNREADABLE, detail=f"{path}: {error.strerror}")
    if actual != spec.sha256:
        detail = f"{path}: sha256 is {actual}, expected {spec.sha256}"
        return FileFacts(str(path), reason=Reason.WRONG_HASH, detail=detail)
    return FileFacts(str(path), size / MEBIBYTE)


def inspect_models(
    specs: Iterable[ModelSpec], models_dir: Path, hashes: VerifiedHashes
) -> dict[ModelSpec, FileFacts]:
    """`inspect_model` for many, each once."""
    return {spec: inspect_model(spec, models_dir, hashes) for spec in set(specs)}


def _where_expected(spec: ModelSpec, models_dir: Path) -> str:
    if spec.package is not None:
        return f"{spec.filename} is neither in {models_dir} nor in the Python package {spec.package}"
    if spec.local_path is not None:
        return f"{spec.filename} is not in {models_dir}, and {spec.local_path} is no file"
    return f"{spec.filename} is not in {models_dir}"
