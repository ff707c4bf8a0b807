"""A machine that answers with the small model fetches a better one by itself, and then answers with that."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterkit.config.catalogue import load_catalogue
from llama_expert.model_file import find_model
from tests.catalogues import built_in_model, catalogue_of
from tests.houses import House
from tests.servers.threaded_server import serving_in_thread

ROOT = Path(__file__).parents[2]
LONGEST_S = 120.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where a server has `better.gguf`: the built-in model under another name."""
    spec = load_catalogue(ROOT / "group_vars/all/models.yaml").experts["main"].models[-1]
    shipped = find_model(spec, tmp_path)
    assert shipped is not None
    folder = tmp_path / "web"
    folder.mkdir()
    shutil.copyfile(shipped, folder / "better.gguf")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

    with serving_in_thread(Handler) as url:
        yield url


def better(tmp_path: Path, url: str) -> dict[str, Any]:
    """What a catalogue says of that model, at `url`."""
    file = tmp_path / "web/better.gguf"
    return {
        "name": "better",
        "url": url,
        "filename": "better.gguf",
        "memory_mb": 400,
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "tools": "none",
    }


def growing(house: House, folder: Path, *models: dict[str, Any]) -> None:
    """Have the house read this catalogue, and grow."""
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump(catalogue_of({"main": [*models, built_in_model()]})))
    house.extra.update(
        HEARTH_GROW="on", LLAMA_EXPERT_MODELS_FILE=str(file), MOE_GATEWAY_MODELS_FILE=str(file)
    )


def until(house: House, what: str, wanted: str) -> dict[str, Any]:
    """The state once `expert-main` has the model, or growth the state, that is wanted."""
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        state = house.json("status")
        seen = state["experts"]["expert-main"]["model"] if what == "model" else state["growth"]["state"]
        if seen == wanted:
            return dict(state)
    raise AssertionError(f"{what} is {seen!r} after {LONGEST_S} s, not {wanted!r}: {json.dumps(state)}")


@pytest.mark.req("BEY-19")
def test_the_small_model_answers_at_once_and_the_better_one_later_without_anyone_acting(
    house: House, tmp_path: Path, address: str
) -> None:
    growing(house, tmp_path, better(tmp_path, f"{address}/better.gguf"))
    started = house.hearth("up", "--detach")
    assert started.returncode == 0, started.stderr
    assert house.hearth("ask", "Say hello.").returncode == 0
    state = until(house, "model", "better")
    served = [line["model"] for line in house.log("llama_expert") if line["event"] == "expert_served"]
    assert served == ["smollm2-135m-instruct", "better"]
    assert state["healthy"]
    assert state["growth"]["state"] == "idle"
    assert house.hearth("ask", "Say hello.").returncode == 0
    assert house.hearth("down").returncode == 0
    assert house.all_gone()


@pytest.mark.req("BEY-19")
def test_a_better_model_that_cannot_be_had_leaves_the_small_one_and_says_why(
    house: House, tmp_path: Path, address: str
) -> None:
    growing(house, tmp_path, better(tmp_path, f"{address}/withdrawn.gguf"))
    assert house.hearth("up", "--detach").returncode == 0
    state = until(house, "growth", "failed")
    assert state["healthy"]
    assert state["experts"]["expert-main"]["model"] == "smollm2-135m-instruct"
    assert "withdrawn.gguf: the server answered 404" in state["growth"]["detail"]
    assert "withdrawn.gguf" in house.hearth("status").stdout


@pytest.mark.req("BEY-19")
def test_nothing_is_fetched_where_a_person_wants_the_small_model(
    house: House, tmp_path: Path, address: str
) -> None:
    growing(house, tmp_path, better(tmp_path, f"{address}/better.gguf"))
    house.extra["HEARTH_GROW"] = "off"
    assert house.hearth("up", "--detach").returncode == 0
    assert house.json("status")["growth"]["state"] == "off"
    assert not (house.home / "models/better.gguf").exists()
