"""The secrets by which people and services know each other, replaced while all of them run."""

import pytest
from openai import AuthenticationError, OpenAI

from tests.lab.cluster import Cluster
from tests.playbooks.formed import play

pytestmark = pytest.mark.timeout(3600)


def _ask(cluster: Cluster) -> str:
    cluster.site.wait(lambda: bool(cluster.gateways() and cluster.experts()), 120, "gateway and expert")
    return cluster.chat(cluster.gateways()[0], "main", "The capital of France is")


def test_a_new_client_key_is_taken_and_the_old_one_refused(converged_lab: Cluster) -> None:
    site = converged_lab.site
    old = site.client_key
    play(site, "rotate_secrets", {"rotate": "client_key"}).expect_success()
    site.forget_secrets()
    assert site.client_key != old
    assert _ask(converged_lab).strip()
    gateway = converged_lab.gateways()[0]
    client = OpenAI(base_url=f"{gateway.url}/v1", api_key=old, timeout=30)
    with client, pytest.raises(AuthenticationError):
        client.models.list()
    for host in converged_lab.lab.machines.values():
        assert host.exec(["hearth", "ask", "what is 6 * 7"], timeout=90).stdout.strip()
    assert site.converge().expect_success().changes == []


def test_services_answer_each_other_by_their_new_tokens(converged_lab: Cluster) -> None:
    site = converged_lab.site
    old = site.secrets()["tokens"]
    play(site, "rotate_secrets", {"rotate": "service_tokens"}).expect_success()
    site.forget_secrets()
    assert not set(old.values()) & set(site.secrets()["tokens"].values())
    assert _ask(converged_lab).strip()
    expert = converged_lab.experts()[0]
    headers = {"Authorization": f"Bearer {old['llama_expert']}"}
    refused = site.ask(site.lab.host(expert.node), f"{expert.url}/experts/main/v1/models", headers=headers)
    assert refused.status == 401
    assert site.converge().expect_success().changes == []
