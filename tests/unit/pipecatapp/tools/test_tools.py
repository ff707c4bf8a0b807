from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clusterkit.errors import StorageError
from clusterkit.ports.registry import Instance
from clusterkit.testing import FakeClock, FakeRegistry
from pipecatapp.tools.base import ToolContext, ToolError
from pipecatapp.tools.calculator import Calculator
from pipecatapp.tools.clock import ClockTool
from pipecatapp.tools.registry import ToolRegistry, check_arguments
from pipecatapp.tools.system_status import SystemStatus

CONTEXT = ToolContext(FakeClock(datetime(2026, 3, 29, 0, 59, 58, tzinfo=UTC)))


async def call(tool, **arguments):
    return await tool.run(check_arguments(tool, arguments), CONTEXT)


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "It is 00:59:58 on Sunday, 29 March 2026 (UTC)."),
        ("Europe/Berlin", "It is 01:59:58 on Sunday, 29 March 2026 (Europe/Berlin, UTC+01:00)."),
        ("America/New_York", "It is 20:59:58 on Saturday, 28 March 2026 (America/New_York, UTC-04:00)."),
    ],
)
async def test_the_clock_says_time_date_and_zone(zone, text):
    result = await call(ClockTool(), zone=zone)
    assert result.text == text
    assert result.data["date"] in ("2026-03-29", "2026-03-28")


async def test_the_clock_uses_the_machines_zone_by_default():
    result = await call(ClockTool())
    local = CONTEXT.clock.now().astimezone()
    assert result.data["time"] == local.strftime("%H:%M:%S")
    assert result.data["zone"] == local.tzname()


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "a\0b"])
async def test_an_unknown_zone_is_refused(zone):
    with pytest.raises(ToolError, match="unknown time zone"):
        await call(ClockTool(), zone=zone)


async def test_the_status_tells_services_models_and_the_machine(tmp_path):
    registry = FakeRegistry()
    main = Instance(service="expert-main", id="m", address="127.0.0.1", port=1, meta={"model": "smollm2"})
    for instance in (main, replace(main, service="moe-gateway", id="g", meta={})):
        await registry.register(instance, ttl=9)
    await registry.heartbeat("m", healthy=True)
    await registry.heartbeat("g", healthy=False, detail="no expert is healthy")
    result = await call(SystemStatus(registry, tmp_path))
    lines = result.text.splitlines()
    assert lines[:3] == [
        "1 of 2 services are healthy.",
        "- expert-main: healthy, model smollm2",
        "- moe-gateway: not healthy (no expert is healthy)",
    ]
    assert lines[3].startswith("This machine: load ")
    assert not result.data["healthy"]
    assert result.data["services"][0]["model"] == "smollm2"
    assert 0 < result.data["host"]["memory_available_gib"] <= result.data["host"]["memory_total_gib"]
    assert 0 <= result.data["host"]["disk_free_gib"] <= result.data["host"]["disk_total_gib"]


async def test_a_registry_that_cannot_be_read_is_a_tool_failure(tmp_path):
    registry = FakeRegistry()
    registry.fail_next = StorageError("gone")
    with pytest.raises(ToolError, match="the registry cannot be read: gone"):
        await call(SystemStatus(registry, tmp_path))


def test_a_tool_is_found_by_its_alias_and_listed_once():
    tools = ToolRegistry([SystemStatus(FakeRegistry(), Path("/")), Calculator()])
    assert tools.get("mcp_tool") is tools.get("system_status")
    assert tools.names == ("system_status", "calculator")
    assert (tools.risk("mcp_tool"), tools.risk("invented")) == ("read", "irreversible")


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two tools are called 'calculator'"):
        ToolRegistry([Calculator(), Calculator()])


def test_a_tool_is_described_to_the_model():
    (schema,) = ToolRegistry([Calculator()]).schemas(["calculator"])
    function = schema["function"]
    assert function["name"] == "calculator"
    assert function["parameters"]["required"] == ["expression"]
    assert function["parameters"]["additionalProperties"] is False
