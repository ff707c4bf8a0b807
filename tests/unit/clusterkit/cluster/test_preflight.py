"""What an inventory and a host are judged by, sentence by sentence."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clusterkit.cluster.preflight.host import folders_above, host_problems, nearest
from clusterkit.cluster.preflight.inventory import HostEntry, Inventory, inventory_problems
from clusterkit.cluster.preflight.names import SiteVariables, names_in
from clusterkit.cluster.preflight.versions import older

ROOT = Path(__file__).resolve().parents[4]
NAMES = SiteVariables(frozenset({"nomad_version", "consul_version"}), frozenset({"read_somewhere"}))


def entry(*names: str, **values: Any) -> HostEntry:
    sound = {
        "ansible_host": "192.0.2.1",
        "host_mac_address": "",
        "host_power_managed": False,
        "host_measured": True,
        "consul_version": "1.22.5",
        "nomad_version": "1.10.5",
        "consul_install_method": "release",
        "nomad_install_method": "go",
        "service_driver": "raw_exec",
        "experts_deployed": ["main"],
        "expert_models": ["main", "coding"],
    }
    return {"names": names, "values": {**sound, **values}}


def inventory(**hosts: HostEntry) -> Inventory:
    return {
        "ansible": "2.19.1",
        "controllers": list(hosts)[:1],
        "workers": list(hosts)[1:],
        "controller_counts": [1, 3, 5],
        "minimum_versions": {"ansible": "2.19.0", "consul": "1.20.0", "nomad": "1.10.0"},
        "own_variables": ["rack"],
        "hosts": hosts,
    }


def problems(**hosts: HostEntry) -> list[str]:
    return inventory_problems(inventory(**hosts), NAMES)


def test_a_sound_inventory_has_no_problem() -> None:
    assert problems(n1=entry("nomad_version", "read_somewhere", "rack", "ansible_user", "__hidden")) == []


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        (entry("nomad_verison"), "did you mean nomad_version?"),
        (entry("quite_another"), "quite_another (set for n1): nothing reads a variable of this name"),
        (entry(host_mac_address="3C:EC"), "n1: host_mac_address is 3C:EC; write it like"),
        (entry(host_power_managed=True), "n1: host_power_managed needs a host_mac_address"),
        (entry(consul_version="1.9.17"), "n1: consul_version is 1.9.17, 1.20.0 or newer is needed"),
        (entry(nomad_install_method="snap"), "n1: nomad_install_method is snap; there are apt, release"),
        (entry(service_driver="podman"), "n1: service_driver is podman; there are raw_exec, docker"),
        (
            entry(experts_deployed=["poetry"]),
            "n1: experts_deployed names poetry; models.yaml has main, coding",
        ),
    ],
)
def test_what_one_host_has_wrong_is_one_sentence(host: HostEntry, problem: str) -> None:
    (said,) = problems(n1=host)
    assert problem in said


def test_a_host_that_was_not_measured_yet_may_lack_its_mac_address() -> None:
    assert problems(n1=entry(host_power_managed=True, host_measured=False)) == []


def test_two_hosts_share_neither_address_nor_card() -> None:
    card = "3c:ec:ef:00:12:ab"
    here = entry(host_mac_address=card, ansible_host="localhost")
    assert problems(n1=here, n2=entry(host_mac_address=card.upper(), ansible_host="localhost")) == [
        f"n2: has the MAC address {card} of n1"
    ]
    assert problems(n1=entry(), n2=entry()) == ["n2: has the address 192.0.2.1 of n1"]


def test_groups_and_names_that_cannot_work_are_said() -> None:
    wrong = inventory(n1=entry(), n_2=entry(ansible_host="192.0.2.2"))
    wrong["ansible"], wrong["controllers"], wrong["workers"] = "2.18.9", ["n1", "n_2"], ["n1"]
    assert inventory_problems(wrong, NAMES) == [
        "ansible-core is 2.18.9, 2.19.0 or newer is needed",
        "2 hosts in the group controllers: it takes 1, 3 or 5; an even number survives no more failures than "
        "one fewer, and none cannot decide anything",
        "n1: in both groups; a controller runs services too, so leave it out of workers",
        "n_2: not a host name; take letters a to z, digits and hyphens",
    ]
    assert problems() == ["no hosts: write them into the groups controllers and workers of inventory.yaml"]


def test_names_of_this_tree_are_its_site_variables_and_the_options_of_its_roles() -> None:
    names = names_in(ROOT)
    assert {"consul_version", "preflight_checks_memory_mb", "cluster_secrets_file"} <= names.settable
    assert "__expert_service_prefix" not in names.settable
    assert "inventory_hostname" in names.read - names.settable


@pytest.mark.parametrize(
    ("version", "least", "is_older"),
    [
        ("1.9.0", "1.10.0", True),
        ("2.19", "2.19.0", False),
        ("12.4", "12", False),
        ("1.10.0-beta.1", "1.10.0", False),
    ],
)
def test_versions_are_compared_number_by_number(version: str, least: str, is_older: bool) -> None:
    assert older(version, least) is is_older


def host(**changes: Any) -> dict[str, Any]:
    facts = {
        "distribution": "Debian",
        "distribution_version": "12.4",
        "python_version": "3.11.2",
        "service_mgr": "systemd",
        "memtotal_mb": 2000,
        "machine_id": "abc",
        "hostname": "attic",
        "address": "192.0.2.1",
    }
    sound = {
        "facts": {**facts, **changes.pop("facts", {})},
        "others": {"n2": {"machine_id": "", "hostname": "", "address": ""}},
        "address": "192.0.2.1",
        "interface": "eth0",
        "minimum_versions": {"python": "3.11.0", "debian": "12"},
        "memory_mb": 1500,
        "clocks": "1000 1003",
        "clock_offset_s": 5,
        "folders": [{"path": "/srv/a/b", "free_mb": 10}],
        "free_space": ["  500 / /", "   20 /srv /srv/a"],
        "not_writable": ["/"],
        "ports": [{"name": "nomad_http_port", "port": 4646, "programs": ["nomad"]}],
        "listeners": [
            {"port": 4646, "name": "nomad", "user": "root", "pid": 1},
            {"port": 4646, "name": "python", "user": "hearth-agent", "pid": 2},
            {"port": 80, "name": "nginx", "user": "root", "pid": 3},
        ],
        "service_users": ["hearth-agent"],
        "outgoing_ports": "32768\t60999",
        "dynamic_ports": [20000, 31999],
        "network": {"url": "http://d/", "air_gapped": False, "status": 404, "message": ""},
    }
    return {**sound, **changes}


def test_a_fit_host_has_no_problem() -> None:
    assert host_problems(host()) == []
    silent = {"url": "http://d/", "air_gapped": True, "status": -1, "message": "no"}
    assert host_problems(host(network=silent)) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"facts": {"distribution": "Fedora"}}, "runs Fedora 12.4; Debian 12 or newer is needed"),
        ({"facts": {"distribution_version": "11.9"}}, "runs Debian 11.9; Debian 12 or newer is needed"),
        ({"facts": {"python_version": "3.9.2"}}, "has Python 3.9.2; 3.11.0 or newer is needed"),
        ({"facts": {"service_mgr": "openrc"}}, "openrc runs as its first process; systemd is needed"),
        ({"facts": {"memtotal_mb": 900}}, "has 900 MB of main memory; 1500 MB are needed"),
        ({"clocks": "1000 1006"}, "its clock is -6 s off the controller's; 5 s are allowed"),
        (
            {"folders": [{"path": "/srv/a/b", "free_mb": 21}]},
            "/srv/a/b has 20 MB free (on /srv); 21 MB are needed",
        ),
        (
            {"not_writable": ["/srv/a"]},
            "/srv/a cannot be written (its file system is read-only); it must be, for /srv/a/b",
        ),
        (
            {"listeners": [{"port": 4646, "name": "nc", "user": "ada", "pid": 7}]},
            "port 4646 (nomad_http_port) is taken by nc (process 7, user ada); "
            "stop it or choose another port",
        ),
        (
            {"outgoing_ports": "31999 60999"},
            "outgoing connections take ports 31999 to 60999, which meet nomad_dynamic_port_min to "
            "nomad_dynamic_port_max (20000 to 31999); change either",
        ),
        (
            {"network": {"url": "http://d/", "air_gapped": False, "status": -1, "message": "no\n route"}},
            "http://d/ does not answer (no route); without a way out set preflight_checks_air_gapped: true",
        ),
        (
            {"address": ""},
            "has no default route for IPv4, which would tell its address and its card; "
            "write host_address and host_interface into its host_vars",
        ),
        (
            {"others": {"n2": {"machine_id": "abc", "hostname": "", "address": ""}}},
            "has the machine id of n2 (abc); copies of one disk do: remove /etc/machine-id and run "
            "systemd-machine-id-setup on one of them",
        ),
        (
            {"others": {"n2": {"machine_id": "", "hostname": "attic", "address": ""}}},
            "is called attic, like n2; give one of them another host name",
        ),
        (
            {"others": {"n2": {"machine_id": "", "hostname": "", "address": "192.0.2.1"}}},
            "has the address 192.0.2.1 of n2",
        ),
    ],
)
def test_what_a_host_has_wrong_is_one_sentence(changes: dict[str, Any], problem: str) -> None:
    assert host_problems(host(**changes)) == [problem]


def test_the_nearest_folder_that_exists_counts() -> None:
    assert folders_above(["/srv/a", "/srv/b"]) == ["/srv/a", "/srv", "/", "/srv/b"]
    (place,) = nearest([{"path": "/var/lib/x", "free_mb": 1}], ["7 / /", "9 /var /var/my lib", "8 /var /var"])
    assert (place.path, place.mount, place.free_mb) == ("/var", "/var", 8)


def test_the_program_reads_and_prints_json() -> None:
    def ask(*arguments: str, sent: object = None) -> list[str]:
        program = [sys.executable, "-m", "clusterkit.cluster.preflight", *arguments]
        done = subprocess.run(program, input=json.dumps(sent), capture_output=True, text=True, check=True)
        answer: list[str] = json.loads(done.stdout)
        return answer

    assert ask("folders", "/srv") == ["/srv", "/"]
    assert ask("host", sent=host(facts={"service_mgr": "runit"})) == [
        "runit runs as its first process; systemd is needed"
    ]
    assert ask("inventory", str(ROOT), sent=inventory(n1=entry("consul_verison"))) == [
        "consul_verison (set for n1): nothing reads a variable of this name; did you mean consul_version?"
    ]
