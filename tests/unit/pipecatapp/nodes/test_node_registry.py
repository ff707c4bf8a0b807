from typing import Any

import pytest

from clusterkit.errors import ConfigFileError
from pipecatapp.nodes.registry import BUILT_IN, NodeRegistry
from pipecatapp.nodes.switch import SwitchNode
from pipecatapp.workflow.load import load_workflow

SHOUT = '''
from pydantic import Field
from pipecatapp.nodes.base import Node, NodeConfig

class Config(NodeConfig):
    text: str = Field(description="What to shout.")

class ShoutNode(Node):
    """Says it louder."""
    type = "shout"
    Config = Config
    outputs = {"text": "text"}

    async def run(self, config, context):
        return {"text": config.text.upper() + "!"}
'''
USE = "schema: 1\nname: demo\noutputs: {said: '${{ a.text }}'}\nnodes:\n  a: {type: shout, text: hey}\n"


@pytest.mark.req("WFE-03")
async def test_a_node_type_from_the_plugin_folder_is_usable_and_described(tmp_path):
    (tmp_path / "shout.py").write_text(SHOUT)
    registry = NodeRegistry()
    with pytest.raises(ConfigFileError, match="unknown node type 'shout'"):
        load_workflow(USE, "demo.yaml", registry.specs)
    assert registry.load_plugins(tmp_path) == ["shout"]
    node = load_workflow(USE, "demo.yaml", registry.specs).scope.nodes["a"]
    config = node.spec.config.model_validate(dict(node.config))
    nothing: Any = None
    assert await registry.get("shout").run(config, nothing) == {"text": "HEY!"}
    described = {info.type: info for info in registry.node_types()}["shout"]
    assert (described.doc, described.inputs, described.outputs) == (
        "Says it louder.", {"text": "text"}, {"text": "text"}
    )  # fmt: skip
    assert described.config["properties"]["text"]["description"] == "What to shout."
    assert described.origin == str(tmp_path / "shout.py")
    assert "shout" in registry.file_schema_text()


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
        ("import not_there_at_all", "ModuleNotFoundError"),
        ("x = 1", "ValueError: it defines no Node class"),
        (SHOUT.replace('"shout"', '"switch"'), "ValueError: switch exists already"),
        (SHOUT.replace('"text": "text"', '"text": "txet"'), "ValueError: unknown type 'txet'"),
    ],
)
def test_a_broken_plugin_is_reported_by_name_and_the_others_still_work(tmp_path, source, problem):
    (tmp_path / "bad.py").write_text(source)
    (tmp_path / "good.py").write_text(SHOUT)
    registry = NodeRegistry()
    assert registry.load_plugins(tmp_path) == ["shout"]
    (broken,) = registry.broken
    assert broken.file == str(tmp_path / "bad.py")
    assert broken.problem.startswith(problem)


def test_a_plugin_folder_that_is_not_there_holds_nothing(tmp_path):
    assert NodeRegistry().load_plugins(tmp_path / "none") == []


def test_every_built_in_type_is_described_with_its_ports():
    described = {info.type: info for info in NodeRegistry().node_types()}
    assert set(described) == {"foreach", "intent", "llm", "loop", "output", "switch", "tool"}
    assert all(info.doc and info.origin == "hearth" for info in described.values())
    assert described["llm"].inputs["messages"] == "list[message]"
    assert described["llm"].outputs["text"] == "stream[text]"
    assert described["loop"].block


def test_two_types_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two node types are called 'switch'"):
        NodeRegistry((*BUILT_IN, SwitchNode))
