"""The campaign runs all its parts, whatever becomes of one."""

import pytest

from tests.campaign import PARTS, main


def test_a_part_that_fails_is_named_and_the_others_run(capfd: pytest.CaptureFixture[str]) -> None:
    parts = {"first": ("-c", "raise SystemExit(3)"), "second": ("-c", "print('was here')")}
    assert main(parts) == 1
    told = capfd.readouterr().out
    assert "was here" in told
    assert [line.split()[:2] for line in told.splitlines()[-2:]] == [
        ["first", "failed"],
        ["second", "passed"],
    ]
    assert main({"second": ("-c", "")}) == 0


def test_all_that_runs_at_night_is_in_it() -> None:
    assert {"molecule", "playbooks", "faults", "mutants"} <= set(PARTS)
