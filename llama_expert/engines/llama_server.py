"""llama.cpp's own `llama-server` program, as a cluster builds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama_expert.engines.engine import PARALLEL, PROMPT_CACHE_MB, REPEAT_WINDOW, Launch


@dataclass(frozen=True)
class LlamaServerEngine:
    """Starts the given binary. Options: llama.cpp, tools/server/README.md."""

    binary: Path
    announces: bool = False

    def command(self, launch: Launch) -> tuple[str, ...]:
        """See `ModelEngine.command`."""
        options = {
            "--model": launch.model_path,
            "--alias": launch.alias,
            "--ctx-size": launch.context,
            "--threads": launch.threads,
            "--threads-batch": launch.threads,
            "--repeat-penalty": launch.repeat_penalty,
            "--repeat-last-n": REPEAT_WINDOW,
            "--parallel": PARALLEL,
            "--cache-ram": PROMPT_CACHE_MB,
            "--host": "127.0.0.1",
            "--port": launch.port,
            "--api-key-file": launch.key_file,
            "--cors-origins": "http://127.0.0.1",
            "--fit": "off",
        }
        pairs = tuple(str(part) for option in options.items() for part in option)
        if launch.rpc_servers:
            pairs = (*pairs, "--rpc", ",".join(launch.rpc_servers))
        flags = ("--kv-unified", "--no-ui", "--no-slots", "--metrics", "--offline", "--jinja")
        return (str(self.binary), *pairs, *flags)

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """See `ModelEngine.environment`. LLAMA_ARG_* variables would change its options behind our back."""
        kept = {name: value for name, value in inherited.items() if not name.startswith("LLAMA_ARG_")}
        # A debugger's backtrace would push what went wrong out of the last lines.
        return {**kept, "GGML_NO_BACKTRACE": "1"}
