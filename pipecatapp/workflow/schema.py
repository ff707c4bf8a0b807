"""The JSON schema of workflow files, for editors; made from the models and the known node types."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pipecatapp.workflow.model import IDENTIFIER, CommonKeys, WorkflowFile
from pipecatapp.workflow.spec import NodeSpec

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

#: Any value of a node may be given by an expression.
_EXPRESSION = {"type": "string", "pattern": r"\$\{\{"}


def file_schema(specs: Mapping[str, NodeSpec]) -> dict[str, Any]:
    """The schema of format version 1 with exactly these node types."""
    definitions: dict[str, Any] = {}
    schema = _taken_apart(WorkflowFile, "file", definitions)
    common = _taken_apart(CommonKeys, "common", definitions)
    definitions["nodes"] = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": IDENTIFIER},
        "additionalProperties": {"$ref": "#/$defs/node"},
    }
    definitions["node"] = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": sorted(specs)}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": type_}}},
                "then": _node_schema(specs[type_], common["properties"], definitions),
            }
            for type_ in sorted(specs)
        ],
    }
    schema["properties"]["nodes"] = {"$ref": "#/$defs/nodes"}
    return {"$schema": _DRAFT, "title": "Hearth workflow, format 1", **schema, "$defs": definitions}


def _node_schema(spec: NodeSpec, common: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    own = _taken_apart(spec.config, spec.type, definitions)
    properties = {
        key: value if key in spec.static else _or_expression(value)
        for key, value in own.get("properties", {}).items()
    }
    required = ["type", *own.get("required", ())]
    if spec.block is not None:
        properties["do"] = {"$ref": "#/$defs/nodes"}
        required.append("do")
    return {
        "description": spec.doc,
        "properties": {**common, **properties, "type": {"const": spec.type}},
        "required": required,
        "additionalProperties": False,
    }


def _or_expression(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of something that may be, or hold, expressions in place of values."""
    loose = dict(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(loose.get(key), Mapping):
            loose[key] = _or_expression(loose[key])
    return {"anyOf": [loose, _EXPRESSION]}


def _taken_apart(model: type[BaseModel], prefix: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """A model's schema; its parts go into `definitions` under names of their own."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    for name, part in schema.pop("$defs", {}).items():
        definitions[f"{prefix}.{name}"] = part
    schema.pop("title", None)
    return schema
