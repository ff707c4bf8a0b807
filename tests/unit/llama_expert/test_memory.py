"""Free memory of a machine or a container."""

from pathlib import Path

import pytest

from llama_expert.memory import anonymous_memory_mb, free_memory_mb

MB = 1024 * 1024


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with 8000 MB available and no control groups."""
    write(tmp_path, "proc/meminfo", f"MemTotal: {16000 * 1024} kB\nMemAvailable:   {8000 * 1024} kB\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.req("MOD-08")
def test_without_control_groups_the_kernels_figure_counts(machine: Path) -> None:
    assert free_memory_mb(machine) == 8000


@pytest.mark.req("MOD-08")
def test_a_version_2_limit_counts_and_file_cache_is_free(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/box/inner\n")
    write(machine, "sys/fs/cgroup/box/memory.max", f"{1000 * MB}\n")
    write(machine, "sys/fs/cgroup/box/memory.current", f"{600 * MB}\n")
    write(machine, "sys/fs/cgroup/box/memory.stat", f"anon 1\ninactive_file {100 * MB}\n")
    assert free_memory_mb(machine) == 500


def test_a_version_1_limit_counts(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "4:memory:/box\n1:cpu:/\n")
    write(machine, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", f"{4096 * MB}\n")
    write(machine, "sys/fs/cgroup/memory/box/memory.usage_in_bytes", f"{96 * MB}\n")
    assert free_memory_mb(machine) == 4000


def test_a_group_without_a_limit_is_none(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "4:memory:/\n0::/\n")
    write(machine, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    write(machine, "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{96 * MB}\n")
    write(machine, "sys/fs/cgroup/memory.max", "max\n")
    write(machine, "sys/fs/cgroup/memory.current", f"{96 * MB}\n")
    assert free_memory_mb(machine) == 8000


def test_an_overfull_group_has_nothing_left(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/\n")
    write(machine, "sys/fs/cgroup/memory.max", f"{100 * MB}\n")
    write(machine, "sys/fs/cgroup/memory.current", f"{200 * MB}\n")
    assert free_memory_mb(machine) == 0


def test_this_machine_has_some() -> None:
    assert free_memory_mb() > 0


def test_of_a_process_counts_what_becomes_free_when_it_ends(machine: Path) -> None:
    write(machine, "proc/7/status", f"Name: server\nVmRSS: {900 * 1024} kB\nRssAnon:   {300 * 1024} kB\n")
    assert anonymous_memory_mb(7, machine) == 300
    assert anonymous_memory_mb(8, machine) == 0
