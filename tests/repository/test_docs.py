"""What the documents say is true."""

import re
from pathlib import Path
from typing import Any

import pytest

from clusterkit.settings import describe_settings
from docs.generate import SETTINGS, pages
from pipecatapp.__main__ import all_tools
from pipecatapp.nodes.registry import NodeRegistry

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "API_USAGE.md", "CHANGELOG.md"]
STATE = {"hearth.toml"}  #: files that exist on a person's machine, not in the repository


def named_files(text: str) -> set[str]:
    """Everything in backticks that is written like a file or folder of the repository."""
    spans = re.findall(r"`([^`\s]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    written = {span for span in spans if re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]*)*", span)}
    return {span for span in written if span.endswith((".py", ".yaml", ".toml", ".md", ".sh", "/"))} - STATE


def broken_names(text: str) -> list[str]:
    return sorted(
        name for name in named_files(text) if not (ROOT / name).exists() and not list(ROOT.glob(f"*/{name}"))
    )


@pytest.mark.req("DOC-04")
@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    assert broken_names((ROOT / page).read_text()) == []


@pytest.mark.req("DOC-04")
def test_a_name_that_is_gone_is_found() -> None:
    assert broken_names("see `clusterkit/gone.py` and `llama_expert/`") == ["clusterkit/gone.py"]


@pytest.mark.req("DOC-04")
def test_the_architecture_names_every_package() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "docs"}
    assert {package for package in packages if f"`{package}/`" not in text} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_between_pages_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_everything_that_can_be_set_is_described() -> None:
    nodes = [
        f"node {info.type}.{name}"
        for info in NodeRegistry().node_types()
        for name, field in info.config.get("properties", {}).items()
        if not field.get("description")
    ]
    settings = [row[0] for kind in SETTINGS for row in describe_settings(kind) if not row[3]]
    nothing: Any = None
    tools = [
        f"tool {tool.name}.{name}"
        for tool in all_tools(nothing, nothing)
        for name, field in tool.Arguments.model_json_schema().get("properties", {}).items()
        if not field.get("description")
    ]
    assert [*nodes, *settings, *tools] == []


@pytest.mark.parametrize("page", sorted(pages()))
def test_the_generated_page_is_current(page: str) -> None:
    assert (ROOT / page).read_text() == pages()[page], "run: make docs"
