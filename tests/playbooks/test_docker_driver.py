"""A site whose services run as containers of the released image, pulled from the site's registry."""

from collections.abc import Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from tests.hearth_image import BUILD_SECONDS, build_arguments
from tests.lab.cluster import Cluster
from tests.lab.lab import Lab
from tests.lab.timings import Timings
from tests.servers.asgi_server import serving
from tests.servers.image_registry import ImageRegistry

pytestmark = pytest.mark.timeout(3600)

SERVICES = ("moe_gateway", "llama_expert", "pipecatapp")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ImageRegistry:
    return ImageRegistry(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def cluster(lab_engine: None, registry: ImageRegistry, timings: Timings) -> Iterator[Cluster]:
    """One host; the release was pushed from here by another name of the same registry."""
    lab = Lab("docker-driver", hosts=1, disks={"/var/lib/docker": 8000})
    with lab, start_blocking_portal() as portal:
        ours = portal.wrap_async_context_manager(serving(registry.app))
        theirs = portal.wrap_async_context_manager(serving(registry.app, lab.gateway))
        with ours as push, theirs as pull:
            told = {"image_registry": _place(push), "image_build_arguments": build_arguments()}
            lab.ansible("ansible/playbooks/release.yaml", extra=told, timeout=BUILD_SECONDS).expect_success()
            site = {
                "service_driver": "docker",
                "image_registry": _place(pull),
                "docker_insecure_registries": [_place(pull)],
            }
            lab.tell(site)
            yield Cluster.form(lab, timings)


def _place(url: str) -> str:
    return url.removeprefix("http://")


@pytest.mark.req("PRV-23")
def test_every_service_runs_as_a_container_of_the_image_that_was_released(
    cluster: Cluster, registry: ImageRegistry
) -> None:
    [released] = set(registry.tags)
    assert released in registry.pulled
    shown = cluster.lab.host("n1").shell("docker ps --no-trunc --format '{{.Image}} {{.Command}}'")
    for service in SERVICES:
        [line] = [line for line in shown.splitlines() if f"python -m {service}" in line]
        assert line.split()[0].endswith(f"/{released}")


def test_the_whole_chain_answers(cluster: Cluster) -> None:
    cluster.lab.ansible("e2e-tests.yaml").expect_success()


def test_nothing_in_the_containers_runs_as_root(cluster: Cluster) -> None:
    pids = cluster.lab.host("n1").pids(f"python -m ({'|'.join(SERVICES)})")
    uids = cluster.lab.host("n1").exec(["stat", "--format=%u", *(f"/proc/{pid}" for pid in pids)]).stdout
    users = cluster.site.variables["hearth_users"]
    assert set(uids.split()) == {str(users[service]["uid"]) for service in SERVICES}


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    before = cluster.site.settled()
    assert cluster.site.converge().expect_success().changes == []
    assert cluster.site.state() == before
