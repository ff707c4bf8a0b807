"""Catalogues for tests, from models as a person would list them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Entry = Mapping[str, Any]  #: a model: name, url or sources, and the facts of `models.yaml`

_SHIPPED = Path(__file__).parents[1] / "group_vars/all/models.yaml"
_BUILT_IN = "smollm2-135m-instruct"


def catalogue_of(
    lists: Mapping[str, Sequence[Entry]], *, fallback_max_memory_mb: int = 512
) -> dict[str, Any]:
    """The data of a `models.yaml` in which the experts have these models."""
    return {
        "fallback_max_memory_mb": fallback_max_memory_mb,
        "models": {entry["name"]: _facts(entry) for entries in lists.values() for entry in entries},
        "expert_models": {expert: [entry["name"] for entry in entries] for expert, entries in lists.items()},
    }


def built_in_model() -> dict[str, Any]:
    """The last model of every shipped list."""
    return {"name": _BUILT_IN, **yaml.safe_load(_SHIPPED.read_text())["models"][_BUILT_IN]}


def _facts(entry: Entry) -> dict[str, Any]:
    scheme, _, package = str(entry.get("url")).partition(":")
    source = {"package": package} if scheme == "package" else {"url": entry.get("url")}
    facts = {
        "licence": "Apache-2.0",
        "sources": [source],
        **{key: value for key, value in entry.items() if key not in {"name", "url"}},
    }
    return facts if "sha256" in facts else {**facts, "unverified": True}
