"""The workflow files of a folder."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from clusterkit.config.suggest import suggest
from clusterkit.config.yaml_file import read_yaml
from clusterkit.errors import HearthError
from pipecatapp.workflow.graph import Graph
from pipecatapp.workflow.load import load_document
from pipecatapp.workflow.model import IDENTIFIER
from pipecatapp.workflow.spec import NodeSpec


class UnknownWorkflowError(HearthError):
    """There is no workflow of that name."""

    code = "unknown_workflow"


class WorkflowLibrary:
    """Reads workflows by name. An edit counts from the next run on; an unchanged file is not read twice."""

    def __init__(self, folder: Path, specs: Mapping[str, NodeSpec]) -> None:
        """`specs`: the known node types."""
        self._folder, self._specs = folder, specs
        self._loaded: dict[str, tuple[tuple[int, int], Graph]] = {}

    def names(self) -> Sequence[str]:
        """The workflows that are there."""
        return sorted(file.stem for file in self._folder.glob("*.yaml"))

    def load(self, name: str) -> Graph:
        """One workflow, checked. Raises `UnknownWorkflowError` or `ConfigFileError`. Blocks on the disk."""
        file = self._folder / f"{name}.yaml"
        if not re.match(IDENTIFIER, name) or not file.is_file():
            raise UnknownWorkflowError(f"there is no workflow {name!r}{suggest(name, self.names())}")
        seen = file.stat()
        state = (seen.st_mtime_ns, seen.st_size)
        if self._loaded.get(name, (None,))[0] != state:
            self._loaded[name] = (state, self._read(name, file))
        return self._loaded[name][1]

    def _read(self, name: str, file: Path) -> Graph:
        document = read_yaml(file)
        graph = load_document(document, self._specs)
        if graph.name != name:
            raise document.error(("name",), f"the file is called {file.name!r}, so the name must be {name!r}")
        return graph
