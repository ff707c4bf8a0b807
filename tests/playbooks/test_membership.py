"""Who belongs to the cluster: hosts leave and join, also the leader, also the dead, also most of them."""

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.site import Site
from tests.playbooks.formed import WORK, form, healthy, keep, kept, play, put_to_work, running

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def site(lab_engine: None) -> Iterator[Site]:
    with Lab("playbooks-members", hosts=3) as lab:
        yield form(lab)


def test_a_rehearsal_says_what_would_happen_and_changes_nothing(site: Site) -> None:
    before = site.settled()
    run = play(site, "remove_host", {"host": "n1", "rehearse": True}).expect_success()
    said = " ".join(run.output.split())
    assert "afterwards 2 servers, 2 healthy, 2 needed" in said
    assert f"{WORK} (web) moves to n2 or n3" in said
    assert run.changes == []
    assert site.state() == before


def test_the_first_controller_can_be_removed_and_its_work_moves(site: Site) -> None:
    run = play(site, "remove_host", {"host": "n1"}).expect_success()
    assert site.peers() == {"n2", "n3"}
    assert "n1" not in site.members("n2")
    assert healthy(site, 2)
    assert len(running(site)) == 3
    assert {a["NodeName"] for a in site.allocations(WORK)} == {"n2", "n3"}
    left = site.lab.host("n1").shell(
        "ls /var/lib/consul /var/lib/nomad /etc/hearth/tls/host.key", check=False
    )
    assert left == ""
    assert run.hosts["localhost"].changed > 0


def test_removing_it_again_changes_nothing(site: Site) -> None:
    assert play(site, "remove_host", {"host": "n1"}).expect_success().changes == []


def test_it_can_join_again_without_touching_the_others(site: Site) -> None:
    before = {name: known for name, known in site.processes().items() if name != "n1"}
    run = play(site, "add_host", {"host": "n1"}, "--tags", "infrastructure").expect_success()
    assert {host.split(" ")[0] for host, _ in run.changes} - {"localhost"} == {"n1"}
    assert {name: known for name, known in site.processes().items() if name != "n1"} == before
    site.wait(lambda: healthy(site, 3) and site.peers() == {"n1", "n2", "n3"}, 60, "three servers")


def test_a_host_outside_the_inventory_cannot_be_added(site: Site) -> None:
    run = play(site, "add_host", {"host": "n7"})
    assert not run.succeeded
    assert "n1, n2, n3" in run.output
    assert run.changes == []


def test_a_dead_controller_is_removed_from_outside(site: Site) -> None:
    put_to_work(site)
    site.lab.host("n3").power_off()
    site.wait(lambda: site.members("n1")["n3"] == "failed", 60, "n3 is missed")
    play(site, "remove_host", {"host": "n3"}).expect_success()
    site.lab.forget_host("n3")
    assert site.peers() == {"n1", "n2"}
    assert "n3" not in site.members("n1")
    assert healthy(site, 2)


def test_a_server_that_the_quorum_needs_is_not_removed(site: Site) -> None:
    site.lab.host("n2").shell("systemctl stop nomad")
    try:
        run = play(site, "remove_host", {"host": "n1"})
    finally:
        site.lab.host("n2").shell("systemctl start nomad")
    assert not run.succeeded
    assert "Nothing has been changed" in " ".join(run.output.split()) or "knows who leads" in run.output
    site.wait(lambda: healthy(site, 2), 90, "n2 is back")


def test_a_cluster_with_a_leader_is_not_recovered(site: Site) -> None:
    run = play(site, "recover_quorum")
    assert not run.succeeded
    assert "there is nothing to recover" in " ".join(run.output.split())
    assert run.changes == []


def test_the_last_of_several_controllers_leads_again_with_all_that_was_known(site: Site) -> None:
    keep(site, "known", "by both")
    site.lab.forget_host("n2")
    unnamed = play(site, "recover_quorum")
    assert not unnamed.succeeded
    assert "-e lost=n2" in " ".join(unnamed.output.split())
    play(site, "recover_quorum", {"lost": "n2"}).expect_success()
    site.wait(lambda: healthy(site, 1), 60, "a leader")
    assert kept(site, "known") == ("by both", "by both")
    play(site, "remove_host", {"host": "n2"}).expect_success()
    assert site.members() == {"n1": "alive"}
