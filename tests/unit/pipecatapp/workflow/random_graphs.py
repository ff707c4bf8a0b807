"""Workflow files at random: blocks in blocks, branches, joins, retries, all ways to live with a failure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st


def _read(ids: list[str], types: Mapping[str, str]) -> st.SearchStrategy[str]:
    ports = [f"{id_}.{'case' if types[id_] == 'switch' else 'value'}" for id_ in ids]
    return st.sampled_from([f"${{{{ {port} }}}}" for port in ports])


@st.composite
def _common(draw: Any, before: list[str], later: list[str], seen: list[str], types: Any) -> dict[str, Any]:
    keys: dict[str, Any] = {"join": draw(st.sampled_from(["all", "all", "any", "done"]))}
    if before and draw(st.booleans()):
        keys["needs"] = draw(st.lists(st.sampled_from(before), max_size=2, unique=True))
    if draw(st.integers(0, 3)) == 0:
        read = draw(_read(seen, types))[4:-3] if seen else "1"
        keys["when"] = draw(st.sampled_from(["${{ inputs.n > 1 }}", f"${{{{ {read} != 2 }}}}"]))
    if draw(st.integers(0, 2)) == 0:
        keys["retry"] = {"max_attempts": draw(st.integers(2, 3)), "backoff": "1s"}
    if draw(st.integers(0, 4)) == 0:
        keys["timeout"] = "5s"
    keys["on_error"] = draw(st.sampled_from(["fail", "continue", *later]))
    return keys


@st.composite
def _nodes(draw: Any, depth: int, outer: list[str], types: dict[str, str], ids: Iterator[str]) -> Any:
    mine = [next(ids) for _ in range(draw(st.integers(1, 4)))]
    kinds = ["work", "work", "work", "switch", *(["loop", "foreach"] if depth < 2 else [])]
    types |= {id_: draw(st.sampled_from(kinds)) for id_ in mine}
    nodes: dict[str, Any] = {}
    for index, id_ in enumerate(mine):
        before, later = mine[:index], mine[index + 1 :]
        seen, kind = [*outer, *before], types[id_]
        keys = {"type": kind, **draw(_common(before, later, seen, types))}
        value = draw(_read(seen, types)) if seen and draw(st.booleans()) else "${{ inputs.n }}"
        if draw(st.integers(0, 3)) == 0:
            keys["fallback"] = {"case" if kind == "switch" else "value": "${{ error.code }}"}
        if kind == "work":
            keys["value"] = value
        elif kind == "switch":
            chosen = st.lists(st.sampled_from(later), max_size=2, unique=True) if later else st.just([])
            keys |= {"on": value, "cases": {"0": draw(chosen), "1": draw(chosen)}, "default": draw(chosen)}
        else:
            keys["do"] = draw(_nodes(depth + 1, seen, types, ids))
            last = draw(_read(list(keys["do"]), types))
            keys["outputs"] = {"value": last}
            if kind == "loop":
                stop = draw(st.sampled_from(["${{ index == 1 }}", f"${{{{ {last[4:-3]} == 1 }}}}"]))
                keys |= {"max_iterations": 3, "until": stop}
            else:
                items = draw(st.lists(st.integers(0, 3), max_size=4))
                keys |= {"items": items, "max_parallel": draw(st.integers(1, 3))}
        nodes[id_] = keys
    return nodes


@st.composite
def workflow_texts(draw: Any) -> str:
    """A workflow file with the input `n`, in JSON, which is YAML too."""
    nodes = draw(_nodes(0, [], {}, (f"n{number}" for number in range(1_000))))
    inputs = {"n": {"type": "number"}}
    return json.dumps({"schema": 1, "name": "demo", "inputs": inputs, "nodes": nodes}, indent=1)
