"""What the cluster knows: saved, brought back, encrypted anew, carried to another version."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.site import Site
from tests.lab.writer import Writer
from tests.playbooks.formed import WORK, form, healthy, keep, kept, play, running

pytestmark = pytest.mark.timeout(3600)

NEXT_NOMAD = "1.11.3"
#: Consul may be without a leader for this long when the one it has restarts.
LONGEST_GAP_S = 10


@pytest.fixture(scope="module")
def site(lab_engine: None) -> Iterator[Site]:
    with Lab("playbooks-state", hosts=3) as lab:
        yield form(lab)


def backups(site: Site) -> list[Path]:
    return sorted(file.parent for file in (site.lab.folder / "controller/backups").glob("*/manifest.yaml"))


def test_a_backup_is_encrypted_and_says_what_it_must_be(site: Site) -> None:
    keep(site, "early", "before the backup")
    play(site, "backup").expect_success()
    [backup] = backups(site)
    for name in ("consul.snap", "nomad.snap", "secrets.yaml"):
        file = backup / name
        assert file.read_text().startswith("$ANSIBLE_VAULT;")
        assert file.stat().st_mode & 0o077 == 0
    assert backup.stat().st_mode & 0o077 == 0
    assert not list(backup.glob("*.open"))


def test_only_the_newest_backups_stay(site: Site) -> None:
    play(site, "backup", {"backups_kept": 1}).expect_success()
    assert len(backups(site)) == 1


def test_a_restore_brings_back_jobs_values_and_tokens(site: Site) -> None:
    token = site.secrets()["consul_operator_token"]
    accessor = site.consul("/v1/acl/token/self", token=token).json()["AccessorID"]
    keep(site, "late", "after the backup")
    site.consul(f"/v1/acl/token/{accessor}", method="DELETE").json()
    site.nomad(f"/v1/job/{WORK}?purge=true", method="DELETE").json()
    play(site, "restore", {"backup": "latest"}).expect_success()
    assert kept(site, "early") == ("before the backup", "before the backup")
    assert kept(site, "late") == (None, None)
    assert site.consul("/v1/acl/token/self", token=token).status == 200
    site.wait(lambda: len(site.passing(WORK)) == 3, 180, "the job on all hosts again")
    assert healthy(site, 3)


def test_the_latest_backup_is_never_what_a_restore_saved_before_itself(site: Site) -> None:
    made, saved = backups(site)
    assert saved.name.endswith("-before-restore")
    rehearsed = play(site, "restore", {"backup": "latest"}, "--check").expect_success()
    assert f"Would bring back {made.name}," in " ".join(rehearsed.output.split())
    assert rehearsed.changes == []


def test_a_damaged_backup_is_refused_before_anything_changes(site: Site) -> None:
    damaged = backups(site)[-1]
    whole = (damaged / "nomad.snap").read_text()
    try:
        (damaged / "nomad.snap").write_text(whole.replace("0", "1", 1))
        run = play(site, "restore", {"backup": damaged.name})
    finally:
        (damaged / "nomad.snap").write_text(whole)
    assert not run.succeeded
    assert "is not what was saved" in " ".join(run.output.split())
    assert run.changes == []


def test_a_backup_that_is_not_there_is_refused_with_the_names_of_those_that_are(site: Site) -> None:
    run = play(site, "restore", {"backup": "yesterday"})
    assert not run.succeeded
    assert backups(site)[-1].name in run.output


def test_gossip_gets_new_keys_while_writes_go_on(site: Site) -> None:
    before, work = site.secrets(), running(site)
    with Writer(site, "n1") as writer:
        play(site, "rotate_secrets", {"rotate": "gossip"}).expect_success()
    now = site.secrets()
    for program, ask in (("consul", site.consul), ("nomad", site.nomad)):
        assert now[f"{program}_gossip_key"] != before[f"{program}_gossip_key"]
        path = {"consul": "/v1/operator/keyring", "nomad": "/v1/agent/keyring/list"}[program]
        rings = ask(path).json()
        keys = {key for ring in (rings if isinstance(rings, list) else [rings]) for key in ring["Keys"]}
        assert keys == {now[f"{program}_gossip_key"]}
    assert writer.gap < LONGEST_GAP_S
    assert running(site) == work
    assert healthy(site, 3)


def test_an_old_management_token_is_refused_after_its_rotation(site: Site) -> None:
    before = site.secrets()
    play(site, "rotate_secrets", {"rotate": "management"}).expect_success()
    site.forget_secrets()
    for program, ask in (("consul", site.consul), ("nomad", site.nomad)):
        assert ask("/v1/acl/tokens").status == 200
        assert ask("/v1/acl/tokens", token=before[f"{program}_management_token"]).status == 403


def test_an_unknown_secret_is_refused_naming_the_known_ones(site: Site) -> None:
    run = play(site, "rotate_secrets", {"rotate": "everything"})
    assert not run.succeeded
    assert "gossip, management, service_tokens or client_key" in " ".join(run.output.split())


def test_another_version_of_nomad_comes_without_touching_what_runs(site: Site) -> None:
    work = running(site)
    play(site, "upgrade", {"nomad_version": NEXT_NOMAD}).expect_success()
    nodes = site.nomad("/v1/nodes").json()
    assert {node["Version"] for node in nodes if node["Status"] == "ready"} == {NEXT_NOMAD}
    assert running(site) == work
    again = play(site, "upgrade", {"nomad_version": NEXT_NOMAD}).expect_success()
    assert again.changes == []


def test_going_back_to_an_older_version_is_refused(site: Site) -> None:
    run = play(site, "upgrade", {"nomad_version": "1.10.5"})
    assert not run.succeeded
    assert "newer than 1.10.5" in " ".join(run.output.split())
    assert run.changes == []


def test_an_upgrade_does_not_start_while_a_server_is_away(site: Site) -> None:
    site.lab.host("n3").shell("systemctl stop nomad")
    try:
        site.wait(lambda: not healthy(site, 3), 60, "Nomad misses n3")
        run = play(site, "upgrade", {"nomad_version": "1.12.0"})
    finally:
        site.lab.host("n3").shell("systemctl start nomad")
    assert not run.succeeded
    assert "must be healthy first" in " ".join(run.output.split())
    assert json.dumps(run.changes) == "[]"
    site.wait(lambda: healthy(site, 3), 90, "n3 is back")
