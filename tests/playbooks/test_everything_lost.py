"""All hosts are gone, and the controller machine's memory too: what is left is a backup and its password."""

import shutil

import pytest

from tests.lab import Lab
from tests.playbooks.formed import WORK, form, keep, kept, play

pytestmark = pytest.mark.timeout(3600)


def test_a_backup_and_its_password_make_the_same_cluster_on_blank_hosts(lab_engine: None) -> None:
    with Lab("playbooks-lost", hosts=1) as lab:
        site = form(lab)
        keep(site, "early", "before the backup")
        play(site, "backup").expect_success()
        token = site.token("consul")

        lab.forget_host("n1")
        for left in (lab.folder / "controller").iterdir():
            if left.name != "backups":
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        lab.add_host("controllers")
        site.forget_secrets()

        play(site, "restore", {"backup": "latest"}).expect_success()
        site.converge("--tags", "infrastructure").expect_success()
        play(site, "restore", {"backup": "latest"}).expect_success()
        site.converge("--tags", "infrastructure").expect_success()

        assert kept(site, "early") == ("before the backup", "before the backup")
        assert site.token("consul") == token
        site.wait(lambda: len(site.passing(WORK)) == 3, 60, "the job on the new host")
        assert site.nodes() == {"n1": "ready eligible"}
        assert site.converge("--tags", "infrastructure").expect_success().changes == []
