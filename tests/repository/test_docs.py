"""What the documents say is true."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterkit.config.catalogue import load_catalogue
from clusterkit.config.settings import describe_settings
from docs.figures import page_with_figures
from docs.generate import SETTINGS, pages
from pipecatapp.__main__ import Memory, all_tools
from pipecatapp.nodes.registry import NodeRegistry
from tests.repository.rules import files_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "API_USAGE.md", "CHANGELOG.md"),
    *("docs/cluster.md", "docs/consul-connect.md", "docs/experts.md"),
]
#: Files that exist on a person's machine, not in the repository.
STATE = {"hearth.toml", "host_vars/attic.yaml", "group_vars/controllers.yaml", "group_vars/workers.yaml"}
#: Files that every role has, named without the role.
IN_A_ROLE = {"defaults/main.yaml", "meta/argument_specs.yaml"}


def named_files(text: str) -> set[str]:
    """Everything in backticks that is written like a file or folder of the repository."""
    spans = re.findall(r"`([^`\s]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    written = {span for span in spans if re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]*)*", span)}
    return (
        {span for span in written if span.endswith((".py", ".yaml", ".toml", ".md", ".sh", "/"))}
        - STATE
        - IN_A_ROLE
    )


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


SYMBOL = re.compile(r"[A-Z][a-z0-9]+[A-Z]\w*|[A-Za-z]\w*_\w+")
#: Where names are defined; tests and pages name what others define.
DEFINING = (
    *("clusterkit", "llama_expert", "moe_gateway", "pipecatapp", "hearth"),
    *("ansible", "group_vars", "host_vars", "workflows", "Makefile", "bootstrap.sh", "pyproject.toml"),
)


@cache
def defined_names() -> set[str]:
    """Every word that the repository ships, and every variable of its settings, with and without prefix."""
    files = [
        path for path in files_of(ROOT) if path.parts[0] in DEFINING and path.suffix not in (".sum", ".md")
    ]
    words = {word for path in files for word in re.findall(r"\w+", (ROOT / path).read_text(errors="replace"))}
    variables = {row[0] for kind in SETTINGS for row in describe_settings(kind)}
    return words | variables | {name.upper() for kind in SETTINGS for name in kind.model_fields}


def unknown_symbols(text: str) -> list[str]:
    """What stands in backticks like a class, a function or a setting, and is defined nowhere."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    symbols = {match[0] for span in spans if (match := SYMBOL.fullmatch(span.removesuffix("()")))}
    called = {span.removesuffix("()") for span in spans if re.fullmatch(r"[a-z]\w+\(\)", span)}
    return sorted((symbols | called) - defined_names())


@pytest.mark.req("DOC-04")
@pytest.mark.parametrize("page", sorted({*PAGES} - {"CHANGELOG.md"}))
def test_every_symbol_that_a_page_names_is_defined(page: str) -> None:
    assert unknown_symbols((ROOT / page).read_text()) == []


@pytest.mark.req("DOC-04")
def test_a_symbol_that_is_gone_is_found() -> None:
    real = "`WorkflowRunner`, `nomad_job`, `PIPECATAPP_PORT`, `load_settings()` and `some prose`"
    assert unknown_symbols(real) == []
    gone = "`WorkflowWalker`, `nomad_jobber`, `PIPECATAPP_PROT`, `loadsettings()`"
    assert unknown_symbols(gone) == ["PIPECATAPP_PROT", "WorkflowWalker", "loadsettings", "nomad_jobber"]


def symbols_of_files(text: str) -> list[tuple[str, str]]:
    """What a page says stands in a file: "`SYMBOL` of `FILE`" or "`SYMBOL` in `FILE`"."""
    return re.findall(r"`(\w+)`\s+(?:of|in)\s+`([\w/.-]+\.\w+)`", text)


@pytest.mark.req("DOC-04")
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_stands_in_a_file_stands_there(page: str) -> None:
    pairs = symbols_of_files((ROOT / page).read_text())
    gone = [(symbol, file) for symbol, file in pairs if not _stands_in(symbol, file)]
    assert gone == []


def _stands_in(symbol: str, file: str) -> bool:
    places = [ROOT / file, *ROOT.glob(f"*/{file}")]
    return any(re.search(rf"\b{symbol}\b", path.read_text()) for path in places if path.is_file())


@pytest.mark.req("DOC-04")
def test_the_architecture_names_every_package() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "docs"}
    assert {package for package in packages if f"`{package}/`" not in text} == set()


@pytest.mark.req("DOC-04")
@pytest.mark.parametrize("page", PAGES)
def test_every_link_between_pages_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text())
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_inside_a_page_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    heads = {
        re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) - heads == set()


def playbook_calls(text: str) -> list[tuple[str, set[str]]]:
    """Every `ansible-playbook` line: the playbook, and the variables it is given."""
    lines = re.findall(r"ansible-playbook (\S+\.yaml)([^`\n]*)", text)
    return [(playbook, set(re.findall(r"-e (\w+)=", rest))) for playbook, rest in lines]


def reads(root: Path, playbook: str) -> str:
    """What a playbook can read a variable in: itself, its tasks, the roles and the site's variables."""
    files = [root / playbook, *(root / "ansible").rglob("*.yaml"), *(root / "group_vars").rglob("*.yaml")]
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize("page", PAGES)
def test_every_playbook_that_a_page_calls_exists_and_knows_the_variables(page: str) -> None:
    for playbook, variables in playbook_calls((ROOT / page).read_text()):
        assert (ROOT / playbook).exists(), playbook
        known = reads(ROOT, playbook)
        assert [name for name in variables if not re.search(rf"\b{name}\b", known)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named - targets == set()


@pytest.mark.req("PRV-17")
def test_the_guide_tells_the_order_in_which_variables_win() -> None:
    text = (ROOT / "docs/cluster.md").read_text().split("## Variables")[1].split("\n## ")[0]
    order = ("defaults/main.yaml", "group_vars/all/", "group_vars/controllers", "host_vars/", "--extra-vars")
    places = [text.index(one) for one in order]
    assert places == sorted(places)


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
        for tool in all_tools(nothing, nothing, Memory(nothing, nothing, nothing, nothing), "")
        for name, field in tool.Arguments.model_json_schema().get("properties", {}).items()
        if not field.get("description")
    ]
    assert [*nodes, *settings, *tools] == []


#: Written once for all tests: it reads the whole repository.
GENERATED = pages()


@pytest.mark.parametrize("page", sorted(GENERATED))
def test_the_generated_page_is_current(page: str) -> None:
    assert (ROOT / page).read_text() == GENERATED[page], "run: make docs"


@pytest.mark.req("DOC-17")
def test_measured_figures_stand_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = "Costs:\n<!-- figures: from docs/a.json -->\nold\n<!-- end of figures -->\nEnd.\n"
    (tmp_path / "docs/a.md").write_text(page)
    assert "Not measured yet." in page_with_figures(tmp_path, "docs/a.md")
    (tmp_path / "docs/a.json").write_text(
        '[{"way": "direct", "p99_ms": 1.25}, {"way": "sidecar", "p99_ms": 2}]'
    )
    told = page_with_figures(tmp_path, "docs/a.md")
    assert "| way | p99 ms |\n|---|---|\n| direct | 1.25 |\n| sidecar | 2 |\n<!-- end" in told
    assert told.startswith("Costs:\n")
    assert told.endswith("End.\n")


@pytest.mark.req("DOC-17", "PRV-35")
def test_the_notes_on_connect_have_the_steps_by_the_names_of_the_site() -> None:
    steps = (ROOT / "docs/consul-connect.md").read_text().split("## Steps")[1].split("\n## ")[0]
    numbered = re.findall(r"^(\d)[.] ", steps, re.MULTILINE)
    assert numbered == [str(number) for number in range(1, len(numbered) + 1)]
    assert len(numbered) >= 3
    set_there = re.findall(r"`(envoy_\w+|\w*connect\w*)(?:: \w+)?`", steps)
    site = yaml.safe_load((ROOT / "group_vars/all/main.yaml").read_text())
    assert {"envoy_version", "envoy_file", "envoy_file_sha256", "consul_connect_enabled"} <= set(set_there)
    assert [name for name in set_there if name not in site and name != "connect"] == []
    assert "`consul_connect_enabled: true`" in steps
    assert "`.venv/bin/ansible-playbook playbook.yaml`" in steps


@pytest.mark.req("DOC-17", "PRV-35")
def test_the_notes_on_connect_tell_what_the_way_through_sidecars_costs_beside_the_direct_one() -> None:
    page = "docs/consul-connect.md"
    assert (ROOT / page).read_text() == page_with_figures(ROOT, page), "run: make docs"
    costs = (ROOT / page).read_text().split("## What it costs")[1]
    head, *figures = (line.strip("| ").split(" | ") for line in costs.splitlines() if line.startswith("| "))
    assert {"p50 ms", "p99 ms", "requests per s"} <= set(head)
    rows = [dict(zip(head, row, strict=True)) for row in figures]
    measured = {(row["connections"], row["way"]) for row in rows}
    assert measured == {(row["connections"], way) for row in rows for way in ("direct", "sidecars")}
    assert measured


@pytest.mark.req("PRV-30")
@pytest.mark.parametrize("expert", ["summarization", "translation"])
def test_the_expert_has_models_a_command_that_deploys_it_and_a_request_to_copy(expert: str) -> None:
    text = (ROOT / "docs/experts.md").read_text()
    examples = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert load_catalogue(ROOT / "group_vars/all/models.yaml").experts[expert].models
    assert ("ansible/playbooks/deploy_expert.yaml", {"expert"}) in playbook_calls(text)
    assert f"ansible/playbooks/deploy_expert.yaml -e expert={expert}\n" in text
    (request,) = (one for one in examples if f'"model": "{expert}"' in one)
    assert request.startswith("curl --silent http://127.0.0.1:8080/v1/chat/completions ")
