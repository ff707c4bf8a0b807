"""Writes the reference pages from the code; `make docs` runs it, a test checks that it was run."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click
from fastapi import FastAPI

from clusterkit.clock import SystemClock
from clusterkit.config.catalogue import catalogue_json_schema
from clusterkit.config.settings import describe_settings
from clusterkit.telemetry.actions import ActionOutcome
from clusterkit.telemetry.metrics import Metrics
from docs.ansible_reference import playbooks_page, roles_page, site_variables_page
from docs.figures import page_with_figures
from docs.tables import NOTE, table
from hearth.commands.app import app as hearth_app
from hearth.settings import HearthSettings
from llama_expert.app import expert_app
from llama_expert.settings import LlamaExpertSettings
from moe_gateway.control_plane import make_control_plane
from moe_gateway.settings import GatewaySettings
from pipecatapp.__main__ import Memory, all_tools
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.settings import PipecatappSettings
from pipecatapp.web.app import make_app
from pipecatapp.web.chat import chat_routes
from pipecatapp.web.feeds import feed_routes
from pipecatapp.web.messages import message_routes
from tests.mutants.proof import Proof, proofs
from tests.repository.marks import requirements

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = (HearthSettings, GatewaySettings, PipecatappSettings, LlamaExpertSettings)


def pages() -> dict[str, str]:
    """Path below the repository's root → text, for every generated page."""
    by_path: dict[str, Callable[[], str]] = {
        "docs/reference/requirements.md": requirements_page,
        "docs/reference/settings.md": settings_page,
        "docs/reference/cli.md": cli_page,
        "docs/reference/http.md": http_page,
        "docs/reference/nodes.md": nodes_page,
        "docs/reference/tools.md": tools_page,
        "docs/reference/events.md": events_page,
        "docs/reference/roles.md": lambda: roles_page(ROOT),
        "docs/reference/playbooks.md": lambda: playbooks_page(ROOT),
        "docs/reference/site_variables.md": lambda: site_variables_page(ROOT),
        "docs/cluster.md": lambda: page_with_figures(ROOT, "docs/cluster.md"),
        "docs/consul-connect.md": lambda: page_with_figures(ROOT, "docs/consul-connect.md"),
        "docs/reference/models.schema.json": lambda: _json(catalogue_json_schema()),
        "docs/reference/workflow.v1.schema.json": NodeRegistry().file_schema_text,
    }
    return {path: make() for path, make in by_path.items()}


def requirements_page() -> str:
    """Every requirement, how far it is proved, and the tests that prove it."""
    proof, rows = proofs(ROOT), requirements(ROOT)
    counts = Counter(one.status for one in proof.values())
    parts = [
        NOTE,
        "# Requirements\n",
        f"Of {len(rows)} rows, {counts['proved']} are proved, {counts['partly']} partly, and "
        f"{counts['open']} are open. A row is *proved* when every clause of its sentence was made false on "
        "purpose (`tests/mutants/`) and a test that carries the row's marker saw it, *partly proved* when it "
        "has such tests and clauses are left, which are named.\n",
    ]
    for area in dict.fromkeys(row["area"] for row in rows):
        parts.append(f"## {area}\n")
        cells = [
            (row["id"], row["feature"], row["works_when"], _proof(proof[row["id"]]))
            for row in rows
            if row["area"] == area
        ]
        parts.append(table(("id", "feature", "works when", "proved by"), cells))
    return "\n".join(parts)


def _proof(proof: Proof) -> str:
    left = ", ".join(f"“{clause}”" for clause in proof.missing)
    status = {"open": "open", "partly": f"partly proved; left: {left}", "proved": "**proved**"}[proof.status]
    return "<br>".join([status, *(f"`{test}`" for test in proof.tests)])


def settings_page() -> str:
    """Every environment variable."""
    parts = [
        NOTE,
        "# Settings\n",
        "Each service reads environment variables that start with its own name. `<PREFIX>ENV_FILE` names a "
        "file of such variables; a variable that is set wins over the file. For a cluster, "
        "`group_vars/all/main.yaml` holds what all hosts share, and `host_vars/<host>.yaml` what is "
        "different on one host.\n",
    ]
    for kind in SETTINGS:
        parts.append(f"## {str(kind.model_config.get('env_prefix')).rstrip('_').lower()}\n")
        cells = [
            (f"`{variable}`", wanted, f"`{default}`", description)
            for variable, wanted, default, description in describe_settings(kind)
        ]
        parts.append(table(("variable", "type", "default", "meaning"), cells))
    return "\n".join(parts)


def cli_page() -> str:
    """Every command with its options."""
    parts = [NOTE, "# The `hearth` command\n"]
    parts += [_command_text(name, command) for name, command in _commands(hearth_app, "hearth")]
    parts.append(
        "Exit status: 0 all is well, 1 something is not as it should be, 2 the command line is wrong, "
        "3 Hearth is not running.\n"
    )
    return "\n".join(parts)


def _commands(group: click.Group, prefix: str) -> Iterable[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _command_text(name: str, command: click.Command) -> str:
    cells = [
        (f"`{_spelled(one)}`", getattr(one, "help", None) or "see above")
        for one in command.params
        if one.name != "help"
    ]
    arguments = table(("argument", "meaning"), cells) if cells else "No arguments.\n"
    return f"## {name}\n\n{cleandoc(command.help or '')}\n\n{arguments}"


def _spelled(parameter: click.Parameter) -> str:
    is_option = bool(parameter.opts) and parameter.opts[0].startswith("-")
    return ", ".join(parameter.opts) if is_option else (parameter.name or "").upper()


def http_page() -> str:
    """Every endpoint of every service."""
    parts = [
        NOTE,
        "# HTTP endpoints\n",
        'Errors have OpenAI\'s shape everywhere: `{"error": {"message", "type", "param", "code"}}`.\n',
    ]
    for name, app, proxied in _apps():
        parts.append(f"## {name}\n")
        cells = list(proxied)
        for path, operations in app.openapi()["paths"].items():
            for method, operation in operations.items():
                summary = " ".join(str(operation.get("description", "")).split())
                cells.append((f"`{method.upper()} {path}`", summary))
        parts.append(table(("endpoint", "what it does"), cells))
    return "\n".join(parts)


def _apps() -> Iterable[tuple[str, FastAPI, list[tuple[str, str]]]]:
    # Only the routes are looked at, so what they would work on is left out.
    nothing: Any = None
    metrics = Metrics
    chat = ("`POST /v1/chat/completions`", "Passed to the expert or agent named by `model`, byte for byte.")
    yield "moe_gateway", make_control_plane(nothing, metrics(), created=0), [chat]
    routers = [
        chat_routes(nothing, "hearth", SystemClock()),
        message_routes(nothing, nothing),
        feed_routes(nothing, nothing),
    ]
    yield "pipecatapp", make_app("pipecatapp", health=nothing, metrics=metrics(), routers=routers), []
    through = ("`POST /experts/{name}/v1/…`", "Passed to the model server of that expert (bearer token).")
    yield "llama_expert", expert_app(nothing, metrics()), [through]


def nodes_page() -> str:
    """Every node type of a workflow."""
    parts = [NOTE, "# Node types\n"]
    for info in NodeRegistry().node_types():
        parts.append(f"## {info.type}\n\n{info.doc}\n")
        parts.append(f"Outputs: {_ports(info.outputs)}.\n")
        cells = [
            (
                f"`{name}`",
                "yes" if name in info.config.get("required", ()) else "",
                field.get("description", ""),
            )
            for name, field in info.config.get("properties", {}).items()
        ]
        parts.append(table(("key", "required", "meaning"), cells))
    return "\n".join(parts)


def _ports(ports: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` ({kind})" for name, kind in ports.items()) or "none"


def tools_page() -> str:
    """Every tool of the agent."""
    nothing: Any = None
    parts = [NOTE, "# Tools\n"]
    for tool in all_tools(nothing, nothing, Memory(nothing, nothing, nothing, nothing), ""):
        aliases = ", ".join(f"`{alias}`" for alias in tool.aliases)
        parts.append(f"## {tool.name}\n\n{tool.description}\n")
        parts.append(f"Risk: {tool.risk.value}.{f' Alias: {aliases}.' if aliases else ''}\n")
        properties = tool.Arguments.model_json_schema().get("properties", {})
        cells = [(f"`{name}`", field.get("description", "")) for name, field in properties.items()]
        parts.append(table(("argument", "meaning"), cells) if cells else "No arguments.\n")
    return "\n".join(parts)


def events_page() -> str:
    """The fields of an event."""
    schema = ActionOutcome.model_json_schema()
    parts = [
        NOTE,
        "# Events\n",
        "Two rows an action: the intent before it, the outcome after it. Read them with "
        "`GET /api/events?after=<cursor>`; the answer's `next` is the cursor for what follows.\n",
    ]
    for name, part in {"event": schema, **schema["$defs"]}.items():
        doc = " ".join(str(part.get("description", "")).split())
        if "enum" in part:
            parts.append(f"## {name}\n\n{doc} One of: {', '.join(f'`{value}`' for value in part['enum'])}.\n")
            continue
        cells = [
            (f"`{field}`", _kind(kind), "yes" if field in part.get("required", ()) else "")
            for field, kind in part["properties"].items()
        ]
        parts.append(f"## {name}\n\n{doc}\n")
        parts.append(table(("field", "type", "required"), cells))
    return "\n".join(parts)


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    return str(schema.get("format") or schema.get("type") or "any")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def main() -> None:
    """Write every page."""
    for path, text in pages().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
