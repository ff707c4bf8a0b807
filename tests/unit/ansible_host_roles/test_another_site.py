"""A host that carries the cluster of another site is refused before anything changes, there or here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible_host_roles.site import ROOT, Played, Site

pytestmark = pytest.mark.timeout(300)

SECRETS = {"hosts": "all", "connection": "local", "gather_facts": False, "roles": ["cluster_secrets"]}
LOOK = {
    "hosts": "all",
    "gather_facts": False,
    "tasks": [{"ansible.builtin.import_role": {"name": "cluster_secrets", "tasks_from": "same_site"}}],
}
AUTHORITY = "-----BEGIN CERTIFICATE-----\nsomebody else's\n-----END CERTIFICATE-----\n"
LOCAL = {"ansible_connection": "local"}


@pytest.fixture
def tls(site: Site) -> Path:
    """The folder with the certificates of every host of the site: they are all this machine."""
    site.inventory({"controllers": {"n1": dict(LOCAL)}, "workers": {"n2": dict(LOCAL)}})
    (site.folder / "tls").mkdir()
    return site.folder / "tls"


def play(site: Site, what: Mapping[str, Any], *arguments: str, **variables: Any) -> Played:
    return site.play(what, *arguments, hearth_tls_dir=str(site.folder / "tls"), **variables)


def expect_refusal(site: Site, refused: Played, *sentences: str) -> None:
    said = " ".join(refused.output.split())
    assert refused.returncode != 0
    assert refused.changes == []
    for sentence in ("belongs to a cluster already", *sentences, "Nothing has been changed."):
        assert sentence in said


def test_no_secrets_are_made_for_a_host_that_carries_a_cluster(site: Site, tls: Path) -> None:
    (tls / "ca.pem").write_text(AUTHORITY)
    expect_refusal(
        site,
        play(site, SECRETS),
        f"n1 belongs to a cluster already, and its secrets are not here: {tls}/ca.pem of the host is there",
        f"no {site.folder}/controller/secrets.yaml on this machine",
        "Run this where that cluster was made, or bring its secrets here",
    )
    assert not (site.folder / "controller").exists()
    assert (tls / "ca.pem").read_text() == AUTHORITY


def test_a_host_outside_of_the_run_counts_before_there_are_secrets(site: Site, tls: Path) -> None:
    other = site.folder / "other"
    other.mkdir()
    (other / "ca.pem").write_text(AUTHORITY)
    tasks = [{"ansible.builtin.include_role": {"name": "cluster_secrets"}}]
    limited = {**SECRETS, "roles": [], "tasks": tasks, "vars": {"hearth_tls_dir": str(other)}}
    expect_refusal(site, site.play(limited, "--limit=n2"), "n1 belongs to a cluster already")
    assert not (site.folder / "controller").exists()


def test_secrets_of_another_site_do_not_fit_the_host(site: Site, tls: Path) -> None:
    play(site, SECRETS).expect_success()
    written = (site.folder / "controller/secrets.yaml").read_bytes()
    assert play(site, LOOK).expect_success().changes == []  # a blank host takes any
    (tls / "ca.pem").write_text(AUTHORITY)
    refused = play(site, LOOK)
    expect_refusal(site, refused, f"of another authority than that in {site.folder}/controller/secrets.yaml")
    assert (site.folder / "controller/secrets.yaml").read_bytes() == written


def test_a_host_of_this_site_passes(site: Site, tls: Path) -> None:
    (tls / "ca.pem").write_text(AUTHORITY)
    provided = {"ca_certificate": AUTHORITY, "ca_private_key": "a key"}
    play(site, LOOK, cluster_secrets_provided=provided).expect_success()
    play(site, SECRETS, cluster_secrets_provided=provided).expect_success()
    assert play(site, LOOK).expect_success().changes == []


def test_a_host_that_nobody_reaches_holds_nobody_up(site: Site, tls: Path) -> None:
    away = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-o ConnectTimeout=1"}
    site.inventory({"controllers": {"n1": dict(LOCAL)}, "workers": {"n2": away}})
    play(site, {**SECRETS, "connection": "ssh"}, "--limit=n1").expect_success()
    assert (site.folder / "controller/secrets.yaml").exists()


# In check mode: should the look be missing one day, nothing happens to the machine that runs the tests.
# A rule of the repository holds all playbooks to it; these are the three ways in which they come to it.
@pytest.mark.parametrize(
    ("playbook", "asked"),
    [
        ("playbook.yaml", {}),
        ("heal_cluster.yaml", {}),
        ("ansible/playbooks/remove_host.yaml", {"host": "n3"}),
    ],
)
def test_a_whole_playbook_refuses(site: Site, tls: Path, playbook: str, asked: dict[str, str]) -> None:
    site.inventory(
        {"controllers": {name: dict(LOCAL) for name in ("n1", "n3", "n4")}, "workers": {"n2": LOCAL}}
    )
    (tls / "ca.pem").write_text(AUTHORITY)
    whole = {"ansible.builtin.import_playbook": str(ROOT / playbook)}
    expect_refusal(site, play(site, whole, "--check", **asked))
    assert not (site.folder / "controller").exists()
