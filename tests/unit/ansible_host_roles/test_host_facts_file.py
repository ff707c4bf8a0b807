"""What a host is goes into its host_vars file once, and what a person wrote there stays."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_host_roles.site import Played, Site

pytestmark = pytest.mark.timeout(300)

PLAY = {"hosts": "n1", "connection": "local", "roles": ["host_facts"]}
NOT_CARDS = ("lo", "docker", "veth", "br-", "nomad", "virbr")
OURS = re.compile(r"# BEGIN what Hearth found out\n.*# END what Hearth found out\n", re.S)


@pytest.fixture
def host_file(site: Site) -> Path:
    return site.folder / "host_vars" / "n1.yaml"


@pytest.fixture
def card() -> str:
    """A network card of this machine, whether or not a route leads through it; `lo` where there is none."""
    names = sorted(path.name for path in Path("/sys/class/net").iterdir())
    return next((name for name in names if not name.startswith(NOT_CARDS) and mac_of(name)), "lo")


def mac_of(card: str) -> str | None:
    address = Path(f"/sys/class/net/{card}/address").read_text().strip()
    return address if re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", address) and card != "lo" else None


def apply(site: Site, card: str, **variables: Any) -> Played:
    return site.play(PLAY, host_interface=card, **variables).expect_success()


@pytest.mark.req("PRV-18", "PRV-19")
def test_a_mac_address_and_the_rest_are_written_once(site: Site, host_file: Path, card: str) -> None:
    assert apply(site, card).changes.count("Write what is not there yet") == 1
    written = host_file.read_text()
    facts = yaml.safe_load(written)
    assert facts.get("host_mac_address") == mac_of(card)
    assert facts["host_memory_mb"] % 256 == 0 < facts["host_memory_mb"]
    assert (card in facts["host_network_cards"]) == (card != "lo")
    assert {"host_cpu_level", "host_cpu_features", "host_gpus", "host_wake_on_lan"} < set(facts)

    # What has been written is not measured again, unless that is asked for.
    other = re.sub(r"host_memory_mb: \d+", "host_memory_mb: 512", written)
    host_file.write_text(other)
    assert apply(site, card).changes == []
    assert host_file.read_text() == other
    apply(site, card, host_facts_refresh=True)
    assert host_file.read_text() == written


@pytest.mark.req("PRV-19")
def test_other_keys_and_comments_stay_and_win(site: Site, host_file: Path, card: str) -> None:
    own = "# bought in 2019\nhost_mac_address: 3c:ec:ef:00:12:ab # the card that wakes it\nnote: {a: 1}\n"
    host_file.parent.mkdir()
    host_file.write_text(own)
    apply(site, card)
    assert OURS.sub("", host_file.read_text()) == own
    assert "host_mac_address" not in OURS.findall(host_file.read_text())[0]
    assert apply(site, card).changes == []


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


def test_a_host_without_a_default_route_says_what_to_write_where(site: Site, host_file: Path) -> None:
    # The variable as group_vars define it, on facts that have no route.
    play = {**PLAY, "gather_facts": False, "vars": {"host_interface": "{{ {}['interface'] }}"}}
    refused = site.play(play)
    said = " ".join(refused.output.split())
    assert refused.returncode != 0
    assert "n1: it has no default route for IPv4, which would tell its card and its address" in said
    assert f"Write host_interface and host_address into {host_file}; its cards are " in said
    assert not host_file.exists()
    assert "host_interface is eth77, which it does not have" in site.play(PLAY, host_interface="eth77").output
