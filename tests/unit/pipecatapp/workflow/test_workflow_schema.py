import json
from pathlib import Path

import jsonschema
import pytest

from clusterkit.config.yaml_file import read_yaml
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.workflow.schema import file_schema

ROOT = Path(__file__).parents[4]
FILE = ROOT / "docs/reference/workflow.v1.schema.json"
SHIPPED = sorted((ROOT / "workflows").glob("*.yaml"))


def test_the_schema_in_the_docs_is_current():
    assert FILE.read_text() == NodeRegistry().file_schema_text()


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_workflow_names_the_schema_and_satisfies_it(file):
    assert file.read_text().startswith(
        "# yaml-language-server: $schema=../docs/reference/workflow.v1.schema.json\n"
    )
    validator = jsonschema.Draft202012Validator(json.loads(FILE.read_text()))
    assert list(validator.iter_errors(read_yaml(file).data)) == []


@pytest.mark.parametrize(
    "node",
    [
        {"type": "outptu", "text": "x"},
        {"type": "output"},
        {"type": "output", "text": "x", "tetx": "y"},
        {"type": "loop", "until": True, "do": {"a": {"type": "output", "text": "x"}}},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(node):
    schema = file_schema(NodeRegistry().specs)
    data = {"schema": 1, "name": "demo", "nodes": {"a": node}}
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(data))
