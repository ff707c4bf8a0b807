"""The benchmark playbook writes down of every model whether it loads and how fast it speaks."""

import json

import pytest

from clusterkit.catalogue import load_catalogue
from tests.lab.cluster import Cluster
from tests.lab.playbook_run import ROOT

BUNDLED, NANO = "smollm2-135m-instruct", "lfm2-350m-extract"


@pytest.mark.req("MOD-09")
def test_the_lists_have_nano_models_with_their_sizes() -> None:
    models = [
        model
        for expert in load_catalogue(ROOT / "group_vars/all/models.yaml").experts.values()
        for model in expert.models
        if "/LiquidAI/" in model.url
    ]
    assert {"lfm2-350m-extract", "lfm2-700m", "lfm2-1.2b-tool", "lfm2-350m-math"} <= {
        model.name for model in models
    }
    assert all(200 < model.memory_mb < 2000 for model in models)


@pytest.mark.req("MOD-09")
@pytest.mark.timeout(600)
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
