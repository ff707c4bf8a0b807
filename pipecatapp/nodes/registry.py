"""The node types that are there: those of Hearth, and those of a plug-in folder."""

import importlib.util
import inspect
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipecatapp.nodes.base import Block, Node, NodeType
from pipecatapp.nodes.foreach import ForeachNode
from pipecatapp.nodes.intent import IntentNode
from pipecatapp.nodes.llm import LlmNode
from pipecatapp.nodes.loop import LoopNode
from pipecatapp.nodes.output import OutputNode
from pipecatapp.nodes.switch import SwitchNode
from pipecatapp.nodes.tool import ToolNode
from pipecatapp.workflow.schema import file_schema
from pipecatapp.workflow.spec import NodeSpec

BUILT_IN: tuple[type[NodeType[Any]], ...] = (
    ForeachNode, IntentNode, LlmNode, LoopNode, OutputNode, SwitchNode, ToolNode,
)  # fmt: skip


@dataclass(frozen=True)
class BrokenPlugin:
    """A plug-in file that could not be used, and why."""

    file: str
    problem: str


@dataclass(frozen=True)
class NodeTypeInfo:
    """A node type for people and editors."""

    type: str
    doc: str
    inputs: Mapping[str, str]  #: port -> wire type
    outputs: Mapping[str, str]
    config: Mapping[str, Any]  #: JSON schema
    block: bool
    origin: str  #: `hearth`, or the plug-in's file


class NodeRegistry:
    """The node types of one program."""

    def __init__(self, classes: Iterable[type[NodeType[Any]]] = BUILT_IN) -> None:
        """Raises `ValueError` when two types share a name."""
        self._nodes: dict[str, Node[Any]] = {}
        self._specs: dict[str, NodeSpec] = {}
        self._origins: dict[str, str] = {}
        self.broken: tuple[BrokenPlugin, ...] = ()
        for node_class in classes:
            self._add(node_class, "hearth")

    @property
    def specs(self) -> Mapping[str, NodeSpec]:
        """The types as the loader takes them, by name."""
        return self._specs

    def get(self, type_: str) -> Node[Any]:
        """The node that carries out a type. Raises `KeyError`, for a block too: the engine does those."""
        return self._nodes[type_]

    def node_types(self) -> Sequence[NodeTypeInfo]:
        """Every type, described, in the order of their names."""
        return [self._describe(self._specs[name]) for name in sorted(self._specs)]

    def file_schema_text(self) -> str:
        """The JSON schema of workflow files with these types, as `docs/reference` holds it."""
        return json.dumps(file_schema(self._specs), indent=2, sort_keys=True) + "\n"

    def load_plugins(self, folder: Path) -> Sequence[str]:
        """Add the node types of every `.py` file in `folder`; returns their names.

        A broken file is listed in `broken`, and none of its types is used. A missing folder holds none.
        """
        added: list[str] = []
        for file in sorted(folder.glob("*.py")):
            try:
                classes = _node_classes(_import(file))
                clashes = [one.type for one in classes if one.type in self._specs]
                if clashes or not classes:
                    raise ValueError(
                        f"{', '.join(clashes)} exists already" if clashes else "it defines no Node class"
                    )
                for node_class in classes:
                    node_class.spec()
                for node_class in classes:
                    self._add(node_class, str(file))
                    added.append(node_class.type)
            except Exception as error:  # noqa: BLE001 - the edge to foreign code: anything can come out of it
                self.broken += (BrokenPlugin(str(file), f"{type(error).__name__}: {error}"),)
        return added

    def _add(self, node_class: type[NodeType[Any]], origin: str) -> None:
        if node_class.type in self._specs:
            raise ValueError(f"two node types are called {node_class.type!r}")
        self._specs[node_class.type] = node_class.spec()
        if issubclass(node_class, Node):
            self._nodes[node_class.type] = node_class()
        self._origins[node_class.type] = origin

    def _describe(self, spec: NodeSpec) -> NodeTypeInfo:
        return NodeTypeInfo(
            type=spec.type,
            doc=spec.doc,
            inputs=spec.inputs,
            outputs=spec.outputs,
            config=spec.config.model_json_schema(),
            block=spec.block is not None,
            origin=self._origins[spec.type],
        )


def _import(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"hearth_plugin_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _node_classes(module: ModuleType) -> list[type[NodeType[Any]]]:
    classes = [node_class for _, node_class in inspect.getmembers(module, inspect.isclass)]
    return [
        node_class
        for node_class in classes
        if issubclass(node_class, Node | Block)
        and node_class.__module__ == module.__name__
        and not inspect.isabstract(node_class)
    ]
