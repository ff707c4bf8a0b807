"""`make plan` on a whole cluster: what a run would change, what would follow, and that it changes nothing."""

import subprocess

import pytest

from tests.lab.cluster import Cluster
from tests.lab.playbook_run import ROOT, ansible_environment

pytestmark = pytest.mark.timeout(3600)


def _plan(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    lab = cluster.lab
    done = subprocess.run(
        [str(ROOT / "ansible/plan.sh"), *lab.inventory_arguments, *arguments],
        env=ansible_environment(lab.environment),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return done.returncode, done.stdout.partition("\nPLAN\n")[2] or done.stdout[-4000:] + done.stderr


def test_where_nothing_would_change_the_plan_says_so(converged_lab: Cluster) -> None:
    code, said = _plan(converged_lab)
    assert (code, said.splitlines()[0]) == (0, "Nothing would change.")
    assert "Consul: 3 of 3 servers healthy, 2 needed" in " ".join(said.split())


def test_a_plan_names_what_would_change_and_restart_and_does_neither(converged_lab: Cluster) -> None:
    site = converged_lab.site
    before = (site.settled(), site.processes())
    code, said = _plan(converged_lab, "--extra-vars", "nomad_heartbeat_grace=7s")
    changes, _, follows = said.partition("Would follow")
    assert code == 2
    for host in converged_lab.lab.machines:
        assert f"  {host}: host_files : Write the files that differ (/etc/nomad.d/nomad.hcl)" in changes
        assert f"  {host}: nomad : Restart Nomad here" in follows
    assert "one at a time may restart and changes go on" in follows
    assert (site.state(), site.processes()) == before
