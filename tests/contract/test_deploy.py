"""Jobs brought through a real Nomad and a real Consul, as the role `nomad_job` has it done."""

import asyncio
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from clusterkit.cluster.deploy.__main__ import Answer, answer
from clusterkit.cluster.deploy.request import Agent, DeploymentRequest
from tests.integration.waiting import eventually
from tests.servers.agents import RunningAgent, consul_agent, nomad_agent
from tests.servers.free_ports import free_ports

pytestmark = pytest.mark.timeout(300)


class Cluster:
    """One host with both agents."""

    def __init__(self, consul: RunningAgent, nomad: RunningAgent) -> None:
        self.consul, self.nomad = consul, nomad

    async def deploy(
        self,
        command: str,
        job: str,
        text: str = "",
        *,
        wait: bool = True,
        timeout_s: float = 60,
        **secrets: str,
    ) -> Answer:
        """What the program answers."""
        nowhere = Path("/nowhere/ca.pem")  # nobody asks for it where there is no TLS
        request = DeploymentRequest(
            job=job,
            source=f"{job}.nomad.j2",
            hcl=text,
            secrets=secrets,
            service=job,
            wait=wait,
            timeout_s=timeout_s,
            poll_s=0.1,
            log_bytes=4000,
            nomad=Agent(url=self.nomad.url, token="", ca_file=nowhere),
            consul=Agent(url=self.consul.url, token="", ca_file=nowhere),
        )
        return await answer(command, request)

    def served(self, job: str) -> str:
        """What a job's healthy instance serves; "" while it does not listen."""
        (one,) = self.consul.get(f"/v1/health/service/{job}?passing=1")
        url = f"http://{one['Service']['Address']}:{one['Service']['Port']}/answer"
        try:
            return httpx.get(url, trust_env=False).text.strip()
        except httpx.ConnectError:
            return ""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with consul_agent() as consul:
        address = consul.url.removeprefix("http://")
        with nomad_agent(settings={"consul": {"address": address}}) as nomad:
            yield Cluster(consul, nomad)


def slow_to_stop(port: int, memory: int) -> str:
    """A job that keeps its port for some seconds after it was told to stop."""
    return textwrap.dedent(f"""
        job "slow" {{
          group "slow" {{
            network {{
              port "http" {{
                static = {port}
              }}
            }}
            task "slow" {{
              driver       = "raw_exec"
              kill_timeout = "4s"
              config {{
                command = "/bin/sh"
                args    = ["-c", "trap '' INT; while true; do sleep 1; done"]
              }}
              resources {{
                cpu    = 50
                memory = {memory}
              }}
            }}
          }}
        }}
    """)


def hcl(job: str, port: str = "${NOMAD_PORT_http}", memory: int = 64) -> str:
    """A job that serves its secret where its check asks, unless it is told another port."""
    return textwrap.dedent(f"""
        job "{job}" {{
          update {{
            health_check      = "checks"
            min_healthy_time  = "0s"
            healthy_deadline  = "6s"
            progress_deadline = "8s"
            auto_revert       = true
          }}
          group "{job}" {{
            network {{
              port "http" {{}}
            }}
            service {{
              name = "{job}"
              port = "http"
              check {{
                type     = "http"
                path     = "/"
                interval = "1s"
                timeout  = "1s"
              }}
            }}
            task "{job}" {{
              driver = "raw_exec"
              config {{
                command = "{sys.executable}"
                args    = ["-m", "http.server", "--directory", "${{NOMAD_SECRETS_DIR}}", "{port}"]
              }}
              template {{
                destination = "${{NOMAD_SECRETS_DIR}}/answer"
                data        = "{{{{ with nomadVar \\"nomad/jobs/{job}\\" }}}}{{{{ .answer }}}}{{{{ end }}}}"
              }}
              resources {{
                cpu    = 50
                memory = {memory}
              }}
            }}
          }}
        }}
    """)


async def test_a_job_is_brought_once_and_again_when_it_differs_has_other_secrets_or_is_dead(
    cluster: Cluster,
) -> None:
    planned = await cluster.deploy("plan", "web", hcl("web"), answer="42")
    assert planned["lines"] == ["Job web: Added", "web: Place 1", "Secrets of web that change: answer"]
    assert cluster.nomad.get("/v1/jobs") == []

    assert await cluster.deploy("apply", "web", hcl("web"), answer="42") == {**planned, "problem": []}
    assert await asyncio.to_thread(cluster.served, "web") == "42"
    again = await cluster.deploy("apply", "web", hcl("web"), answer="42")
    assert again == {"changed": False, "lines": [], "problem": []}

    secret = await cluster.deploy("apply", "web", hcl("web"), answer="43")
    assert secret == {"changed": True, "lines": ["Secrets of web that change: answer"], "problem": []}
    # Of a task that was started anew in place, Consul says until its next check what it said before.
    await asyncio.to_thread(eventually, lambda: cluster.served("web") == "43", within=10)

    larger = await cluster.deploy("apply", "web", hcl("web", memory=65), answer="43")
    assert larger["problem"] == []
    assert 'web.web.Resources.MemoryMB: "64" -> "65"' in larger["lines"]

    cluster.nomad.delete("/v1/job/web")
    healed = await cluster.deploy("apply", "web", hcl("web", memory=65), answer="43")
    assert (healed["changed"], healed["problem"]) == (True, [])
    assert await asyncio.to_thread(cluster.served, "web") == "43"


async def test_a_version_that_never_becomes_healthy_is_told_and_what_nomad_took_back_is_no_success(
    cluster: Cluster,
) -> None:
    assert (await cluster.deploy("apply", "shop", hcl("shop"), answer="42"))["problem"] == []
    failed = await cluster.deploy("apply", "shop", hcl("shop", port="1999"), answer="42")
    said = "\n".join(failed["problem"])
    assert said.startswith("shop did not become healthy.\nDeployment: Failed due to")
    assert "Last lines of stdout:\n  Serving HTTP on" in said
    assert "port 1999" in said
    assert failed["changed"]
    assert await cluster.deploy("verify", "shop") == {"changed": False, "lines": [], "problem": []}


async def test_what_nomad_refuses_is_said_before_anything_is_written(cluster: Cluster) -> None:
    large = await cluster.deploy("apply", "large", hcl("large", memory=9_000_000), timeout_s=1, answer="42")
    assert large["problem"] == [
        "large fits no host, nothing was submitted. large: 1 without a place; 1 hosts looked at, memory on 1"
    ]
    for text, complaint in (
        ("job {", "input.hcl:1,"),
        (hcl("wrong").replace("raw_exec", ""), "Missing task driver"),
    ):
        (said,) = (await cluster.deploy("plan", "wrong", text))["problem"]
        assert said.startswith("wrong.nomad.j2: Nomad: POST ")
        assert complaint in said
    assert {job["ID"] for job in cluster.nomad.get("/v1/jobs")}.isdisjoint({"large", "wrong"})
    assert cluster.nomad.get("/v1/vars?prefix=nomad/jobs/large") == []


async def test_a_host_has_room_again_when_what_is_stopping_there_has_ended(cluster: Cluster) -> None:
    (port,) = free_ports(1)
    assert (await cluster.deploy("apply", "next", hcl("next"), answer="42"))["problem"] == []
    await cluster.deploy("apply", "slow", slow_to_stop(port, memory=60), wait=False)
    while [one["ClientStatus"] for one in cluster.nomad.get("/v1/job/slow/allocations")] != ["running"]:
        await asyncio.to_thread(cluster.nomad.get, "/v1/jobs?index=1&wait=100ms")
    await cluster.deploy("apply", "slow", slow_to_stop(port, memory=61), wait=False)

    planned = await cluster.deploy("plan", "next", hcl("next", memory=65), answer="42")
    assert planned["lines"][-1].startswith(
        "No place: next: 1 without a place; 1 hosts looked at, network: port"
    )
    assert (await cluster.deploy("apply", "next", hcl("next", memory=65), answer="42"))["problem"] == []
