"""The benchmark playbook writes down of every model whether it loads and how fast it speaks."""

import json

import pytest

from tests.lab.cluster import Cluster

BUNDLED, NANO = "smollm2-135m-instruct", "lfm2-350m-extract"


@pytest.mark.req("MOD-09")
@pytest.mark.timeout(3600)
def test_each_model_gets_a_record(converged_lab: Cluster) -> None:
    lab = converged_lab.lab
    lab.ansible(
        "ansible/playbooks/benchmark_models.yaml", limit="n1", extra={"benchmark_names": [NANO, BUNDLED]}
    ).expect_success()
    report = json.loads((lab.folder / "controller/benchmarks/n1.json").read_text())
    loaded, absent = sorted(report["models"], key=lambda record: str(record["model"]), reverse=True)
    assert loaded["model"] == BUNDLED
    assert loaded["loaded"] is True
    assert loaded["tokens_per_second"] > 0
    assert absent["model"] == NANO
    assert absent["loaded"] is False
    assert absent["reason"] == "its file is not on the host"
    assert report["memory_mb"] > 0
    assert lab.host("n1").shell("ls -d /run/hearth-benchmark 2>/dev/null || true") == ""
