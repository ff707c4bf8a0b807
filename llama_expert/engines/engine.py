"""What an engine is: a way to start a program that serves one model over HTTP."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Slots of a model server: requests it works on at once. They share the context (one KV cache), so a
#: second slot costs nothing while it is idle, and a short question need not wait for a long answer.
PARALLEL = 2
#: Prompts kept in main memory for reuse, in MB. llama.cpp's default of 8192 would eat a small machine.
PROMPT_CACHE_MB = 32
#: Tokens that a repeat penalty looks back over. llama.cpp's 64 are shorter than the paragraphs that a
#: small model goes on repeating; with 256 the built-in one came to an end in every trial.
REPEAT_WINDOW = 256


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a model server is to be started with."""

    model_path: Path
    alias: str  #: the model's name in answers
    context: int  #: tokens
    threads: int
    repeat_penalty: float  #: for requests that do not say; 1 is off
    port: int  #: on loopback; 0 when the engine finds one itself and says which
    key_file: Path  #: holds the key that callers must present, and nothing else
    rpc_servers: tuple[str, ...] = ()  #: HOST:PORT of llama.cpp RPC servers over which the model is split


class ModelEngine(Protocol):
    """One kind of model server."""

    @property
    def announces(self) -> bool:
        """Whether the program finds a port itself and prints `{"listening": URL}` once it is ready."""
        ...

    def command(self, launch: Launch) -> tuple[str, ...]:
        """Program and arguments; the key itself is never among them, as any user could read it there."""
        ...

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The environment to start it with."""
        ...


@dataclass(frozen=True)
class PythonEngine:
    """An engine that is a Python module of ours, run with the interpreter that runs us."""

    module: str
    announces: bool = True

    def command(self, launch: Launch) -> tuple[str, ...]:
        """See `ModelEngine.command`."""
        options = {
            "--model": launch.model_path,
            "--alias": launch.alias,
            "--context": launch.context,
            "--threads": launch.threads,
            "--repeat-penalty": launch.repeat_penalty,
            "--key-file": launch.key_file,
        }
        pairs = (str(part) for option in options.items() for part in option)
        return (sys.executable, "-m", self.module, *pairs)

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """See `ModelEngine.environment`. Idle OpenMP threads must not spin: they starve each other."""
        return {**inherited, "OMP_WAIT_POLICY": "passive"}


@dataclass(frozen=True)
class ChildOptions:
    """`Launch` as the child program reads it from its arguments."""

    model: str
    alias: str
    context: int
    threads: int
    repeat_penalty: float
    key: str


def read_options(arguments: list[str]) -> ChildOptions:
    """Parse the arguments that `PythonEngine.command` makes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--repeat-penalty", type=float, required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    read = parser.parse_args(arguments)
    key = read.key_file.read_text(encoding="ascii").strip()
    return ChildOptions(read.model, read.alias, read.context, read.threads, read.repeat_penalty, key)


def announce(url: str) -> None:
    """Tell the parent that the server answers at `url`."""
    sys.stdout.write(json.dumps({"listening": url}) + "\n")
    sys.stdout.flush()


def announced_url(line: str) -> str | None:
    """The URL in a line that `announce` wrote, or None for any other line."""
    if not line.startswith('{"listening"'):
        return None
    try:
        url = json.loads(line)["listening"]
    except (json.JSONDecodeError, KeyError):
        return None
    return url if isinstance(url, str) else None
