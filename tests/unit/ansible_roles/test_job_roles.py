"""What the roles submit, run for real against a faked cluster: only what is missing, dead or different."""

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterkit.config.environment import environment
from tests.ansible_render import RELEASE, ROOT, SECRETS
from tests.servers.fake_nomad import FakeCluster, fake_cluster

INVENTORY = {"all": {"children": {"controllers": {"hosts": {"n1": {"ansible_connection": "local"}}}}}}
#: Each run of a playbook starts some thirty Python programs, which takes a minute on a busy machine.
pytestmark = pytest.mark.timeout(600)
MODELS = yaml.safe_load((ROOT / "group_vars/all/models.yaml").read_text())["expert_models"]
SERVICES = ["llamacpp-rpc", "expert-main", "pipecatapp", "moe-gateway"]


@dataclass(frozen=True)
class Ran:
    """What a playbook did."""

    code: int
    changed: int
    said: str


@dataclass(frozen=True)
class Site:
    """A site of one host, which is this machine, and the cluster that it believes to have."""

    folder: Path
    cluster: FakeCluster

    def run(self, playbook: str, *arguments: str, **variables: Any) -> Ran:
        """Run one of the repository's playbooks."""
        extra = self.folder / "extra.yaml"
        own = {
            "ansible_python_interpreter": sys.executable,
            "controller_dir": str(self.folder / "controller"),
            "hearth_install_dir": str(self.folder / "install"),
            "nomad_addr": self.cluster.url,
            "consul_addr": self.cluster.url,
            "host_address": "192.0.2.11",
            "bootstrap_agent_start_script": str(self.folder / "start_services.sh"),
            "pipecatapp_expert_timeout_s": 2,
            "nomad_job_wait_timeout_s": 2,
            "nomad_job_poll_s": 1,
        }
        extra.write_text(yaml.safe_dump({**own, **variables}))
        inventory = self.folder / "inventory.yaml"
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / playbook)),
                *("--inventory", str(ROOT / "inventory.yaml"), "--inventory", str(inventory)),
                *("--extra-vars", f"@{extra}", *arguments),
            ],
            cwd=ROOT,
            env={**environment(), **self._environment()},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        try:
            stats = json.loads(done.stdout[done.stdout.index("{") :])["stats"]
        except (ValueError, KeyError):
            raise AssertionError(done.stdout + done.stderr) from None
        return Ran(done.returncode, stats["n1"]["changed"], done.stdout)

    def _environment(self) -> Mapping[str, str]:
        password = self.folder / "password"
        return {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_VAULT_PASSWORD_FILE": str(password),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
        }


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose cluster is empty."""
    (tmp_path / "password").write_text("not secret\n")
    (tmp_path / "inventory.yaml").write_text(yaml.safe_dump(INVENTORY))
    release = tmp_path / "controller/wheelhouse"
    release.mkdir(parents=True)
    for name in ("release.yaml", "planned.yaml"):
        (release / name).write_text(yaml.safe_dump(RELEASE))
    # The release of this site is the source tree, as the tests' own environment has it.
    (tmp_path / "install").mkdir()
    (tmp_path / "install/current").symlink_to(sys.prefix)
    secrets = {**SECRETS, "hosts": {"n1": {"consul_agent_token": "a"}}}
    (tmp_path / "controller/secrets.yaml").write_text(yaml.safe_dump(secrets))
    with fake_cluster() as cluster:
        yield Site(tmp_path, cluster)


@pytest.mark.req("PRV-03", "PRV-04", "PRV-05", "GTW-14")
def test_healing_starts_what_is_missing_or_dead_and_touches_nothing_that_lives(site: Site) -> None:
    first = site.run("heal_cluster.yaml", "--diff", llama_rpc_enabled=True)
    assert first.code == 0, first.said
    assert site.cluster.submitted == SERVICES
    assert "Job moe-gateway: Added" in first.said
    assert site.cluster.variables["nomad/jobs/pipecatapp"]["pipecatapp_token"] == "token-of-a-service"
    assert "token-of-a-service" not in json.dumps(site.cluster.jobs) + first.said

    healthy = site.run("heal_cluster.yaml", llama_rpc_enabled=True)
    assert (healthy.code, healthy.changed) == (0, 0), healthy.said
    assert site.cluster.submitted == SERVICES

    site.cluster.dead.update(("pipecatapp", "llamacpp-rpc"))
    healed = site.run("heal_cluster.yaml", llama_rpc_enabled=True)
    assert healed.code == 0, healed.said
    assert site.cluster.submitted == [*SERVICES, "llamacpp-rpc", "pipecatapp"]
    assert (site.cluster.dead, site.cluster.stopped) == (set(), [])


@pytest.mark.req("PRV-08")
def test_no_agent_is_submitted_while_the_main_expert_is_not_healthy(site: Site) -> None:
    site.cluster.critical.add("expert-coding")
    site.cluster.jobs["expert-coding"] = {}
    refused = site.run("heal_cluster.yaml", llama_api_service_name="expert-coding")
    assert refused.code != 0
    assert (
        "expert-coding is not healthy in Consul after 2 s, so pipecatapp was not submitted." in refused.said
    )
    assert "503: no model can be used" in refused.said
    assert site.cluster.submitted == ["expert-main"]
    assert site.cluster.asked["expert-coding"] > 1, "it did not wait"


@pytest.mark.req("PRV-08")
def test_the_agent_is_submitted_as_soon_as_the_main_expert_is_healthy(site: Site) -> None:
    site.cluster.jobs["expert-coding"] = {}
    site.cluster.recovering["expert-coding"] = 2
    done = site.run(
        "heal_cluster.yaml", llama_api_service_name="expert-coding", pipecatapp_expert_timeout_s=30
    )
    assert done.code == 0, done.said
    assert site.cluster.submitted == ["expert-main", "pipecatapp", "moe-gateway"]
    assert site.cluster.asked["expert-coding"] == 3


@pytest.mark.req("PRV-29", "PRV-30")
def test_one_expert_is_deployed_by_its_name(site: Site) -> None:
    unknown = site.run("ansible/playbooks/deploy_expert.yaml", "--extra-vars", "expert=sumarization")
    assert unknown.code != 0
    assert "expert=sumarization: there is no such expert (there are: main, coding" in unknown.said
    assert site.cluster.submitted == []

    for expert in ("summarization", "translation"):
        done = site.run("ansible/playbooks/deploy_expert.yaml", "--extra-vars", f"expert={expert}")
        assert done.code == 0, done.said
        assert site.cluster.submitted[-1] == f"expert-{expert}"
        assert _models(site.cluster.jobs[f"expert-{expert}"]["Text"]) == {expert: MODELS[expert]}


def _models(job: str) -> Any:
    """The lists of models that a job hands to its program."""
    (written,) = re.findall(r'/models\.yaml"\n.*?<<-EOT\n(.*?)\n *EOT', job, re.DOTALL)
    return yaml.safe_load(textwrap.dedent(written))["expert_models"]


def test_a_check_run_shows_the_plan_and_changes_nothing(site: Site) -> None:
    planned = site.run("heal_cluster.yaml", "--check")
    assert planned.code == 0, planned.said
    assert "Job moe-gateway: Added" in planned.said
    assert "Secrets of moe-gateway that change: client_key_hashes, llama_expert_token" in planned.said
    assert planned.changed == 4, "the script and three jobs"
    assert (site.cluster.submitted, site.cluster.variables) == ([], {})
    assert not (site.folder / "start_services.sh").exists()


def test_of_a_host_without_the_program_no_plan_is_known_and_nothing_is_submitted(site: Site) -> None:
    (site.folder / "install/current").unlink()
    deploy = ("ansible/playbooks/deploy_expert.yaml", "--extra-vars", "expert=main")
    planned = site.run(*deploy, "--check")
    assert (planned.code, planned.changed) == (0, 1), planned.said
    assert "what would change of expert-main is not known" in planned.said
    refused = site.run(*deploy)
    assert refused.code != 0
    assert "expert-main: n1 cannot run clusterkit.cluster.deploy" in refused.said
    assert "Error executing command." in refused.said


def test_a_job_that_is_not_healthy_is_told_with_what_it_wrote_last(site: Site) -> None:
    site.cluster.deployment = "failed"
    site.cluster.output = {"stderr": "cannot load the model\n"}
    failed = site.run("ansible/playbooks/deploy_expert.yaml", "--extra-vars", "expert=main")
    assert failed.code != 0
    for line in (
        "expert-main did not become healthy.",
        "Deployment: Deployment failed",
        "  cannot load the model",
    ):
        assert line in failed.said
    assert "token-of-a-service" not in failed.said
