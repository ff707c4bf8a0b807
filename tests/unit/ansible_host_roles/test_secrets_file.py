"""The site's secrets are made once and lie encrypted."""

import stat

import pytest

from tests.unit.ansible_host_roles.site import Site

pytestmark = pytest.mark.timeout(300)
PLAY = {"hosts": "n1", "connection": "local", "gather_facts": False, "roles": ["cluster_secrets"]}


@pytest.mark.req("PRV-37")
def test_the_sites_secrets_lie_in_a_vault_that_their_owner_alone_can_read(site: Site) -> None:
    assert site.play(PLAY).expect_success().changes == [
        "Have a folder that only you can read",
        "Write the secrets",
    ]
    kept = site.folder / "controller/secrets.yaml"
    assert kept.read_text().startswith("$ANSIBLE_VAULT;")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
