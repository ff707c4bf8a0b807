"""What every place behind the command does: this machine, a cluster, and a cluster with pretended agents."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clusterkit.errors import HearthError
from clusterkit.testing import ScriptedAnswer, ScriptedLlm, scripted_llm
from hearth.asking import ask_gateway
from hearth.cluster.place import ClusterPlace
from hearth.findings import Verdict
from hearth.one_machine.layout import find_layout
from hearth.one_machine.place import OneMachine
from hearth.place import NotRunningError, Place
from hearth.settings import HearthSettings
from hearth.tables import Cell, Report
from tests.servers.agents import RunningAgent, consul_agent, nomad_agent
from tests.servers.places import GATEWAY, StagedPlace, real_cluster, staged_cluster, staged_machine

EXPERT = "expert-main"
AGENT = "pipecatapp"


@pytest.fixture(scope="module")
def agents() -> Iterator[tuple[RunningAgent, RunningAgent]]:
    with consul_agent() as consul, nomad_agent() as nomad:
        yield consul, nomad


@pytest.fixture(params=["machine", "cluster of fakes", "cluster"])
async def staged(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StagedPlace]:
    if request.param == "machine":
        async with staged_machine(tmp_path / "hearth") as machine:
            yield machine
    elif request.param == "cluster of fakes":
        with staged_cluster(tmp_path) as cluster:
            yield cluster
    else:
        consul, nomad = request.getfixturevalue("agents")
        with real_cluster(consul, nomad, tmp_path) as real:
            yield real


@pytest.fixture(scope="module")
def gateway() -> Iterator[ScriptedLlm]:
    with scripted_llm([ScriptedAnswer(text="It is 42.")]) as model:
        yield model


async def everything_is_well(staged: StagedPlace, gateway: ScriptedLlm) -> None:
    await staged.serve(GATEWAY, gateway.port)
    await staged.serve(AGENT, gateway.port)
    await staged.serve(EXPERT, gateway.port, model="tiny")


def texts(report: Report) -> str:
    """Every cell of a report's tables."""
    cells = [cell for table in report.tables for row in table.rows for cell in row]
    return "\n".join(cell.text if isinstance(cell, Cell) else cell for cell in cells)


async def test_what_runs_is_told_and_is_healthy_when_all_of_it_is(
    staged: StagedPlace, gateway: ScriptedLlm
) -> None:
    await everything_is_well(staged, gateway)
    state = await staged.place.state()
    assert state.healthy, state
    assert state.problems == ()
    assert state.data["healthy"] is True
    assert state.data["experts"][EXPERT] == {"healthy": True, "model": "tiny", "detail": ""}
    for word in (staged.job_of(GATEWAY), EXPERT, "tiny", "running", "healthy", f":{gateway.port}"):
        assert word in texts(state)


async def test_one_service_that_is_not_healthy_makes_the_whole_so_and_says_why(
    staged: StagedPlace, gateway: ScriptedLlm
) -> None:
    await everything_is_well(staged, gateway)
    await staged.serve(EXPERT, gateway.port, healthy=False, detail="no model fits")
    state = await staged.place.state()
    assert not state.healthy
    assert state.data["healthy"] is False
    assert state.data["experts"][EXPERT]["detail"] == "no model fits"
    assert "no model fits" in texts(state)


async def test_nothing_that_serves_is_not_healthy(staged: StagedPlace) -> None:
    assert not (await staged.place.state()).healthy


async def test_the_front_door_is_the_gateway_with_its_key(staged: StagedPlace, gateway: ScriptedLlm) -> None:
    await staged.serve(GATEWAY, gateway.port)
    door = await staged.place.front_door()
    assert door.url == f"http://127.0.0.1:{gateway.port}"
    assert staged.key not in repr(door)
    assert await ask_gateway(door, "what is 6 * 7", model="hearth", timeout=20) == "It is 42."
    request = gateway.requests()[-1]
    assert request["headers"]["authorization"] == f"Bearer {staged.key}"
    assert request["body"]["messages"] == [{"role": "user", "content": "what is 6 * 7"}]


async def test_without_a_gateway_the_way_to_find_out_more_is_told(staged: StagedPlace) -> None:
    with pytest.raises(HearthError, match=r"moe.gateway .*see `hearth status` and `hearth logs moe.gateway`"):
        await staged.place.front_door()


async def test_the_last_lines_of_one_service_or_of_all_are_shown(
    staged: StagedPlace, gateway: ScriptedLlm
) -> None:
    await everything_is_well(staged, gateway)
    job = staged.job_of(EXPERT)
    await staged.write(job, "line one", "line two", "line three")
    shown: list[tuple[str, str]] = []

    def note(service: str, line: str) -> None:
        shown.append((service, line))

    await staged.place.logs(job, lines=2, follow=False, write=note)
    assert shown == [(job, "line two"), (job, "line three")]
    shown.clear()
    await staged.place.logs(None, lines=1, follow=False, write=note)
    assert (job, "line three") in shown


async def test_logs_of_nobody_are_refused_with_those_that_there_are(
    staged: StagedPlace, gateway: ScriptedLlm
) -> None:
    await everything_is_well(staged, gateway)
    with pytest.raises(HearthError, match=rf"no \w+ 'toaster' \(known: .*{staged.job_of(GATEWAY)}"):
        await staged.place.logs("toaster", lines=1, follow=False, write=print)


async def test_the_examination_asks_a_question_and_finds_every_service(
    staged: StagedPlace, gateway: ScriptedLlm
) -> None:
    await everything_is_well(staged, gateway)
    findings = {finding.part: finding for finding in await staged.place.examine()}
    assert findings["an answer from hearth"].verdict is Verdict.GOOD
    assert findings["an answer from main"].verdict is Verdict.GOOD
    assert any(f"healthy at http://127.0.0.1:{gateway.port}" in one.detail for one in findings.values())


async def test_a_gateway_that_is_away_is_found_with_its_remedy(
    staged: StagedPlace, gateway: ScriptedLlm
) -> None:
    await everything_is_well(staged, gateway)
    await staged.serve(GATEWAY, 9)
    findings = {finding.part: finding for finding in await staged.place.examine()}
    answer = findings["an answer from hearth"]
    assert (answer.verdict, answer.remedy) == (Verdict.BROKEN, "hearth status; hearth logs")
    assert "http://127.0.0.1:9" in answer.detail


def place_without_anybody(kind: str, folder: Path) -> Place:
    if kind == "machine":
        return OneMachine(find_layout(folder))
    return ClusterPlace(HearthSettings(consul_url="http://127.0.0.1:9", nomad_url="http://127.0.0.1:9"))


@pytest.mark.parametrize("kind", ["machine", "cluster"])
async def test_where_nothing_runs_that_is_what_is_said(kind: str, tmp_path: Path) -> None:
    place = place_without_anybody(kind, tmp_path)
    with pytest.raises(NotRunningError, match=r"hearth up|systemctl status consul"):
        await place.state()
    with pytest.raises(NotRunningError, match=r"hearth up|systemctl status consul"):
        await place.front_door()
    assert any(finding.verdict is not Verdict.GOOD for finding in await place.examine())
