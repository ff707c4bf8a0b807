"""An inventory that cannot work is refused before any host is reached."""

from typing import Any

import pytest

from tests.unit.ansible_host_roles.site import Played, Site

pytestmark = pytest.mark.timeout(300)

#: Addresses that nobody has: a check that reached for a host would time out.
NOWHERE = {f"n{number}": {"ansible_host": f"192.0.2.{number}"} for number in range(1, 6)}
PLAY = {
    "hosts": "localhost",
    "connection": "local",
    "gather_facts": False,
    "tasks": [{"ansible.builtin.include_role": {"name": "preflight_checks", "tasks_from": "inventory"}}],
}


def check(site: Site) -> Played:
    return site.play(PLAY)


def test_a_sound_inventory_passes_without_reaching_any_host(site: Site) -> None:
    hosts: dict[str, dict[str, Any]] = {name: dict(told) for name, told in NOWHERE.items()}
    hosts["n1"] |= {"host_power_managed": True, "host_mac_address": "3c:ec:ef:00:12:ab"}
    site.inventory(
        {
            "controllers": {name: hosts[name] for name in ("n1", "n2", "n3")},
            "workers": {name: hosts[name] for name in ("n4", "n5")},
        }
    )
    passed = check(site).expect_success()
    assert "5 hosts, 3 of them controllers" in passed.output
    assert not passed.changes


@pytest.mark.parametrize("controllers", [0, 2])
@pytest.mark.req("PRV-28")
def test_controllers_that_cannot_agree_are_refused(site: Site, controllers: int) -> None:
    names = list(NOWHERE)
    site.inventory(
        {
            "controllers": {name: NOWHERE[name] for name in names[:controllers]},
            "workers": {name: NOWHERE[name] for name in names[controllers:]},
        }
    )
    refused = check(site)
    assert refused.returncode != 0
    assert f"{controllers} hosts in the group controllers: it takes 1, 3 or 5" in refused.output


@pytest.mark.req("PRV-28")
def test_an_empty_inventory_is_refused(site: Site) -> None:
    site.inventory({"controllers": {}, "workers": {}})
    refused = check(site)
    assert refused.returncode != 0
    assert "no hosts: write them into the groups controllers and workers" in refused.output


@pytest.mark.req("PRV-18", "PRV-28")
def test_everything_that_is_wrong_is_said_at_once(site: Site) -> None:
    site.inventory(
        {
            "controllers": {
                "n1": {
                    "ansible_host": "192.0.2.1",
                    "nomad_verison": "1.10.5",
                    "host_mac_address": "3c:ec:ef:00:12",
                    "consul_version": "1.8.7",
                    "experts_deployed": ["main", "poetry"],
                },
            },
            "workers": {
                "n1": {},
                "n2": {"ansible_host": "192.0.2.1", "nomad_install_method": "snap"},
                "n_3": {"service_driver": "podman"},
                "n4": {"host_power_managed": True, "host_wake_on_lan": True},
            },
        }
    )
    refused = check(site)
    assert refused.returncode != 0
    for sentence in (
        "nomad_verison (set for n1): nothing reads a variable of this name; did you mean nomad_version?",
        "n1: host_mac_address is 3c:ec:ef:00:12; write it like 3c:ec:ef:00:12:ab, in quotes",
        "n1: consul_version is 1.8.7, 1.20.0 or newer is needed",
        "n1: experts_deployed names poetry; models.yaml has main, coding,",
        "n1: in both groups",
        "n2: has the address 192.0.2.1 of n1",
        "n2: nomad_install_method is snap; there are apt, release, file, go",
        "n_3: not a host name",
        "n_3: service_driver is podman; there are raw_exec, docker",
        "n4: host_power_managed needs a host_mac_address",
    ):
        assert sentence in refused.output


def test_a_variable_of_ones_own_can_be_let_pass(site: Site) -> None:
    site.inventory({"controllers": {"n1": {"rack": "attic"}}})
    assert "rack (set for n1): nothing reads a variable of this name" in check(site).output
    site.play(PLAY, preflight_checks_own_variables=["rack"]).expect_success()
