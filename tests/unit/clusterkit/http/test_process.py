"""A process says in one line why it cannot run, and nothing but that."""

import asyncio

import pytest

from clusterkit.errors import HearthError
from clusterkit.http.process import EXIT_REFUSED, run


async def end_well() -> None:
    await asyncio.sleep(0)


async def refuse() -> None:
    raise HearthError("no oil")


async def refuse_twice() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse())
        tasks.create_task(refuse())


async def interrupted() -> None:
    raise KeyboardInterrupt


async def broken() -> None:
    raise KeyError("a bug")


def test_a_process_that_did_its_work_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(end_well) == 0
    assert run(interrupted) == 0
    assert capsys.readouterr().err == ""


def test_every_problem_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(refuse) == EXIT_REFUSED
    assert capsys.readouterr().err == "error: no oil\n"
    assert run(refuse_twice) == EXIT_REFUSED
    assert capsys.readouterr().err == "error: no oil\n" * 2


def test_a_bug_is_not_passed_off_as_a_refusal() -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - alone or in a group
        run(broken)
    assert "a bug" in repr(caught.value)
