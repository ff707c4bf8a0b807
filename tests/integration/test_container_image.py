"""The image of all of Hearth: built from the sources, run as nobody in particular, and asked a question."""

import asyncio
import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft7Validator, FormatChecker

from tests.hearth_image import BUILD_SECONDS, build_arguments
from tests.integration.waiting import eventually
from tests.lab.engine import docker, run_label
from tests.lab.playbook_run import run_playbook
from tests.servers.asgi_server import serving
from tests.servers.image_registry import ImageRegistry

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE_WORDS = frozenset(
    ("ARG", "CMD", "COPY", "ENV", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")
)
pytestmark = pytest.mark.timeout(BUILD_SECONDS + 300)


def compose_service() -> dict[str, Any]:
    """The one service of compose.yaml."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    (service,) = services.values()
    return dict(service)


@pytest.fixture(scope="module")
def image(lab_engine: None) -> Iterator[str]:
    """The image, on a Debian that needs no registry; its layers stay for the next time."""
    name = f"hearth-test-{uuid.uuid4().hex[:8]}"
    told = [part for pair in build_arguments().items() for part in ("--build-arg", "=".join(pair))]
    docker("build", "--tag", name, *run_label(), *told, str(ROOT), timeout=BUILD_SECONDS)
    yield name
    docker("rmi", "--force", "--no-prune", name, check=False)


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    """A container as compose.yaml describes it, on a free port of loopback."""
    service, name = compose_service(), f"hearth-test-{uuid.uuid4().hex[:8]}"
    arguments = ["--read-only"] if service["read_only"] else []
    arguments += [part for path in service["tmpfs"] for part in ("--tmpfs", path)]
    arguments += [part for option in service["security_opt"] for part in ("--security-opt", option)]
    arguments += [part for name in service["cap_drop"] for part in ("--cap-drop", name)]
    arguments += [part for pair in service["environment"].items() for part in ("--env", "=".join(pair))]
    arguments += ["--env", "HEARTH_GROW=off"]  # no gigabyte for a test
    inside = service["ports"][0].rsplit(":", 1)[1]
    arguments += run_label()
    docker("run", "--detach", "--name", name, *arguments, "--publish", f"127.0.0.1::{inside}", image)
    yield name
    docker("rm", "--force", "--volumes", name, check=False)


def inside(container: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return docker("exec", container, *argv, timeout=120)


def health(container: str) -> str:
    return docker("inspect", "--format", "{{.State.Health.Status}}", container).stdout.strip()


@pytest.mark.req("PRV-21", "PRV-39")
def test_the_container_becomes_healthy_and_answers(container: str) -> None:
    eventually(lambda: health(container) == "healthy", within=240)
    said = inside(container, "hearth", "ask", "What is the capital of France?").stdout
    assert "Paris" in said


@pytest.mark.req("PRV-21")
def test_nothing_in_it_runs_as_root(container: str) -> None:
    lines = docker("top", container, "-eo", "pid,uid").stdout.splitlines()[1:]
    assert {line.split()[1] for line in lines} == {"8753"}


@pytest.mark.req("PRV-21")
def test_the_source_is_in_it_once(container: str) -> None:
    everywhere = "find / -xdev -path '*/hearth/one_machine/layout.py' 2>/dev/null || true"
    assert len(inside(container, "sh", "-c", everywhere).stdout.split()) == 1
    assert inside(container, "sh", "-c", "ls -d /build 2>/dev/null || true").stdout == ""


@pytest.mark.req("PRV-39")
def test_the_page_asks_for_the_token_and_loopback_alone_leads_to_it(container: str) -> None:
    address = docker("port", container).stdout.strip().split(" -> ")[1]
    assert address.startswith("127.0.0.1:")
    with httpx.Client(base_url=f"http://{address}", timeout=20) as client:
        eventually(lambda: client.get("/health").status_code == 200, within=120)
        assert client.get("/").status_code == 401
        token = inside(container, "cat", "/data/secrets/pipecatapp.token").stdout.strip()
        assert client.get("/", auth=("me", token)).status_code == 200


@pytest.mark.req("PRV-39")
def test_the_compose_file_says_what_a_service_needs() -> None:
    whole = yaml.safe_load((ROOT / "compose.yaml").read_text())
    service = compose_service()
    assert set(whole) == {"services", "volumes"}
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert [volume.split(":")[0] for volume in service["volumes"]] == list(whole["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["build"]["context"] == "."


def dockerfile() -> list[tuple[int, str, str]]:
    """The Dockerfile's instructions: the stage, the word, and what it is told."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    stage, found = 0, []
    for word, _, rest in (line.strip().partition(" ") for line in whole if line.strip()):
        stage += word == "FROM"
        found.append((stage, word, rest.strip()))
    return found


@pytest.mark.req("PRV-21")
def test_the_dockerfile_says_what_it_has_to() -> None:
    found = dockerfile()
    last = max(stage for stage, _, _ in found)
    final = [(word, rest) for stage, word, rest in found if stage == last]
    site = yaml.safe_load((ROOT / "group_vars/all/main.yaml").read_text())
    assert {word for _, word, _ in found} <= DOCKERFILE_WORDS
    agent = f"{site['hearth_users']['pipecatapp']['uid']}:{site['hearth_gid']}"
    assert [rest for word, rest in final if word == "USER"] == [agent]
    [health] = [rest for word, rest in final if word == "HEALTHCHECK"]
    assert health.endswith('CMD ["hearth", "status", "--json"]')
    assert [rest for word, rest in final if word in ("COPY", "ADD")] == [
        "--from=build /opt/hearth /opt/hearth"
    ]
    for _, word, rest in found:
        if word == "COPY" and not rest.startswith("--from"):
            assert [path for path in rest.split()[:-1] if not (ROOT / path).exists()] == [], rest


@pytest.mark.req("PRV-39")
def test_the_compose_file_is_one_that_compose_reads() -> None:
    schema = json.loads((ROOT / "tests/data/compose/compose_spec.json").read_text())
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "compose.yaml").read_text())
    formats = FormatChecker(formats=())
    formats.checks("duration")(lambda value: bool(re.fullmatch(r"(\d+(us|ms|s|m|h))+", str(value))))
    formats.checks("ports")(lambda value: bool(re.fullmatch(r"([\d.]+:)?\d+:\d+", str(value))))
    Draft7Validator(schema, format_checker=formats).validate(yaml.safe_load(text))


@pytest.mark.req("PRV-39")
def test_the_commands_that_the_compose_file_tells_are_for_its_service_and_its_data() -> None:
    told = re.findall(r"^#   docker compose (.*)$", (ROOT / "compose.yaml").read_text(), re.MULTILINE)
    (name,) = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    place = compose_service()["volumes"][0].split(":")[1]
    assert told == [
        "up --detach --build",
        f'exec {name} hearth ask "What is the capital of France?"',
        f"exec {name} cat {place}/secrets/pipecatapp.token",
    ]
    assert "`docker compose up --detach --build`" in (ROOT / "README.md").read_text()
    # A clone has all that the image is made of.
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [path for _, word, rest in dockerfile() if word == "COPY" for path in rest.split()[:-1]]
    assert {path for path in copied if path[0] not in "-/"} <= {line[1:] for line in sent if line[0] == "!"}


@pytest.mark.req("PRV-22")
async def test_a_release_is_tagged_with_its_version_and_pushed_to_the_sites_registry(
    image: str, tmp_path: Path
) -> None:
    registry = ImageRegistry(tmp_path)
    (tmp_path / "password").write_text("not secret\n")
    async with serving(registry.app) as url:
        told = {
            "controller_dir": str(tmp_path / "controller"),
            "image_registry": url.removeprefix("http://"),
            "image_build_arguments": build_arguments(),
        }
        run = await asyncio.to_thread(
            run_playbook,
            ["ansible/playbooks/release.yaml", "--extra-vars", json.dumps(told)],
            {"HEARTH_VAULT_PASSWORD_FILE": str(tmp_path / "password")},
            log_file=tmp_path / "log",
            timeout=BUILD_SECONDS,
        )
    run.expect_success()
    # What the jobs are rendered from (wheel_release) is the same name.
    (built,) = (tmp_path / "controller/wheelhouse").glob("*/release.yaml")
    release = yaml.safe_load(built.read_text())["release"]
    assert release.startswith(f"{version('hearth')}-")
    assert registry.tags == [f"hearth:{release}"]
    pushed = f"{told['image_registry']}/hearth:{release}"
    docker("rmi", "--force", "--no-prune", pushed, check=False)
