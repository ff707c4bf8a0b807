"""Wrong inventories and lost keys: refused, or mended, before anything changes."""

import json
from typing import Any

import yaml

from tests.faults.campaign import Report, case
from tests.lab.cluster import Cluster
from tests.lab.playbook_run import PlaybookRun

#: What a host is made of, without what the system itself writes all the time.
LOOK = (
    "find /etc /opt /usr /root /var/lib /srv -xdev -type f"
    " -not -path '/var/lib/consul/*' -not -path '/var/lib/nomad/*' -not -path '/var/lib/hearth/*'"
    " -not -path '/var/lib/systemd/*' -printf '%p %T@ %s\\n' | sort | sha256sum"
)


def _refused(cluster: Cluster, report: Report, inventory: dict[str, Any], words: str, **extra: Any) -> None:
    """Run the playbook on a changed inventory: it must fail with these words and change no host."""
    before = {name: host.shell(LOOK) for name, host in cluster.lab.machines.items() if host.runs}
    run = _run(cluster, inventory, extra)
    after = {name: host.shell(LOOK) for name, host in cluster.lab.machines.items() if host.runs}
    report.detected_s = round(run.seconds, 1)
    flat = " ".join(run.output.split())
    report.expect(not run.succeeded, "the playbook ran through")
    report.expect(words.lower() in flat.lower(), f"nobody said {words!r}: {flat[-800:]}")
    report.expect(
        run.changes == [] and before == after, f"something changed before the refusal: {run.changes}"
    )


def _run(cluster: Cluster, inventory: dict[str, Any], extra: dict[str, Any]) -> PlaybookRun:
    kept = cluster.lab.inventory_file.read_text()
    try:
        cluster.lab.inventory_file.write_text(yaml.safe_dump(inventory))
        return cluster.site.converge(extra=extra)
    finally:
        cluster.lab.inventory_file.write_text(kept)


def _inventory(cluster: Cluster) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    loaded = yaml.safe_load(cluster.lab.inventory_file.read_text())
    groups = loaded["all"]["children"]
    return loaded, groups["controllers"]["hosts"], groups["workers"]["hosts"]


@case(owner="preflight_checks", lost_at_most=0)
def even_number_of_servers(cluster: Cluster, report: Report) -> None:
    """Two servers survive less than one."""
    inventory, controllers, workers = _inventory(cluster)
    name = list(controllers)[-1]
    workers[name] = controllers.pop(name)
    _refused(cluster, report, inventory, "controllers")


@case(owner="preflight_checks", lost_at_most=0)
def no_server_at_all(cluster: Cluster, report: Report) -> None:
    """Nobody would decide."""
    inventory, controllers, workers = _inventory(cluster)
    workers.update(controllers)
    controllers.clear()
    _refused(cluster, report, inventory, "controllers")


@case(owner="preflight_checks", lost_at_most=0)
def unknown_variable(cluster: Cluster, report: Report) -> None:
    """A misspelt name would be obeyed by nobody."""
    inventory, controllers, _ = _inventory(cluster)
    next(iter(controllers.values()))["moe_gatway_count"] = 2
    _refused(cluster, report, inventory, "moe_gatway_count")


@case(owner="preflight_checks", lost_at_most=0)
def unreachable_host(cluster: Cluster, report: Report) -> None:
    """One host that does not answer: none is changed."""
    inventory, _, workers = _inventory(cluster)
    address = next(iter(cluster.lab.machines.values())).address.rpartition(".")[0]
    workers["ghost"] = {"ansible_host": f"{address}.250"}
    _refused(cluster, report, inventory, "unreachable")


@case(owner="people: consul_acl_reset", lost_at_most=0, playbook=True)
def management_token_lost(cluster: Cluster, report: Report) -> None:
    """The playbook says so and how to go on; with the reset it makes a new token and all goes on."""
    site = cluster.site
    lost = site.token("consul")
    self_of = json.loads(site.consul("/v1/acl/token/self").text)
    other = site.consul(
        "/v1/acl/token", method="PUT", body={"Policies": [{"Name": "global-management"}]}
    ).json()
    site.consul(f"/v1/acl/token/{self_of['AccessorID']}", method="DELETE", token=other["SecretID"]).json()
    site.consul(f"/v1/acl/token/{other['AccessorID']}", method="DELETE", token=other["SecretID"])
    without = site.converge()
    report.seen["without the reset"] = _last_message(without).replace(str(site.lab.folder), "LAB")
    report.expect(not without.succeeded, "the playbook ran through without a management token")
    report.expect("consul_acl_reset" in without.output, "nobody said how to go on")
    report.expect(lost not in without.output, "the token was shown")
    reset = site.converge(extra={"consul_acl_reset": True}).expect_success()
    site.forget_secrets()
    report.healed_s = round(reset.seconds, 1)
    report.expect(site.consul("/v1/acl/token/self").status == 200, "the new token does not work")


def _last_message(run: PlaybookRun) -> str:
    messages = [line.strip() for line in run.output.splitlines() if "msg:" in line]
    return messages[-1][:300] if messages else ""
