"""The jobs that the roles render, as Nomad's own parser reads them."""

import functools
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.ansible_render import THREE_HOSTS, render
from tests.servers.agents import agent_binary

#: Role and template of each job, and what the including role would set.
TEMPLATES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "expert-main": ("llama_expert", "llama_expert.nomad.j2", {"llama_expert_name": "main"}),
    "moe-gateway": ("moe_gateway", "moe_gateway.nomad.j2", {}),
    "pipecatapp": ("pipecatapp", "pipecatapp.nomad.j2", {}),
    "llamacpp-rpc": ("bootstrap_agent", "llamacpp_rpc.nomad.j2", {}),
    "mqtt": ("mqtt", "mqtt.nomad.j2", {}),
    "prometheus": ("monitoring", "prometheus.nomad.j2", {}),
}
HEARTH_JOBS = ("expert-main", "moe-gateway", "pipecatapp")  #: those that run programs of the wheel


def job_text(name: str, inventory: str = THREE_HOSTS, **variables: Any) -> str:
    """The rendered job file; `variables` stand for group_vars of the site."""
    role, template, included = TEMPLATES[name]
    return render(role, template, inventory, "n1", variables={**included, **variables})


def job(name: str, inventory: str = THREE_HOSTS, **variables: Any) -> dict[str, Any]:
    """The job as Nomad's parser reads it."""
    return parsed(job_text(name, inventory, **variables))


@functools.lru_cache(maxsize=64)
def parsed(text: str) -> dict[str, Any]:
    """The job of a file's text, as Nomad's parser reads it."""
    done = subprocess.run(
        [str(agent_binary("nomad")), "job", "run", "-output", "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{text}"
    found: dict[str, Any] = json.loads(done.stdout)["Job"]
    return found


def group(found: Mapping[str, Any]) -> dict[str, Any]:
    """The only group of a job."""
    (only,) = found["TaskGroups"]
    return dict(only)


def task(found: Mapping[str, Any]) -> dict[str, Any]:
    """The only program of a job."""
    (only,) = group(found)["Tasks"]
    return dict(only)


def service(found: Mapping[str, Any]) -> dict[str, Any]:
    """The only service of a job."""
    (only,) = group(found)["Services"]
    return dict(only)


def file(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What Nomad writes for the program into its secrets under a name."""
    (only,) = [one for one in task(found)["Templates"] if Path(one["DestPath"]).name == name]
    return dict(only)
