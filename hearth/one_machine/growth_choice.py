"""Which models a machine would do better with than with what it has. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clusterkit.config.catalogue import ModelSpec

#: Slower than this, an answer of a few sentences is no conversation.
MIN_TOKENS_PER_S = 8.0
#: Nothing larger is fetched unasked.
MAX_BYTES = 2 * 10**9
#: Below this much free disk nothing is fetched unasked.
MIN_FREE_DISK = 10 * 10**9
#: Every token reads all weights once. What one thread gets through a second: SmolLM2-135M (101 MB) made 90
#: tokens/s with one thread of a 2-core virtual machine.
BYTES_PER_S_AND_THREAD = 9e9
#: Two channels of DDR4-2400 have 38 GB/s on paper; llama.cpp gets about two thirds of that.
MEMORY_BYTES_PER_S = 25e9


@dataclass(frozen=True)
class Machine:
    """What a model has to fit."""

    room_mb: int  #: main memory that models may use
    threads: int  #: of a model server


def expected_tokens_per_s(size: int, threads: int) -> float:
    """How fast a dense model of `size` bytes is expected to answer on `threads` threads of a processor."""
    return min(threads * BYTES_PER_S_AND_THREAD, MEMORY_BYTES_PER_S) / size


def better_models(
    models: Sequence[ModelSpec], here: Collection[str], machine: Machine
) -> tuple[ModelSpec, ...]:
    """Those of an expert's `models` to fetch unasked, most wanted first.

    `models` are in the order of its list and `here` the names of those whose files are on this machine:
    what stands behind one of them, or fits neither memory, size nor speed, or has no hash, is none of them.
    """
    wanted: list[ModelSpec] = []
    for model in models:
        if model.name in here and model.memory_mb <= machine.room_mb:
            break
        if _is_suitable(model, machine):
            wanted.append(model)
    return tuple(wanted)


def _is_suitable(model: ModelSpec, machine: Machine) -> bool:
    return (
        model.sha256 is not None
        and model.bytes is not None
        and model.bytes <= MAX_BYTES
        and model.memory_mb <= machine.room_mb
        and expected_tokens_per_s(model.bytes, machine.threads) >= MIN_TOKENS_PER_S
    )
