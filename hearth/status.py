"""`hearth status` and `hearth logs`: what runs, and what it wrote."""

import asyncio
from typing import Any

import orjson
from rich.text import Text

from clusterkit.errors import HearthError
from clusterkit.ports.local_jobs import last_lines
from hearth.console import console, table
from hearth.control import Snapshot
from hearth.house import SERVICES, House

_FOLLOW_SECONDS = 0.3
_PLAIN_KEYS = ("timestamp", "level", "event", "service")


def as_data(state: Snapshot) -> dict[str, Any]:
    """The status as plain data."""
    return {
        "healthy": state.healthy,
        "services": [
            {
                "name": job.name,
                "state": job.state.value,
                "pid": job.pid,
                "restarts": job.restarts,
                "healthy": bool(state.of(job.name)) and all(one.healthy for one in state.of(job.name)),
                "detail": "; ".join(sorted({one.detail for one in state.of(job.name) if one.detail})),
                "urls": sorted({f"http://{one.address}:{one.port}" for one in state.of(job.name)}),
            }
            for job in state.jobs
        ],
        "experts": {
            one.service: {"healthy": one.healthy, "model": one.meta.get("model", ""), "detail": one.detail}
            for one in state.of("llama_expert")
        },
    }


def print_status(data: dict[str, Any]) -> None:
    """The status as tables."""
    services = table("Services", "service", "state", "health", "pid", "restarts", "where")
    for row in data["services"]:
        services.add_row(
            row["name"],
            row["state"],
            health_cell(row["healthy"], row["detail"]),
            str(row["pid"] or "-"),
            str(row["restarts"]),
            "\n".join(row["urls"]) or "-",
        )
    console.print(services)
    experts = table("Experts", "expert", "health", "model")
    for name, row in data["experts"].items():
        experts.add_row(name, health_cell(row["healthy"], row["detail"]), row["model"] or "-")
    if data["experts"]:
        console.print(experts)


def health_cell(healthy: bool, detail: str) -> Text:
    """Healthy, or what is wrong."""
    return Text("healthy", "green") if healthy else Text(detail or "not healthy", "red")


async def show_logs(house: House, service: str | None, lines: int, follow: bool, raw: bool) -> None:
    """Print the last lines of one service or of all; with `follow`, go on until interrupted."""
    known = ("hearth", *SERVICES)
    if service is not None and service not in known:
        raise HearthError(f"there is no service {service!r} (known: {', '.join(known)})")
    wanted = [service] if service else [name for name in known if (house.logs_dir / f"{name}.log").exists()]
    for name in wanted:
        for line in last_lines(house.logs_dir / f"{name}.log", lines):
            print_line(name, line, raw)
    if follow:
        await asyncio.gather(*(_follow(house, name, raw) for name in wanted))


async def _follow(house: House, name: str, raw: bool) -> None:
    path = house.logs_dir / f"{name}.log"
    position = path.stat().st_size if path.exists() else 0
    while True:
        await asyncio.sleep(_FOLLOW_SECONDS)
        size = path.stat().st_size if path.exists() else 0
        position = 0 if size < position else position
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                data = file.read(size - position)
            whole = data[: data.rfind(b"\n") + 1]
            position += len(whole)
            for line in whole.decode("utf-8", "replace").splitlines():
                print_line(name, line, raw)


def print_line(service: str, line: str, raw: bool) -> None:
    """Print one line that a service wrote; `raw` as it is."""
    if raw:
        console.out(line, highlight=False)
        return
    try:
        entry = orjson.loads(line)
        rest = " ".join(f"{key}={value}" for key, value in entry.items() if key not in _PLAIN_KEYS)
        when, level, event = entry["timestamp"][11:19], entry["level"], entry["event"]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        console.out(f"{service}: {line}", highlight=False)
        return
    style = {"error": "red", "warning": "yellow"}.get(level, "default")
    console.print(
        Text.assemble((when, "dim"), " ", (service, "cyan"), " ", (event, style), " ", (rest, "dim")),
        soft_wrap=True,
    )
