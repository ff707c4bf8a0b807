"""`python -m llama_expert`: wires the model servers of this machine and runs them until SIGTERM."""

import asyncio
import sys
import uuid
from collections.abc import Sequence

from clusterkit.clock import SystemClock
from clusterkit.cluster.open_registry import open_registry
from clusterkit.config.catalogue import Catalogue, ExpertSpec
from clusterkit.config.environment import environment
from clusterkit.config.settings import load_settings
from clusterkit.config.suggest import suggest
from clusterkit.errors import SettingsError
from clusterkit.http.guard import service_guard
from clusterkit.http.health import Health
from clusterkit.http.process import run
from clusterkit.http.serve import serve
from clusterkit.http.tokens import ensure_token, service_token
from clusterkit.ports.registry import Instance
from clusterkit.proxy.exchange import Deadlines
from clusterkit.proxy.upstream import UpstreamPool
from clusterkit.storage.hashes import VerifiedHashes
from clusterkit.telemetry.logs import configure_logging
from clusterkit.telemetry.metrics import Metrics
from llama_expert.app import SERVICE, ExpertProxy, expert_app, expert_health, instances
from llama_expert.control import BASE_PATH
from llama_expert.engines.engine import ModelEngine, PythonEngine
from llama_expert.engines.llama_server import LlamaServerEngine
from llama_expert.kept_server import ServerOptions
from llama_expert.lists import ListReader
from llama_expert.memory import anonymous_memory_mb, free_memory_mb
from llama_expert.model_file import ModelFiles
from llama_expert.model_servers import ModelServers
from llama_expert.settings import LlamaExpertSettings

ENGINE_KEY = "llama_engine"  #: the token file that holds what model servers ask of us
#: Seconds. The gateway in front has its own, shorter ones; these only end what hangs for good.
DEADLINES = Deadlines(connect=2.0, first_byte=900.0, idle=300.0)


def engine_of(settings: LlamaExpertSettings) -> ModelEngine:
    """The engine that the settings name. Raises `SettingsError`."""
    if settings.engine == "llama-server":
        binary = settings.llama_server_binary
        if binary is None or not binary.is_file():
            raise SettingsError(
                f"LLAMA_EXPERT_LLAMA_SERVER_BINARY={str(binary or '')!r}: the engine 'llama-server' needs "
                "the path of that program; or set LLAMA_EXPERT_ENGINE to xllamacpp"
            )
        return LlamaServerEngine(binary)
    return PythonEngine(f"llama_expert.engines.{settings.engine.replace('-', '_')}")


def experts_of(settings: LlamaExpertSettings, catalogue: Catalogue) -> tuple[ExpertSpec, ...]:
    """The experts to serve here. Raises `SettingsError` for one that the catalogue does not have."""
    for name in settings.experts:
        if name not in catalogue.experts:
            raise SettingsError(
                f"LLAMA_EXPERT_EXPERTS: unknown expert {name!r}{suggest(name, catalogue.experts)}"
            )
    return tuple(
        expert
        for name, expert in catalogue.experts.items()
        if not settings.experts or name in settings.experts
    )


def make_model_servers(settings: LlamaExpertSettings, clock: SystemClock) -> ModelServers:
    """The servers for `settings`. Raises `HearthError` when the catalogue or a setting is wrong."""
    reader = ListReader(
        settings.models_file, settings.own_models, lambda catalogue: experts_of(settings, catalogue)
    )
    files = ModelFiles(settings.models_folder, VerifiedHashes(settings.data_dir / "verified.json"))

    def free_mb(servers: Sequence[int]) -> int:
        measured = free_memory_mb() if settings.memory_mb is None else settings.memory_mb
        own = sum(map(anonymous_memory_mb, servers)) if settings.memory_mb is None else 0
        return max(0, measured + own - settings.reserve_mb)

    ensure_token(settings.own_secrets_dir, ENGINE_KEY)
    options = ServerOptions(
        engine=engine_of(settings),
        environment=environment(),
        key_file=settings.own_secrets_dir / f"{ENGINE_KEY}.token",
        threads=settings.threads,
        context=settings.context,
        load_timeout=settings.load_timeout_s,
        wait_timeout=settings.wait_timeout_s,
        drain_timeout=settings.drain_timeout_s,
        rpc_servers=settings.rpc_servers,
        rpc_memory_mb=settings.rpc_server_memory_mb * len(settings.rpc_servers),
    )
    return ModelServers(
        reader.read(),
        read_lists=reader.read,
        inspect=files.inspect,
        free_mb=free_mb,
        options=options,
        clock=clock,
    )


async def serve_experts(settings: LlamaExpertSettings) -> None:
    """Serve until SIGTERM. Raises `HearthError` when the service cannot start."""
    clock = SystemClock()
    servers = make_model_servers(settings, clock)
    metrics = Metrics()
    pool = UpstreamPool(DEADLINES)
    key = ensure_token(settings.own_secrets_dir, ENGINE_KEY)
    proxy = ExpertProxy(
        expert_app(servers, metrics),
        servers,
        pool=pool,
        key=key,
        metrics=metrics,
        clock=clock,
        new_id=lambda: uuid.uuid4().hex,
    )
    guarded = service_guard(proxy, service_token(settings, SERVICE), paths=(BASE_PATH,))

    async def health() -> Health:
        return expert_health(servers)

    def announced(address: str, port: int) -> Sequence[Instance]:
        return instances(servers, settings.instance_id, address, port)

    async with open_registry(settings, clock) as registry, asyncio.TaskGroup() as group:
        supervising = group.create_task(servers.run(), name="supervise")
        try:
            await serve(
                guarded,
                name=SERVICE,
                settings=settings,
                registry=registry,
                health=health,
                instances=announced,
                authenticated=True,
            )
        finally:
            supervising.cancel()
            await pool.close()


async def main() -> None:
    """Serve until SIGTERM. Raises `HearthError` when the service cannot start."""
    settings = load_settings(LlamaExpertSettings)
    configure_logging(SERVICE, settings.log_level, settings.log_format)
    await serve_experts(settings)


if __name__ == "__main__":
    sys.exit(run(main))
