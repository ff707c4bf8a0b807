"""A host on which Hearth cannot run is refused with all that is wrong, and nothing on it is touched."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.free_ports import free_ports
from tests.servers.threaded_server import serving_in_thread
from tests.unit.ansible_host_roles.site import ROOT, Played, Site

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a file system is mounted"),
    pytest.mark.timeout(600),
]
#: What a fit host says of itself; it is not measured again.
FACTS = {
    "distribution": "Debian",
    "distribution_version": "12.7",
    "python_version": "3.11.2",
    "service_mgr": "systemd",
    "memtotal_mb": 8192,
    "hostname": "n1",
    "machine_id": "1",
    "default_ipv4": {"address": "192.0.2.1", "interface": "eth0"},
}
#: Nothing but Ansible and people write here.
WRITTEN = [Path(path) for path in ("/etc/apt", "/etc/sudoers.d", "/etc/systemd", "/opt", "/usr/local/bin")]
NOWHERE = "http://127.0.0.1:9/"
PORTS = [
    name
    for name in yaml.safe_load((ROOT / "group_vars/all/main.yaml").read_text())
    if re.fullmatch(r"(consul|nomad)_\w+_port|(pipecatapp|moe_gateway)_port", name)
]


class Host:
    """This machine as a host: a small disk, a full one, and a play that would change it after the checks."""

    def __init__(self, site: Site) -> None:
        self.site, self.small = site, site.folder / "small"
        self.small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "hearth", str(self.small)], check=True)
        (self.small / "theirs").write_bytes(b"x" * (10 << 20))

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.small)], check=True)

    def check(self, free_mb: int = 1, **variables: Any) -> Played:
        """Look at the host, then change it if it was let pass."""
        play = {
            "hosts": "controllers:workers",
            "connection": "local",
            "gather_facts": False,
            "any_errors_fatal": True,
            "pre_tasks": [{"ansible.builtin.set_fact": {**FACTS, "cacheable": True}}],
            "tasks": [
                {"ansible.builtin.include_role": {"name": "preflight_checks", "tasks_from": "host"}},
                {"ansible.builtin.file": {"path": str(self.changed), "state": "touch", "mode": "0644"}},
            ],
        }
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        told = {"preflight_checks_network_timeout_s": 2, **ports}
        folders = [{"path": str(self.small / "state/of/hearth"), "free_mb": free_mb}]
        return self.site.play(play, preflight_checks_folders=folders, **{**told, **variables})

    @property
    def changed(self) -> Path:
        return self.site.folder / "changed"

    def files(self) -> str:
        """Every file in the places that roles write to, with its time."""
        seen = hashlib.sha256()
        for top in (self.small, *WRITTEN):
            for folder, folders, names in os.walk(top):
                for name in sorted([*folders, *names]):
                    path = Path(folder, name)
                    told = path.lstat()
                    seen.update(f"{path} {told.st_mode} {told.st_size} {told.st_mtime_ns}\n".encode())
                folders.sort()
        return seen.hexdigest()


@pytest.fixture
def host(site: Site) -> Iterator[Host]:
    made = Host(site)
    yield made
    subprocess.run(["umount", str(made.small)], check=True)


@pytest.fixture
def answering() -> Iterator[str]:
    """A URL that answers."""
    with serving_in_thread(SimpleHTTPRequestHandler) as url:
        yield f"{url}/"


@pytest.mark.req("PRV-25", "PRV-26", "PRV-27", "PRV-28")
def test_a_host_is_refused_with_all_that_is_wrong_and_stays_as_it_was(host: Host) -> None:
    host.remount("ro")
    before = host.files()
    refused = host.check(free_mb=4000, preflight_checks_network_url=NOWHERE)
    said = " ".join(refused.output.split())
    assert refused.returncode != 0
    assert f"{host.small} cannot be written (its file system is read-only)" in said
    assert f"it must be, for {host.small}/state/of/hearth" in said
    free = re.search(
        rf"{host.small}/state/of/hearth has (\d+) MB free \(on {host.small}\); 4000 MB are", said
    )
    assert free is not None
    assert 4 <= int(free[1]) <= 6, "16 MB less the 10 that are taken"
    assert f"{NOWHERE} does not answer" in said
    assert "without a way out set preflight_checks_air_gapped: true" in said
    assert not host.changed.exists()
    assert host.files() == before


@pytest.mark.req("PRV-25", "PRV-27")
def test_a_fit_host_passes_without_a_trace_and_an_air_gapped_one_needs_no_network(
    host: Host, answering: str
) -> None:
    before = host.files()
    host.check(preflight_checks_network_url=answering).expect_success()
    passed = host.check(preflight_checks_air_gapped=True, preflight_checks_network_url=NOWHERE)
    passed.expect_success()
    assert len(passed.changes) == 1, passed.changes
    assert host.changed.exists()
    assert host.files() == before


@pytest.mark.req("PRV-28")
def test_one_host_that_fails_keeps_the_others_from_being_changed(host: Host) -> None:
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
    host.site.inventory({"controllers": {"n1": {}}, "workers": {"gone": gone}})
    before = host.files()
    refused = host.check(free_mb=4000)
    assert refused.returncode != 0
    assert "127.0.0.1 port 9" in refused.output
    assert not host.changed.exists()
    assert host.files() == before


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
