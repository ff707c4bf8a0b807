"""A host that Hearth cannot run on is refused; here the host is this machine."""

import pytest

from tests.unit.ansible_host_roles.site import Site

pytestmark = pytest.mark.timeout(300)
PLAY = {
    "hosts": "n1",
    "connection": "local",
    "gather_facts": False,
    "tasks": [{"ansible.builtin.include_role": {"name": "preflight_checks", "tasks_from": "host"}}],
}


@pytest.mark.req("PRV-28")
def test_what_a_host_lacks_is_said_before_anything_changes(site: Site) -> None:
    deep = site.folder / "not/there/yet"
    refused = site.play(
        PLAY,
        preflight_checks_memory_mb=99999999,
        preflight_checks_folders=[{"path": str(deep), "free_mb": 99999999}],
        preflight_checks_network_url="http://127.0.0.1:9/nothing",
    )
    said = " ".join(refused.output.split())
    assert refused.returncode != 0
    assert refused.changes == []
    assert "n1 cannot run Hearth, and nothing has been changed" in said
    assert " MB of main memory; 99999999 MB are needed" in said
    assert f"- {deep} has " in said
    assert " MB free (on /" in said
    assert "http://127.0.0.1:9/nothing does not answer" in said
