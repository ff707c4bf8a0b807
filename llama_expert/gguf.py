"""Reading the header of a GGUF file: is it one, is it whole, how much memory will it take.

Layout: the specification docs/gguf.md in the repository ggml-org/ggml, versions 2 and 3. Every length
in the file is checked against what is left of it, so hostile bytes end in `GgufError`, never in a crash.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from clusterkit.errors import HearthError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MEBIBYTE = 1024 * 1024
#: Main memory beside weights and KV cache: llama.cpp's compute buffers at a batch of 512, and the process.
#: SmolLM2-135M was measured at 264 MB resident with a full context of 4096, of which 184 are file and cache.
OVERHEAD_MB = 96
MAX_DIMENSIONS = 4  #: GGML_MAX_DIMS
MAX_NAME = 65_535  #: longest key or tensor name the specification allows
MAX_STRING = 16 * MEBIBYTE  #: far above the longest chat template
MAX_ARRAY_DEPTH = 4
MAX_KEPT_ARRAY = 1_024  #: longer arrays (vocabularies) are stepped over, not kept
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
#: ggml tensor type to (elements per block, bytes per block): ggml_type_size() of ggml.c.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip

MetadataValue = int | float | bool | str | tuple[int, ...] | None


class GgufError(HearthError):
    """The file is no usable GGUF."""

    code = "invalid_gguf"


class TruncatedGgufError(GgufError):
    """The file starts as a GGUF but ends too early."""

    code = "truncated_gguf"


@dataclass(frozen=True)
class GgufHeader:
    """What the header says."""

    version: int
    tensor_count: int
    metadata: Mapping[str, MetadataValue]  #: None for arrays that were not kept
    minimum_size: int  #: bytes the whole file must have


def read_header(path: Path) -> GgufHeader:
    """Read and check `path`. Raises `GgufError`, `TruncatedGgufError`, or OSError when it cannot be read."""
    with path.open("rb") as file:
        return parse_header(file, path.stat().st_size, str(path))


def parse_header(file: BinaryIO, size: int, source: str) -> GgufHeader:
    """Read the header at the start of `file`, which is `size` bytes long. Raises `GgufError`."""
    reader = _Reader(file, size, source)
    if reader.take(min(4, size)) != MAGIC:
        raise GgufError(f"{source}: not a GGUF model file (it does not start with {MAGIC.decode()})")
    version = reader.integer("<I")
    if version not in VERSIONS:
        raise GgufError(f"{source}: GGUF version {version} is not supported (supported: 2, 3)")
    tensor_count, entry_count = reader.integer("<Q"), reader.integer("<Q")
    metadata: dict[str, MetadataValue] = {}
    for _ in range(entry_count):
        key = reader.string(MAX_NAME)
        metadata[key] = reader.value(reader.integer("<I"))
    end = max((reader.tensor_end() for _ in range(tensor_count)), default=0)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise GgufError(f"{source}: general.alignment is {alignment!r}, expected a positive whole number")
    minimum = -(-reader.position // alignment) * alignment + end if tensor_count else reader.position
    if size < minimum:
        raise TruncatedGgufError(
            f"{source}: the file has {size} bytes of at least {minimum}; it is cut short"
        )
    return GgufHeader(version, tensor_count, metadata, minimum)


def estimate_memory_mb(header: GgufHeader, size: int, context: int) -> int:
    """Main memory in MB that the model takes with a context of `context` tokens; `size` in bytes.

    File, plus KV cache (keys and values of every layer at 16 bits, llama.cpp's default cache type), plus
    `OVERHEAD_MB`. Missing figures count as 0: models without attention have no KV cache.
    """
    architecture = header.metadata.get("general.architecture")

    def figure(name: str) -> MetadataValue:
        return header.metadata.get(f"{architecture}.{name}")

    layers, heads, width = (
        _number(figure(n)) for n in ("block_count", "attention.head_count", "embedding_length")
    )
    per_layer = figure("attention.head_count_kv")
    kv_heads = sum(per_layer) if isinstance(per_layer, tuple) else layers * (_number(per_layer) or heads)
    head = width // heads if heads else 0
    key = _number(figure("attention.key_length")) or head
    value = _number(figure("attention.value_length")) or head
    cache = kv_heads * context * (key + value) * 2
    return math.ceil((size + cache) / MEBIBYTE) + OVERHEAD_MB


def _number(value: MetadataValue) -> int:
    if isinstance(value, tuple):
        return max(value, default=0)
    return value if isinstance(value, int) else 0


class _Reader:
    def __init__(self, file: BinaryIO, size: int, source: str) -> None:
        self._file, self._size, self._source = file, size, source
        self.position = 0

    def take(self, count: int) -> bytes:
        if count > self._size - self.position:
            raise self._cut_short()
        data = self._file.read(count)
        if len(data) != count:
            raise self._cut_short()
        self.position += count
        return data

    def integer(self, layout: str) -> int:
        return int(self._scalar(layout))

    def string(self, limit: int) -> str:
        length = self.integer("<Q")
        if length > limit:
            raise GgufError(
                f"{self._source}: a name of {length} bytes at byte {self.position} (limit {limit})"
            )
        return self.take(length).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> MetadataValue:
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string(MAX_STRING)
        if kind == _ARRAY and depth < MAX_ARRAY_DEPTH:
            return self._array(depth)
        raise GgufError(f"{self._source}: unknown value type {kind} at byte {self.position}")

    def tensor_end(self) -> int:
        """Where the next tensor ends, in bytes from the start of the tensor data."""
        self.string(MAX_NAME)
        dimensions = self.integer("<I")
        if dimensions > MAX_DIMENSIONS:
            raise GgufError(f"{self._source}: a tensor of {dimensions} dimensions (limit {MAX_DIMENSIONS})")
        elements = math.prod(self.integer("<Q") for _ in range(dimensions))
        kind, offset = self.integer("<I"), self.integer("<Q")
        block, size = _BLOCKS.get(kind, (1, 0))
        return offset + elements // block * size

    def _scalar(self, layout: str) -> int | float | bool:
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        assert isinstance(value, int | float)
        return value

    def _array(self, depth: int) -> tuple[int, ...] | None:
        kind, count = self.integer("<I"), self.integer("<Q")
        if kind in _SCALARS:
            width = struct.calcsize(_SCALARS[kind])
            if count > MAX_KEPT_ARRAY or kind in {6, 12}:
                self._skip(count * width)
                return None
            return struct.unpack(f"<{count}{_SCALARS[kind][1]}", self.take(count * width))
        for _ in range(count):
            if kind == _STRING:
                self._skip(self.integer("<Q"))
            else:
                self.value(kind, depth + 1)
        return None

    def _skip(self, count: int) -> None:
        if count > self._size - self.position:
            raise self._cut_short()
        self._file.seek(count, 1)
        self.position += count

    def _cut_short(self) -> TruncatedGgufError:
        return TruncatedGgufError(
            f"{self._source}: the header needs more than the {self._size} bytes there are; it is cut short"
        )
