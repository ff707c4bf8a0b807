"""Finding model files and telling whole ones from broken ones."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterkit.config.catalogue import ModelSpec
from clusterkit.storage.hashes import VerifiedHashes
from llama_expert.choose import Reason
from llama_expert.model_file import ModelFiles, find_model, inspect_model

MakeGguf = Callable[..., Path]


def spec(filename: str, url: str = "https://example.org/x.gguf", sha256: str | None = None) -> ModelSpec:
    return ModelSpec(name="m", url=url, filename=filename, memory_mb=1, sha256=sha256)


@pytest.fixture
def hashes(tmp_path: Path) -> VerifiedHashes:
    return VerifiedHashes(tmp_path / "data" / "verified.json")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_in_the_models_folder_is_found(make_gguf: MakeGguf, tmp_path: Path) -> None:
    path = make_gguf()
    assert find_model(spec("model.gguf"), tmp_path) == path


def test_a_file_elsewhere_is_found_by_its_url(make_gguf: MakeGguf, tmp_path: Path) -> None:
    path = make_gguf("else where.gguf")
    assert find_model(spec("x.gguf", path.as_uri()), tmp_path / "models") == path


def test_a_file_inside_a_package_is_found_without_running_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "loud_models"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_model(spec("m.gguf", "package:loud_models"), tmp_path / "models") == package / "m.gguf"
    assert find_model(spec("m.gguf", "package:no_such_package"), tmp_path / "models") is None


@pytest.mark.req("MOD-05")
@pytest.mark.req("BEY-17")
def test_each_way_to_be_broken_has_its_reason(
    make_gguf: MakeGguf, tmp_path: Path, hashes: VerifiedHashes
) -> None:
    whole = make_gguf("whole.gguf")
    (tmp_path / "short.gguf").write_bytes(whole.read_bytes()[:-1])
    (tmp_path / "page.gguf").write_text("<html>")
    wrong = spec("whole.gguf", sha256="0" * 64)
    assert inspect_model(spec("whole.gguf", sha256=sha256(whole)), tmp_path, hashes).reason is None
    assert inspect_model(spec("none.gguf"), tmp_path, hashes).reason is Reason.MISSING
    assert inspect_model(spec("short.gguf"), tmp_path, hashes).reason is Reason.TRUNCATED
    assert inspect_model(spec("page.gguf"), tmp_path, hashes).reason is Reason.NOT_A_MODEL
    assert inspect_model(wrong, tmp_path, hashes).reason is Reason.WRONG_HASH
    assert sha256(whole) in inspect_model(wrong, tmp_path, hashes).detail


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = path.stat()
    first = VerifiedHashes(tmp_path / "verified.json").sha256(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same time: not read again
    assert VerifiedHashes(tmp_path / "verified.json").sha256(path) == first
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert VerifiedHashes(tmp_path / "verified.json").sha256(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"FILE": 3}', b'{"FILE": [3, 1, null]}'])
def test_a_damaged_memory_of_hashes_counts_as_empty(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    (tmp_path / "verified.json").write_bytes(junk.replace(b"FILE", str(path).encode()))
    digest = VerifiedHashes(tmp_path / "verified.json").sha256(path)
    assert digest == hashlib.sha256(b"one").hexdigest()


def test_a_memory_of_hashes_that_cannot_be_written_is_no_reason_to_refuse_a_model(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    blocked = VerifiedHashes(path / "verified.json")  # below a file: no such folder can be made
    assert blocked.sha256(path) == hashlib.sha256(b"one").hexdigest()


def test_a_file_is_inspected_again_only_when_it_has_changed(
    make_gguf: MakeGguf, tmp_path: Path, hashes: VerifiedHashes
) -> None:
    files, wanted = ModelFiles(tmp_path, hashes), spec("model.gguf")
    assert files.inspect([wanted])[wanted].reason is Reason.MISSING
    make_gguf()
    first = files.inspect([wanted])[wanted]
    assert first.reason is None
    assert files.inspect([wanted])[wanted] is first
    make_gguf(padding=64)
    second = files.inspect([wanted])[wanted]
    assert second.version != first.version
