"""What a host is goes into its host_vars file once, and what a person wrote there stays."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_host_roles.site import Played, Site

pytestmark = pytest.mark.timeout(300)

PLAY = {"hosts": "n1", "connection": "local", "roles": ["host_facts"]}
OURS = re.compile(r"# BEGIN what Hearth found out\n.*# END what Hearth found out\n", re.S)


@pytest.fixture
def host_file(site: Site) -> Path:
    return site.folder / "host_vars" / "n1.yaml"


def apply(site: Site, **variables: Any) -> Played:
    return site.play(PLAY, **variables).expect_success()


@pytest.mark.req("PRV-18", "PRV-19")
def test_a_mac_address_and_the_rest_are_written_once(site: Site, host_file: Path) -> None:
    assert apply(site).changes.count("Write what is not there yet") == 1
    written = host_file.read_text()
    facts = yaml.safe_load(written)
    assert re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", facts["host_mac_address"])
    assert facts["host_memory_mb"] % 256 == 0 < facts["host_memory_mb"]
    assert facts["host_network_cards"]
    assert {"host_cpu_level", "host_cpu_features", "host_gpus", "host_wake_on_lan"} < set(facts)

    # What has been written is not measured again, unless that is asked for.
    other = re.sub(r"host_memory_mb: \d+", "host_memory_mb: 512", written)
    host_file.write_text(other)
    assert apply(site).changes == []
    assert host_file.read_text() == other
    apply(site, host_facts_refresh=True)
    assert host_file.read_text() == written


@pytest.mark.req("PRV-19")
def test_other_keys_and_comments_stay_and_win(site: Site, host_file: Path) -> None:
    own = "# bought in 2019\nhost_mac_address: 3c:ec:ef:00:12:ab # the card that wakes it\nnote: {a: 1}\n"
    host_file.parent.mkdir()
    host_file.write_text(own)
    apply(site)
    assert OURS.sub("", host_file.read_text()) == own
    assert "host_mac_address" not in OURS.findall(host_file.read_text())[0]
    assert apply(site).changes == []


@pytest.mark.req("PRV-19")
def test_what_was_gathered_of_the_sites_own_card_is_what_is_written(site: Site, host_file: Path) -> None:
    gathered = {
        "flags": ["cx16"],
        "architecture": "x86_64",
        "memtotal_mb": 8000,
        "interfaces": ["lo", "docker0", "wlan0", "eth0"],
        "default_ipv4": {"interface": "eth0", "macaddress": "02:00:00:00:00:01"},
        "eth0": {"macaddress": "02:00:00:00:00:01"},
        "wlan0": {"macaddress": "02:00:00:00:00:02"},
    }
    facts = {"ansible.builtin.set_fact": {**gathered, "cacheable": True}}
    play = {**PLAY, "gather_facts": False, "pre_tasks": [facts]}
    assert "Write what is not there yet" in site.play(play, host_interface="wlan0").expect_success().changes
    written = yaml.safe_load(host_file.read_text())
    assert written["host_mac_address"] == "02:00:00:00:00:02"
    assert written["host_network_cards"] == ["eth0", "wlan0"]
    assert (written["host_memory_mb"], written["host_cpu_level"]) == (7936, "x86-64-v1")
