"""The examples in the documents are run as they are written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.houses import House

ROOT = Path(__file__).resolve().parents[2]


def examples(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def here(text: str, house: House) -> str:
    """The example, aimed at this test's Hearth instead of the default ports."""
    return text.replace("http://127.0.0.1:8080", house.gateway).replace("http://127.0.0.1:8000", house.agent)


def run(program: list[str], example: str, house: House) -> str:
    done = subprocess.run(
        [*program, "-c", here(example, house)], capture_output=True, text=True, timeout=180, check=True
    )
    return done.stdout


@pytest.mark.req("DOC-05", "DOC-18")
@pytest.mark.parametrize("page", ["API_USAGE.md", "docs/experts.md"])
def test_every_example_is_of_a_kind_that_is_run(page: str) -> None:
    fenced = re.findall(
        r"^ *(?:```|~~~)(.*)\n((?:.*\n)*?) *(?:```|~~~)$", (ROOT / page).read_text(), re.MULTILINE
    )
    assert {language for language, _ in fenced} >= {"bash", "python"}
    # What starts a playbook needs a cluster; the tests of the pages read those lines.
    left_out = [text for language, text in fenced if language not in ("bash", "python")]
    lines = [line for text in left_out for line in text.splitlines()]
    assert [line for line in lines if not line.startswith(".venv/bin/ansible-playbook ")] == []


@pytest.mark.req("DOC-05")
@pytest.mark.parametrize("number", range(len(examples("API_USAGE.md", "bash"))))
def test_the_shell_example_works(running_house: House, number: int) -> None:
    example = examples("API_USAGE.md", "bash")[number]
    said = run(["bash", "-euo", "pipefail"], example, running_house)
    if "not JSON" in example:
        assert json.loads(said)["error"]["message"]
    elif "--include" in example:
        assert "x-request-id: 4bf92f3577b34da6a3ce929d0e0e4736" in said
    elif '"stream": true' in example:
        assert said.startswith("data: {")
        assert said.rstrip().endswith("data: [DONE]")
    elif "17 * 23" in example:
        assert json.loads(said)["choices"][0]["message"]["content"] == "391"
    else:
        assert "error" not in json.loads(said)


@pytest.mark.req("DOC-05")
def test_the_python_example_works(running_house: House) -> None:
    (example,) = examples("API_USAGE.md", "python")
    assert len(run([sys.executable], example, running_house).split()) >= 2


@pytest.mark.req("DOC-18")
@pytest.mark.parametrize("expert", ["summarization", "translation"])
def test_the_experts_example_is_answered_by_that_expert(running_house: House, expert: str) -> None:
    (example,) = (one for one in examples("docs/experts.md", "bash") if f'"model": "{expert}"' in one)
    answer = json.loads(run(["bash", "-euo", "pipefail"], example, running_house))
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] > 0


@pytest.mark.req("DOC-18")
def test_the_experts_python_example_works(running_house: House) -> None:
    (example,) = examples("docs/experts.md", "python")
    assert run([sys.executable], example, running_house).strip()


@pytest.mark.req("DOC-18")
def test_the_experts_that_the_page_names_are_the_experts_there_are(running_house: House) -> None:
    named = re.findall(r"^\| `([a-z]+)` \|", (ROOT / "docs/experts.md").read_text(), re.MULTILINE)
    assert {row["expert"] for row in running_house.json("model", "list")} == set(named)


def test_the_models_that_the_page_names_are_the_models_there_are(running_house: House) -> None:
    table = (ROOT / "API_USAGE.md").read_text().split("## With curl")[0]
    named = set(
        re.findall(r"`([a-z]+)`", "".join(line for line in table.splitlines() if line.startswith("| `")))
    )
    listed = {row["expert"] for row in running_house.json("model", "list")} | {"hearth", "auto"}
    assert listed <= named


def test_the_readmes_commands_work(running_house: House) -> None:
    commands = re.findall(r"^\.venv/bin/hearth (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        # One brings a gigabyte and changes what others share, the other a file that is not here.
        if not command.startswith(("model get", "model add")):
            import shlex

            assert running_house.hearth(*shlex.split(command)).returncode == 0, command


def test_every_command_that_the_readme_names_exists(running_house: House) -> None:
    named = set(re.findall(r"`hearth ((?:model )?[a-z]+)", (ROOT / "README.md").read_text()))
    assert {"up", "down", "model add"} <= named
    for command in sorted(named):
        assert running_house.hearth(*command.split(), "--help").returncode == 0, command
