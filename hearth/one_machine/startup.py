"""`hearth up`: start everything and show it coming up."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress

from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from clusterkit.clock import SystemClock
from clusterkit.config.settings import ServiceSettings, load_settings
from clusterkit.errors import HearthError
from clusterkit.http.listener import listen
from clusterkit.ports.jobs import JobState, JobStatus
from clusterkit.ports.local_jobs import last_lines
from clusterkit.telemetry.logs import configure_logging
from hearth.console import console, print_table
from hearth.one_machine.control import Control
from hearth.one_machine.layout import Layout
from hearth.one_machine.lock import refuse_when_held
from hearth.one_machine.services import SERVICES
from hearth.one_machine.state import MachineState
from hearth.place import NotRunningError
from hearth.tables import Table
from llama_expert.settings import LlamaExpertSettings
from moe_gateway.settings import GatewaySettings
from pipecatapp.settings import PipecatappSettings

HOPELESS_RESTARTS = 2  #: a service that ended so often while coming up will not come up
_LOOK_SECONDS = 0.15
_TITLES = {"llama_expert": "model servers", "moe_gateway": "gateway", "pipecatapp": "agent"}


class DidNotComeUpError(HearthError):
    """A service did not become healthy; the message has its last words."""

    code = "did_not_come_up"


def check_ports() -> None:
    """Raises `BindError` naming port and holder, before anything is started, and `SettingsError`."""
    kinds: tuple[type[ServiceSettings], ...] = (LlamaExpertSettings, GatewaySettings, PipecatappSettings)
    for kind in kinds:
        prefix = str(kind.model_config.get("env_prefix", ""))
        # Whether the address may be listened on is the service's own decision.
        listen(load_settings(kind), prefix, authenticated=True).close()


async def up_in_foreground(layout: Layout, timeout: float) -> None:
    """Run everything until Ctrl-C. Raises `HearthError`; nothing is left running then."""
    refuse_when_held(layout.lock_file)
    check_ports()
    layout.logs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    configure_logging("hearth", "error", "console")

    from hearth.one_machine.launcher import launch

    launching = asyncio.create_task(launch(layout, stop))
    watching = asyncio.create_task(watch_until_healthy(layout, timeout))
    try:
        await asyncio.wait({launching, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not launching.done():
            watching.result()
            print_table(urls(await Control(layout).state()))
            console.print("Ctrl-C stops everything.")
            await stop.wait()
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError, HearthError):
            await watching
        stop.set()
        await launching


async def up_detached(layout: Layout, timeout: float) -> None:
    """Start everything in the background; returns when it is healthy, else raises and stops it."""
    refuse_when_held(layout.lock_file)
    check_ports()
    layout.logs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = layout.logs_dir / "hearth.log"
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hearth.one_machine.launcher",
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    os.close(output)
    ended = asyncio.create_task(process.wait())
    watching = asyncio.create_task(watch_until_healthy(layout, timeout))
    try:
        await asyncio.wait({watching, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            refuse_when_held(layout.lock_file)
            last = "\n".join(last_lines(log, 3))
            raise DidNotComeUpError(f"hearth ended with status {process.returncode}: {last}")
        watching.result()
    except BaseException:
        # Only what was started here is stopped: another `hearth up` may have been quicker.
        if not ended.done():
            process.terminate()
        await ended
        raise
    finally:
        watching.cancel()
    print_table(urls(await Control(layout).state()))


async def watch_until_healthy(layout: Layout, timeout: float) -> None:
    """Show every service coming up. Raises `DidNotComeUpError` after `timeout` seconds or when hopeless."""
    clock, control = SystemClock(), Control(layout)
    began = clock.monotonic()
    took: dict[str, float] = {}
    with Live(console=console, refresh_per_second=8, transient=False) as live:
        while True:
            with suppress(NotRunningError):
                state = await control.state()
                elapsed = clock.monotonic() - began
                for service in SERVICES:
                    if state.is_up(service):
                        took.setdefault(service, elapsed)
                live.update(_progress(state, took, elapsed))
                if state.healthy:
                    break
                _refuse_hopeless(layout, state.jobs)
            if clock.monotonic() - began > timeout:
                raise DidNotComeUpError(_what_is_missing(layout, await control.state(), timeout))
            await asyncio.sleep(_LOOK_SECONDS)
    if not console.is_terminal:
        console.print()  # there, the live view ends without a line break


def _refuse_hopeless(layout: Layout, jobs: Iterable[JobStatus]) -> None:
    for job in jobs:
        if job.restarts >= HOPELESS_RESTARTS or (job.state is JobState.BACKING_OFF and job.exit_code == 2):
            raise DidNotComeUpError(f"{job.name} does not start: {_last_words(layout, job.name)}")


def _what_is_missing(layout: Layout, state: MachineState, timeout: float) -> str:
    waiting = [service for service in SERVICES if not state.is_up(service)]
    reason = "; ".join(state.details) or _last_words(layout, waiting[0]) if waiting else "nothing"
    return f"not healthy after {timeout:.0f} s: {', '.join(waiting)} ({reason})"


def _last_words(layout: Layout, service: str) -> str:
    lines = last_lines(layout.logs_dir / f"{service}.log", 20)
    telling = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return telling[-1] if telling else "\n".join(lines[-5:]) or "it wrote nothing"


def _progress(state: MachineState, took: dict[str, float], elapsed: float) -> RichTable:
    grid = RichTable.grid(padding=(0, 2))
    for service in SERVICES:
        if service in took:
            grid.add_row(Text("✓", "green"), _TITLES[service], f"{took[service]:.1f} s", "")
        else:
            detail = next((one.detail for one in state.of(service) if not one.healthy), "starting")
            grid.add_row(Text("…", "yellow"), _TITLES[service], f"{elapsed:.1f} s", Text(detail, "dim"))
    return grid


def urls(state: MachineState) -> Table:
    """What to open and point clients at."""
    rows = [
        (_TITLES[service], f"{instance.url}{path}", purpose)
        for service, path, purpose in (
            ("pipecatapp", "", "talk to the agent in a browser"),
            ("moe_gateway", "/v1", "OpenAI clients; model `hearth` is the agent, `main` the model itself"),
        )
        for instance in state.of(service)
    ]
    active = {one.meta.get("model", "?") for one in state.of("llama_expert")}
    rows.append((_TITLES["llama_expert"], ", ".join(sorted(active)), "what answers behind the gateway"))
    return Table("Hearth is up", ("what", "where", "for"), rows, prose=frozenset({"for"}))
