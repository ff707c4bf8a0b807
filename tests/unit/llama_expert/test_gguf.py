"""Reading GGUF headers, good and hostile."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_expert.gguf import (
    MEBIBYTE,
    OVERHEAD_MB,
    GgufError,
    GgufHeader,
    TruncatedGgufError,
    estimate_memory_mb,
    parse_header,
    read_header,
)


def parse(data: bytes) -> GgufHeader:
    return parse_header(io.BytesIO(data), len(data), "test.gguf")


def test_a_whole_file_is_read(make_gguf: Callable[..., Path]) -> None:
    path = make_gguf(metadata={"llama.block_count": 30}, tensors=2)
    header = read_header(path)
    assert (header.version, header.tensor_count, header.minimum_size) == (3, 2, path.stat().st_size)
    assert header.metadata["llama.block_count"] == 30


def test_every_shorter_version_of_a_file_is_noticed(make_gguf_bytes: Callable[..., bytes]) -> None:
    whole = make_gguf_bytes({"a": "b"}, tensors=2)
    for length in range(4, len(whole)):
        with pytest.raises(TruncatedGgufError, match="cut short"):
            parse(whole[:length])


@pytest.mark.parametrize("data", [b"", b"GG", b"<!doctype html>", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_gguf_is_called_so(data: bytes) -> None:
    with pytest.raises(GgufError, match="not a GGUF"):
        parse(data)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(GgufError, match="version 9 is not supported"):
        parse(b"GGUF" + struct.pack("<IQQ", 9, 0, 0))


def test_a_header_that_claims_absurd_sizes_is_refused_at_once() -> None:
    huge = 2**63
    with pytest.raises(GgufError, match="a name of"):
        parse(b"GGUF" + struct.pack("<IQQ", 3, 0, huge) + struct.pack("<Q", huge))
    array = struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 10, huge)
    with pytest.raises(TruncatedGgufError):
        parse(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + array)


def test_arrays_inside_arrays_end_somewhere() -> None:
    nested = struct.pack("<IQ", 9, 1) * 1000
    with pytest.raises(GgufError):
        parse(
            b"GGUF"
            + struct.pack("<IQQ", 3, 0, 1)
            + struct.pack("<Q", 1)
            + b"k"
            + struct.pack("<I", 9)
            + nested
        )


@given(st.binary(max_size=400))
def test_no_bytes_cause_anything_but_a_gguf_error(data: bytes) -> None:
    for candidate in (data, b"GGUF" + data, b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + data):
        try:
            parse(candidate)
        except GgufError:
            continue


@given(st.data())
def test_no_damage_to_a_good_file_causes_anything_but_a_gguf_error(data: st.DataObject) -> None:
    entry = struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 4, 3) + struct.pack("<III", 1, 2, 3)
    tensor = struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 8, 0, 0)
    good = bytearray(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + entry + tensor + bytes(64))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(bytes(good))
    except GgufError:
        return


def test_memory_is_file_plus_cache_plus_overhead() -> None:
    figures: dict[str, int | str | tuple[int, ...]] = {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
    }
    header = GgufHeader(3, 1, figures, 0)
    # Llama-3-8B's cache is known to take 512 MB at 4096 tokens and 16 bits.
    assert estimate_memory_mb(header, 4000 * MEBIBYTE, 4096) == 4000 + 512 + OVERHEAD_MB


def test_memory_of_a_model_with_attention_in_some_layers_counts_those() -> None:
    figures: dict[str, int | str | tuple[int, ...]] = {
        "general.architecture": "lfm2",
        "lfm2.block_count": 4,
        "lfm2.attention.head_count": 32,
        "lfm2.attention.head_count_kv": (0, 8, 0, 8),
        "lfm2.attention.key_length": 64,
        "lfm2.attention.value_length": 64,
    }
    assert estimate_memory_mb(GgufHeader(3, 1, figures, 0), 0, 4096) == 16 + OVERHEAD_MB
