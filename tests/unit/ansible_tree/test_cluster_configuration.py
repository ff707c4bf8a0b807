"""What the hosts of a site are told: who is a server, whom to join, how many form a quorum."""

import re

import pytest

from tests.ansible_render import THREE_HOSTS, render

ONE_HOST = THREE_HOSTS.replace("        n2:", "        #").replace("        n3:", "        #")
CONTROLLERS = {"n1": "192.0.2.11", "n2": "192.0.2.12", "n3": "192.0.2.13"}
BEFORE = ("host_certificate",)
HostVars = dict[str, dict[str, str]]


def consul(template: str, host: str, inventory: str = THREE_HOSTS, host_vars: HostVars | None = None) -> str:
    return render("consul", template, inventory, host, after=BEFORE, host_vars=host_vars)


def nomad(template: str, host: str, inventory: str = THREE_HOSTS, host_vars: HostVars | None = None) -> str:
    return render("nomad", template, inventory, host, after=BEFORE, host_vars=host_vars)


def value(text: str, name: str) -> str:
    """What HCL text says of a name: outside of all blocks, or else in one of them."""
    outside = re.findall(rf"^{name}\s*=\s*(.+)$", text, re.MULTILINE)
    (said,) = outside or re.findall(rf"^\s+{name}\s*=\s*(.+)$", text, re.MULTILINE)
    return str(said).strip('"')


def block(text: str, name: str) -> str:
    """One outermost block."""
    return text.split(f"\n{name} {{")[1].split("\n}")[0]


@pytest.mark.req("PRV-36")
@pytest.mark.parametrize(("host", "server"), [("n1", "true"), ("n3", "true"), ("w1", "false")])
def test_controllers_are_servers_of_consul_and_workers_are_clients(host: str, server: str) -> None:
    assert value(consul("consul.hcl.j2", host), "server") == server


@pytest.mark.req("PRV-36")
@pytest.mark.parametrize("host", [*CONTROLLERS, "w1"])
def test_consul_joins_every_other_controller_and_no_worker(host: str) -> None:
    joined = set(re.findall(r'"([\d.]+):\d+"', consul("join.hcl.j2", host)))
    assert joined == set(CONTROLLERS.values()) - {CONTROLLERS.get(host)}


@pytest.mark.req("PRV-36")
@pytest.mark.parametrize("host", [*CONTROLLERS, "w1"])
def test_controllers_are_servers_of_nomad_and_everybody_runs_jobs(host: str) -> None:
    text = nomad("nomad.hcl.j2", host)
    assert ("\nserver {" in text) == (host in CONTROLLERS)
    assert value(block(text, "client"), "enabled") == "true"


@pytest.mark.req("PRV-36")
@pytest.mark.parametrize("host", [*CONTROLLERS, "w1"])
def test_nomad_joins_every_other_controller_and_no_worker(host: str) -> None:
    text = nomad("join.hcl.j2", host)
    joined = set(re.findall(r'"([\d.]+):\d+"', text))
    assert joined == set(CONTROLLERS.values()) - {CONTROLLERS.get(host)}
    assert ("\nserver {" in text) == (host in CONTROLLERS)


@pytest.mark.req("PRV-36")
@pytest.mark.parametrize(("inventory", "count"), [(THREE_HOSTS, "3"), (ONE_HOST, "1")])
def test_as_many_servers_form_a_quorum_as_there_are_controllers(inventory: str, count: str) -> None:
    consuls, nomads = (
        render("raft_cluster", "forming.hcl.j2", inventory, "n1", variables={"raft_cluster_program": program})
        for program in ("consul", "nomad")
    )
    assert value(consuls, "bootstrap_expect") == count
    assert value(block(nomads, "server"), "bootstrap_expect") == count


@pytest.mark.parametrize("program", ["consul", "nomad"])
def test_a_running_agent_is_never_told_to_form_a_cluster(program: str) -> None:
    lasting = (f"{program}.hcl.j2", "join.hcl.j2", "secrets.hcl.j2")
    assert "bootstrap" not in "".join(
        render(program, name, THREE_HOSTS, "n1", after=BEFORE) for name in lasting
    )


@pytest.mark.req("PRV-17")
def test_a_host_with_two_networks_binds_the_one_that_its_host_vars_name() -> None:
    ours = {"n1": {"host_address": "198.51.100.1", "host_interface": "enp3s0"}}
    assert value(consul("consul.hcl.j2", "n1", host_vars=ours), "bind_addr") == "198.51.100.1"
    assert value(consul("consul.hcl.j2", "n2", host_vars=ours), "bind_addr") == "192.0.2.12"
    assert "198.51.100.1" in consul("join.hcl.j2", "n2", host_vars=ours)
    assert value(nomad("nomad.hcl.j2", "n1", host_vars=ours), "bind_addr") == "198.51.100.1"
    assert value(nomad("nomad.hcl.j2", "n1", host_vars=ours), "network_interface") == "enp3s0"
    assert value(nomad("nomad.hcl.j2", "n2", host_vars=ours), "network_interface") == "eth0"


@pytest.mark.req("PRV-17")
def test_a_hosts_own_mac_address_and_memory_reach_nomad() -> None:
    ours = {"w1": {"host_mac_address": "2c:f0:5d:11:22:33", "nomad_client_memory_total_mb": "3000"}}
    text = nomad("nomad.hcl.j2", "w1", host_vars=ours)
    assert '"2c:f0:5d:11:22:33"' in block(text, "client")
    assert value(text, "memory_total_mb") == "3000"
    assert "memory_total_mb" not in nomad("nomad.hcl.j2", "n1", host_vars=ours)


def test_each_agent_has_a_token_of_its_own() -> None:
    assert value(consul("secrets.hcl.j2", "n1"), "agent") == "agent-token-of-n1"
    assert value(consul("secrets.hcl.j2", "w1"), "agent") == "agent-token-of-w1"
    assert value(nomad("secrets.hcl.j2", "w1"), "token") == "nomad-token-of-w1"


def test_only_servers_of_nomad_know_its_gossip_key() -> None:
    assert "gossip-of-nomad" in nomad("secrets.hcl.j2", "n1")
    assert "gossip-of-nomad" not in nomad("secrets.hcl.j2", "w1")


def test_consul_speaks_nothing_but_tls_and_asks_everybody_for_a_token() -> None:
    text = consul("consul.hcl.j2", "n1")
    assert value(text, "http") == "-1"
    assert value(text, "default_policy") == "deny"
    assert value(text, "client_addr") == "127.0.0.1"
    between = text.split("internal_rpc {")[1].split("}")[0]
    assert value(between, "verify_incoming") == value(between, "verify_server_hostname") == "true"


def test_nomad_speaks_tls_and_asks_everybody_for_a_token_and_runs_nothing_as_root() -> None:
    text = nomad("nomad.hcl.j2", "n1")
    assert value(block(text, "tls"), "http") == value(block(text, "tls"), "rpc") == "true"
    assert value(block(text, "tls"), "verify_server_hostname") == "true"
    assert value(block(text, "acl"), "enabled") == "true"
    assert "0" in value(text, "denied_host_uids").split(",")
