"""The renderer that the tests of templates rely on does what Ansible does."""

from pathlib import Path

import pytest

from tests.ansible_render import THREE_HOSTS, NotRendered, render, templates_of

#: The same hosts, whose network cards only a fact knows.
NO_CARDS = THREE_HOSTS.replace(", host_interface: eth0", "")


@pytest.fixture
def roles(tmp_path: Path) -> Path:
    """One role, whose template shows every place that a value can come from."""
    for name, text in {
        "web/defaults/main.yaml": "web_nic: '{{ host_interface }}'\nweb_depth: 1\n",
        "web/templates/web.conf.j2": (
            "# {{ ansible_managed }}\n{{ web_nic }} {{ web_depth }} {{ host_address }}\n"
            "{% for host in groups['controllers'] %}\n{{ hostvars[host].host_address }}\n{% endfor %}\n"
            "{{ cluster_secrets.client_key }} {{ ansible_facts['memtotal_mb'] }}\n"
        ),
        "web/templates/broken.j2": "{{ nobody_defines_this }}",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_defaults_inventory_facts_and_secrets_are_there(roles: Path) -> None:
    assert render("web", "web.conf.j2", THREE_HOSTS, "w1", roles=roles).splitlines() == [
        "# Ansible managed",
        "eth0 1 192.0.2.21",
        "192.0.2.11",
        "192.0.2.12",
        "192.0.2.13",
        "key-of-a-client 8192",
    ]


@pytest.mark.req("PRV-17")
def test_a_value_of_one_host_wins_over_group_and_default_on_that_host_alone(roles: Path) -> None:
    group = {"controllers": {"host_interface": "eth7"}}
    ours = {"n1": {"host_interface": "enp3s0", "web_depth": 7}}
    shown = [
        render(
            "web", "web.conf.j2", NO_CARDS, host, group_vars=group, host_vars=ours, roles=roles
        ).splitlines()[1]
        for host in ("n1", "n2", "w1")
    ]
    assert shown == ["enp3s0 7 192.0.2.11", "eth7 1 192.0.2.12", "eth0 1 192.0.2.21"]


@pytest.mark.req("PRV-17")
def test_what_a_play_gives_wins_over_the_host(roles: Path) -> None:
    ours = {"n1": {"web_depth": 7}}
    text = render(
        "web", "web.conf.j2", THREE_HOSTS, "n1", host_vars=ours, variables={"web_depth": 9}, roles=roles
    )
    assert "eth0 9" in text


def test_facts_can_be_others(roles: Path) -> None:
    text = render(
        "web", "web.conf.j2", THREE_HOSTS, "n1", variables={"facts": {"memtotal_mb": 5}}, roles=roles
    )
    assert text.endswith(" 5\n")


def test_a_name_that_nobody_defines_is_an_error_that_says_it(roles: Path) -> None:
    with pytest.raises(NotRendered, match=r"broken\.j2 on n1: .*nobody_defines_this"):
        render("web", "broken.j2", THREE_HOSTS, "n1", roles=roles)


def test_templates_are_found(roles: Path) -> None:
    assert templates_of("web", roles) == ["broken.j2", "web.conf.j2"]
