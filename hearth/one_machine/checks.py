"""`hearth doctor`: checks every part and says how to mend what is broken."""

import asyncio
import ctypes.util
import importlib.util
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterable

import httpx

from clusterkit.config.catalogue import load_catalogue
from clusterkit.config.settings import load_settings
from clusterkit.errors import HearthError
from clusterkit.ports.jobs import JobState
from clusterkit.storage.hashes import VerifiedHashes
from hearth.findings import Finding, Verdict, broken, good
from hearth.one_machine.control import Control
from hearth.one_machine.layout import Layout
from hearth.one_machine.lock import holder
from hearth.one_machine.startup import check_ports
from hearth.questions import check_answers
from llama_expert.choose import FileFacts, needed_mb
from llama_expert.memory import free_memory_mb
from llama_expert.model_file import inspect_model
from llama_expert.settings import LlamaExpertSettings
from moe_gateway.settings import GatewaySettings
from pipecatapp.settings import PipecatappSettings

LOW_DISK_MB = 1024  #: under this a database or a log may soon fail to be written
HEALTH_SECONDS = 5.0


_Check = Callable[[Layout], Iterable[Finding]]


async def examine_machine(layout: Layout) -> list[Finding]:
    """Every check's findings. A check that cannot run is itself a finding."""
    running = holder(layout.lock_file) is not None
    checks: list[tuple[str, _Check]] = [
        ("programs", _programs),
        ("settings", _settings),
        ("state folder", _state_folder),
        ("models", _models),
        ("databases", _databases),
    ]
    if not running:
        checks.append(("ports", _ports))
    findings: list[Finding] = []
    for part, check in checks:
        try:
            findings += await asyncio.to_thread(_all_of, check, layout)
        except (HearthError, OSError) as error:
            findings.append(broken(part, str(error), "mend what the message names, then run this again"))
    if not running:
        return [*findings, _not_running()]
    for running_checks in (_services(layout), check_answers(Control(layout).front_door)):
        findings += [finding async for finding in running_checks]
    return findings


def _all_of(check: _Check, layout: Layout) -> list[Finding]:
    return list(check(layout))


def _not_running() -> Finding:
    return Finding("services", Verdict.DOUBTFUL, "Hearth is not running", "start it with: hearth up")


def _programs(_: Layout) -> Iterable[Finding]:
    yield good("python", ".".join(map(str, sys.version_info[:3])))
    for program, package in (("setpriv", "util-linux"),):
        path = shutil.which(program)
        yield (
            good(program, path)
            if path
            else broken(program, "not found", f"sudo apt-get install -y {package}")
        )
    if ctypes.util.find_library("gomp") is None:
        yield broken("libgomp", "not found", "sudo apt-get install -y libgomp1")
    if importlib.util.find_spec("xllamacpp") is None:
        yield broken("xllamacpp", "the bundled model server is not installed", "run ./bootstrap.sh again")
    else:
        yield good("xllamacpp", "installed")


def _settings(_: Layout) -> Iterable[Finding]:
    for kind in (LlamaExpertSettings, GatewaySettings, PipecatappSettings):
        name = str(kind.model_config.get("env_prefix", "")).rstrip("_").lower()
        try:
            load_settings(kind)
            yield good(f"settings of {name}", "read")
        except HearthError as error:
            yield broken(f"settings of {name}", str(error), "set the variables that the message names")


def _state_folder(layout: Layout) -> Iterable[Finding]:
    layout.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(layout.home).free // 2**20
    detail = f"{layout.home}: {free} MB free"
    if free < LOW_DISK_MB:
        yield Finding("disk", Verdict.DOUBTFUL, detail, f"free at least {LOW_DISK_MB} MB")
    else:
        yield good("disk", detail)
    open_to_others = [
        path for path in (layout.home / "secrets").glob("*") if path.is_file() and path.stat().st_mode & 0o077
    ]
    if open_to_others:
        names = " ".join(map(str, open_to_others))
        yield broken("secrets", f"others may read {names}", f"chmod 600 {names}")
    else:
        yield good("secrets", "readable by the owner alone")


def _models(layout: Layout) -> Iterable[Finding]:
    catalogue = load_catalogue(layout.models_file, layout.own_models_file)
    settings = load_settings(LlamaExpertSettings)
    hashes = VerifiedHashes(layout.home / "data" / "verified.json")
    running = holder(layout.lock_file) is not None
    free = (settings.memory_mb or free_memory_mb()) - settings.reserve_mb
    for name, expert in catalogue.experts.items():
        facts = {model.name: inspect_model(model, layout.models_dir, hashes) for model in expert.models}
        usable = [
            model.name
            for model in expert.models
            if _is_whole(facts[model.name]) and (running or needed_mb(model, facts[model.name]) <= free)
        ]
        if usable:
            yield good(f"models of {name}", f"{usable[0]} can be used")
        else:
            reasons = "; ".join(f"{model}: {fact.reason or 'does not fit'}" for model, fact in facts.items())
            yield broken(f"models of {name}", reasons, f"hearth model add PATH|URL --expert {name}")


def _is_whole(facts: FileFacts) -> bool:
    return facts.reason is None


def _databases(layout: Layout) -> Iterable[Finding]:
    for path in sorted((layout.home / "data").glob("*.db")):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
        except sqlite3.DatabaseError as error:
            verdict = str(error)
        finally:
            connection.close()
        if verdict == "ok":
            yield good(f"database {path.name}", "intact")
        else:
            remedy = f"stop Hearth, then restore {path} from a backup or move it away"
            yield broken(f"database {path.name}", verdict, remedy)


def _ports(_: Layout) -> Iterable[Finding]:
    try:
        check_ports()
    except HearthError as error:
        yield broken("ports", str(error), "stop that program, or choose another port")
    else:
        yield good("ports", "free")


async def _services(layout: Layout) -> AsyncIterator[Finding]:
    state = await Control(layout).state()
    for job in state.jobs:
        if job.state is not JobState.RUNNING:
            yield broken(job.name, f"{job.state}, {job.restarts} restarts", f"hearth logs {job.name}")
            continue
        for url in sorted({f"http://{one.address}:{one.port}" for one in state.of(job.name)}):
            yield await _health(job.name, url)


async def _health(service: str, url: str) -> Finding:
    try:
        async with httpx.AsyncClient(timeout=HEALTH_SECONDS) as client:
            answer = await client.get(f"{url}/health")
            body = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        return broken(service, f"{url}/health: {error}", f"hearth logs {service}")
    if answer.status_code == httpx.codes.OK:
        return good(service, f"healthy at {url}")
    wrong = {name: check.get("detail") for name, check in body.get("checks", {}).items() if not check["ok"]}
    return broken(service, f"{url}: {wrong}", f"hearth logs {service}")
