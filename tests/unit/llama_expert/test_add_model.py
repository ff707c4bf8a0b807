"""`hearth model add`, below the command line."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterkit.config.catalogue import ModelSpec
from clusterkit.errors import HearthError
from clusterkit.fetch.part_file import DownloadProgress, FetchError
from llama_expert.add_model import InvalidModelError, ModelTooLargeError, add_model
from llama_expert.gguf import MEBIBYTE, OVERHEAD_MB

MakeGguf = Callable[..., Path]


async def add(source: Path | str, models: Path, *, free_mb: int = 4000, **options: str) -> ModelSpec:
    seen: list[DownloadProgress] = []
    return await add_model(
        str(source),
        "main",
        models_dir=models,
        free_mb=free_mb,
        reserve_mb=512,
        context=4096,
        progress=seen.append,
        **options,
    )


async def test_a_model_is_copied_and_described(make_gguf: MakeGguf, tmp_path: Path) -> None:
    source = make_gguf("My-Model.Q4.gguf", padding=2 * MEBIBYTE)
    models = tmp_path / "models"
    spec = await add(source, models)
    assert spec.name == "my-model.q4"
    assert spec.url == source.as_uri()
    assert spec.filename == "My-Model.Q4.gguf"
    assert spec.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert spec.memory_mb == OVERHEAD_MB + 3
    assert (models / spec.filename).read_bytes() == source.read_bytes()


async def test_a_model_that_lies_in_the_models_folder_is_taken_as_it_is(
    make_gguf: MakeGguf, tmp_path: Path
) -> None:
    source = make_gguf()
    assert (await add(source, tmp_path, name="named")).name == "named"
    with pytest.raises(ModelTooLargeError):
        await add(source, tmp_path, free_mb=600)
    assert source.exists()


async def test_a_model_that_does_not_fit_is_refused_with_both_figures(
    make_gguf: MakeGguf, tmp_path: Path
) -> None:
    source = make_gguf(padding=100 * MEBIBYTE)
    with pytest.raises(ModelTooLargeError, match=r"needs 111 MB .* 'main', 88 MB are free"):
        await add(source, tmp_path / "models", free_mb=600)
    with pytest.raises(ModelTooLargeError, match=r"needs 197 MB .* 188 MB are free"):
        await add(source, tmp_path / "models", free_mb=700)
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize(
    ("metadata", "tensors", "said"),
    [({"general.type": "adapter"}, 1, "type 'adapter', not a language"), ({}, 0, "without weights")],
)
async def test_a_gguf_that_is_no_language_model_is_refused(
    make_gguf: MakeGguf, tmp_path: Path, metadata: dict[str, str], tensors: int, said: str
) -> None:
    with pytest.raises(InvalidModelError, match=said):
        await add(make_gguf(metadata=metadata, tensors=tensors), tmp_path / "models")
    assert not list((tmp_path / "models").iterdir())


async def test_what_is_no_gguf_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.gguf"
    page.write_text("<html>")
    with pytest.raises(FetchError, match="no GGUF"):
        await add(page, tmp_path / "models")


@pytest.mark.parametrize("source", ["", "/", "https://example.org/", "https://example.org/a%2Fb.gguf"])
async def test_a_source_without_a_usable_file_name_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(HearthError):
        await add(source, tmp_path / "models")
