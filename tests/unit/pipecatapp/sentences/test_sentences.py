"""Sentences: what they catch, and what becomes of slips in the files that hold them."""

from pathlib import Path
from typing import Any

import pytest

from clusterkit.errors import ConfigFileError
from clusterkit.testing import FakeRegistry
from pipecatapp.__main__ import Memory, all_tools
from pipecatapp.sentences.grammar import Command
from pipecatapp.sentences.load import SHIPPED, load_sentences
from pipecatapp.settings import PipecatappSettings
from pipecatapp.tools.registry import ToolRegistry
from tests.servers.agent import WORKFLOWS, running_agent

FILE = """\
language: en
intents:
  clock:
    data:
      - sentences: ["{sentence}"]
{more}"""


@pytest.fixture
def tools():
    nothing: Any = None
    return ToolRegistry(all_tools(FakeRegistry(), Path("/"), Memory(nothing, nothing, nothing, nothing), ""))


@pytest.fixture
def own(tmp_path):
    """Writes files of a person's own; gives the folder."""

    def write(**files):
        (tmp_path / "en").mkdir()
        for name, text in files.items():
            (tmp_path / "en" / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


def sentence(text, more=""):
    return FILE.replace("{sentence}", text).replace("{more}", more)


def test_a_sentence_of_ones_own_is_caught_beside_the_shipped_ones_and_may_use_their_rules(own, tools):
    english = load_sentences(
        own(mine=sentence("[<please>] how late is it [in {place:zone}]")), tools
    ).grammars["en"]
    assert english.recognise("please how late is it in Tokyo?") == Command("clock", {"zone": "Tokyo"})
    assert english.recognise("What time is it?") == Command("clock", {})


def test_a_sentence_of_ones_own_goes_before_a_shipped_one(own, tools):
    file = sentence("status", "        slots: {zone: UTC}\n")
    english = load_sentences(own(mine=file), tools).grammars["en"]
    assert english.recognise("Status?") == Command("clock", {"zone": "UTC"})
    assert english.recognise("system status") == Command("system_status", {})


def test_a_list_of_ones_own_says_what_its_values_mean(own, tools):
    lists = 'lists:\n  house:\n    values: [{in: "(grandmother|nana)", out: Asia/Tokyo}]\n'
    english = load_sentences(own(mine=sentence("time at {house:zone}", lists)), tools).grammars["en"]
    assert english.recognise("Time at Nana!") == Command("clock", {"zone": "Asia/Tokyo"})


def test_a_slot_holds_the_text_as_it_was_said(own, tools):
    english = load_sentences(own(mine=sentence("clock {text:zone}")), tools).grammars["en"]
    said = "Clock  Anna\u2019s house, No. 5 - the blue one."
    assert english.recognise(said) == Command("clock", {"zone": "Anna's house, No. 5 - the blue one"})


@pytest.mark.parametrize(
    "text", ["", " ", "status quo", "what time is it in the story", "status" + " please" * 99]
)
def test_what_is_no_sentence_as_a_whole_is_not_caught(tools, tmp_path, text):
    assert load_sentences(tmp_path, tools).grammars["en"].recognise(text) is None


@pytest.mark.parametrize(
    ("file", "line", "column", "problem"),
    [
        (sentence("time [now"), 5, 21, "is no sentence template"),
        (sentence("time in {palce:zone}"), 5, 21, "unknown list 'palce' (did you mean 'place'?"),
        (sentence("time in {place:zoen}"), 5, 21, "no argument 'zoen' (did you mean 'zone'?"),
        (sentence("<pleas> time"), 5, 21, "unknown rule 'pleas' (did you mean 'please'?"),
        (sentence("[now] {text:zone}"), 5, 21, "any text would match it"),
        (sentence("time", "        slots: {zoen: UTC}\n"), 6, 17, "no argument 'zoen'"),
        (sentence("<a> time", "expansion_rules: {a: <b>, b: <a>}\n"), 6, 19, "stands within itself"),
        (sentence("time", "lists: {text: {values: [x]}}\n"), 6, 9, "is a kind of slot already"),
        (sentence("time").replace("clock", "clok"), 3, 3, "unknown tool 'clok' (did you mean 'clock'?"),
        (sentence("time").replace(": en", ": de"), 1, 1, "the folder is 'en'"),
        (sentence("time", "extra: 1\n"), 6, 1, "extra"),
    ],
)  # fmt: skip
def test_a_slip_in_a_file_is_told_with_its_place_and_leaves_the_others_alone(
    own, tools, file, line, column, problem
):
    loaded = load_sentences(own(bad=file, good=sentence("how late is it")), tools)
    (error,) = loaded.broken
    assert problem in str(error)
    assert (error.line, error.column) == (line, column), str(error)
    assert error.file.endswith("bad.yaml")
    assert loaded.grammars["en"].recognise("how late is it") == Command("clock", {})


def test_a_shipped_file_that_names_a_tool_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigFileError, match=r"add_note\.yaml:3:3: .*unknown tool"):
        load_sentences(tmp_path, ToolRegistry([]))


def test_there_is_a_file_for_every_tool_that_it_names():
    for file in SHIPPED.glob("*/[a-z]*.yaml"):
        assert f"\n  {file.stem}:" in file.read_text()


async def test_the_agent_answers_a_sentence_of_ones_own_and_its_health_names_a_broken_file(tmp_path):
    folder = tmp_path / "sentences" / "en"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(sentence("how late is it"))
    (folder / "torn.yaml").write_text(sentence("time [now"))
    async with running_agent(PipecatappSettings(home=tmp_path, workflows_dir=WORKFLOWS)) as agent:
        answer = await agent.ask("How late is it?")
        health = (await agent.client.get("/health")).json()
        assert (await agent.logged("broken_sentences"))["problem"].startswith(str(folder / "torn.yaml"))
    assert answer.json()["hearth"]["tools"] == ["clock"]
    assert health["broken_sentences"] == [str(folder / "torn.yaml")]
