"""Jobs that are bad, too big, rolled over or moved away."""

import copy
import secrets

from tests.faults.campaign import Json, Report, case, rounded
from tests.lab.cluster import Cluster

#: The job's own deadline for progress and a minute; until then Nomad tries the new version elsewhere.
REVERTED_WITHIN_S = 300.0


def submit(cluster: Cluster, job: Json) -> None:
    """Register a version of a job, past the playbook."""
    cluster.site.nomad("/v1/jobs", method="PUT", body={"Job": job}).json()


def rolled(cluster: Cluster, job: str, within: float, *, status: str) -> float:
    """Seconds until the deployment of a job's newest version ended with this status."""

    def ended() -> bool:
        newest = cluster.site.nomad(f"/v1/job/{job}/deployment").json()
        version = cluster.site.job(job)["Version"]
        return bool(newest["JobVersion"] == version and newest["Status"] == status)

    return cluster.site.wait(ended, within, f"a deployment of {job} that is {status}")


@case(owner="nomad: auto_revert", lost_at_most=0, playbook=True, same_versions=False)
def bad_release(cluster: Cluster, report: Report) -> None:
    """A version that never becomes healthy is taken back; the good one serves all the time."""
    good = cluster.site.job(cluster.gateway)
    bad = copy.deepcopy(good)
    bad["TaskGroups"][0]["Tasks"][0]["Env"]["MOE_GATEWAY_PORT"] = "nonsense"
    submit(cluster, bad)
    report.detected_s = rounded(
        cluster.site.wait(
            lambda: cluster.site.job(cluster.gateway)["Version"] >= good["Version"] + 2,
            REVERTED_WITHIN_S,
            "the revert",
        )
    )
    report.healed_s = rounded(report.detected_s + rolled(cluster, cluster.gateway, 180, status="successful"))
    now = cluster.site.job(cluster.gateway)["TaskGroups"][0]["Tasks"][0]["Env"]
    report.expect(now == good["TaskGroups"][0]["Tasks"][0]["Env"], "another version than the good one runs")


@case(owner="nomad", lost_at_most=0, playbook=True, same_versions=False)
def rolling_upgrade(cluster: Cluster, report: Report) -> None:
    """A new version of a replicated service takes over, the playbook takes it back; no request is lost."""
    new = cluster.site.job(cluster.gateway)
    new["TaskGroups"][0]["Tasks"][0]["Env"]["HEARTH_LAB_ROLL"] = secrets.token_hex(4)
    submit(cluster, new)
    report.healed_s = rounded(rolled(cluster, cluster.gateway, 300, status="successful"))
    back = cluster.site.converge().expect_success()
    report.expect(len(back.changes) == 1, f"the playbook changed {back.changes}, not just the job")


@case(owner="nomad", lost_at_most=0, same_versions=True)
def host_drained(cluster: Cluster, report: Report) -> None:
    """A host is emptied for maintenance without losing a request."""
    gateway = cluster.gateways()[0]
    [node] = [
        n["ID"]
        for n in cluster.site.nomad("/v1/nodes").json()
        if n["Name"] == gateway.node and n["Status"] == "ready"
    ]
    drain = {"DrainSpec": {"Deadline": 120_000_000_000, "IgnoreSystemJobs": False}}
    cluster.site.nomad(f"/v1/node/{node}/drain", method="POST", body=drain).json()
    report.healed_s = rounded(
        cluster.site.wait(
            lambda: gateway.node not in {g.node for g in cluster.gateways()} and len(cluster.gateways()) == 2,
            150,
            "the gateway elsewhere",
        )
    )
    cluster.site.wait(
        lambda: not cluster.site.nomad(f"/v1/node/{node}").json()["DrainStrategy"],
        150,
        "the end of the drain",
    )
    eligible = {"Eligibility": "eligible"}
    cluster.site.nomad(f"/v1/node/{node}/eligibility", method="POST", body=eligible).json()


@case(owner="nomad: it is not placed, and says why", lost_at_most=0)
def expert_too_big(cluster: Cluster, report: Report) -> None:
    """A job that fits no host is refused with the reason, and nothing else moves."""
    run = cluster.lab.ansible(
        "ansible/playbooks/deploy_expert.yaml", extra={"expert": "coding", "llama_expert_memory_mb": 900000}
    )
    job = f"{cluster.site.variables['__expert_service_prefix']}coding"
    report.detected_s = rounded(run.seconds)
    report.seen["said"] = [line.strip() for line in run.output.splitlines() if "memory" in line.lower()][:4]
    cluster.site.nomad(f"/v1/job/{job}?purge=true", method="DELETE")
    report.expect(not run.succeeded, "the playbook called it deployed")
    report.expect("memory" in run.output.lower(), "nobody said that memory was lacking")


@case(owner="nobody: it is optional", lost_at_most=0)
def mqtt_absent(cluster: Cluster, report: Report) -> None:
    """Without a broker everything else is healthy."""
    broker = cluster.site.variables["mqtt_service"]
    report.seen["brokers"] = len(cluster.site.passing(broker))
    answer = cluster.chat(cluster.gateways()[0], "main", "The capital of France is")
    report.expect(bool(answer.strip()) and not report.seen["brokers"], "no answer, or a broker after all")
