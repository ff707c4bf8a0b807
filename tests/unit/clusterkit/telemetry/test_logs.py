"""One JSON object a line, with the trace id, and without secrets."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clusterkit.errors import SettingsError
from clusterkit.telemetry.logs import configure_logging

PROGRAM = """
import logging, structlog
from pathlib import Path
from clusterkit.telemetry.logs import configure_logging
from clusterkit.telemetry.tracing import Trace, use_trace

configure_logging("agent", {level!r}, {format!r}, Path({file!r}) if {file!r} else None)
log = structlog.get_logger()
use_trace(Trace("ab" * 16, "cd" * 8))

def fail(token):
    local_key = "in-a-local-variable"
    raise ValueError("password=in-a-message " + str(len(local_key)))

log.debug("too_fine")
log.info("asked", expert="main", tokens=7, api_key="in-a-value", headers=dict(Authorization="in-a-header"))
logging.getLogger("library").warning("said %s", "token=in-a-library")
try:
    fail("in-an-argument")
except ValueError as error:
    log.error("failed", exc_info=error)
    logging.getLogger("library").error("broke", exc_info=error)
"""


def lines(level: str = "info", log_format: str = "json", log_file: Path | None = None) -> list[str]:
    program = PROGRAM.format(level=level, format=log_format, file=str(log_file or ""))
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout == ""
    return ran.stderr.splitlines()


@pytest.fixture(scope="module")
def entries() -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines()]


def test_every_line_is_an_object_with_its_event_and_time(entries: list[dict[str, Any]]) -> None:
    assert [entry["event"] for entry in entries] == ["asked", "said [hidden]", "failed", "broke"]
    assert [entry["level"] for entry in entries] == ["info", "warning", "error", "error"]
    assert all(entry["timestamp"].endswith("Z") for entry in entries)


def test_every_line_names_the_service_and_the_trace(entries: list[dict[str, Any]]) -> None:
    assert {(entry["service"], entry["trace_id"]) for entry in entries} == {("agent", "ab" * 16)}


def test_keys_keep_their_values(entries: list[dict[str, Any]]) -> None:
    assert (entries[0]["expert"], entries[0]["tokens"]) == ("main", 7)


def test_a_traceback_says_where_it_came_from(entries: list[dict[str, Any]]) -> None:
    for entry in entries[2:]:
        (raised,) = entry["exception"]
        assert raised["exc_type"] == "ValueError"
        assert [frame["name"] for frame in raised["frames"]] == ["<module>", "fail"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_line_carries_a_secret(log_format: str) -> None:
    written = "\n".join(lines(log_format=log_format))
    assert "asked" in written
    assert "Traceback" in written or "frames" in written
    for secret in (
        "in-a-value",
        "in-a-header",
        "in-a-library",
        "in-a-message",
        "in-an-argument",
        "in-a-local",
    ):
        assert secret not in written


def test_only_what_is_severe_enough_is_written() -> None:
    assert "too_fine" in "\n".join(lines(level="debug"))
    assert [json.loads(line)["event"] for line in lines(level="error")] == ["failed", "broke"]


def test_a_log_file_gets_a_copy_of_every_line(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    file.write_text("of an earlier run\n")
    wrote = lines(log_file=file)
    assert file.read_text().splitlines() == ["of an earlier run", *wrote]


def test_a_log_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"the log file .*/absent/agent.log cannot be written: No such file"
    ):
        configure_logging("agent", "info", "json", tmp_path / "absent" / "agent.log")


def test_a_full_disk_under_the_log_file_silences_nothing() -> None:
    assert len(lines(log_file=Path("/dev/full"))) == len(lines())
