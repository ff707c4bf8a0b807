"""How much main memory this machine, or the container around us, has left."""

from pathlib import Path

KIBIBYTES_PER_MB = 1024
BYTES_PER_MB = 1024 * 1024
#: cgroup v1 says "no limit" with a number near 2**63; anything this high is none.
NO_LIMIT = 1 << 60


def free_memory_mb(root: Path = Path("/")) -> int:
    """Free memory in MB: what the kernel calls available, less where a control group allows less.

    `root` is the folder under which `proc` and `sys` are found. Formats: proc(5), and the kernel's
    admin guides to cgroup v1 (memory) and v2. File cache counts as free, as MemAvailable has it.
    """
    available = _meminfo(root / "proc/meminfo", "MemAvailable") // KIBIBYTES_PER_MB
    return max(0, min([available, *_control_groups(root)]))


def anonymous_memory_mb(pid: int, root: Path = Path("/")) -> int:
    """Memory in MB that becomes free when the process `pid` ends, 0 when there is none.

    Pages of files, as of a model that is mapped, are cache and count as free already; see proc(5).
    """
    for line in _text(root / f"proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name == "RssAnon":
            return int(value.split()[0]) // KIBIBYTES_PER_MB
    return 0


def total_memory_mb(root: Path = Path("/")) -> int:
    """Main memory of this machine in MB, whoever uses it; `root` as in `free_memory_mb`."""
    return _meminfo(root / "proc/meminfo", "MemTotal") // KIBIBYTES_PER_MB


def _meminfo(path: Path, key: str) -> int:
    for line in path.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    raise ValueError(f"{path}: there is no line {key}")


def _control_groups(root: Path) -> list[int]:
    """What each memory-limited control group around this process has left, in MB."""
    left = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            bases = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
            names = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            bases = [root / "sys/fs/cgroup/memory"]
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        for base in bases:
            left += _branch(base, path, *names)
    return left


def _branch(base: Path, path: str, limit_name: str, usage_name: str, cache_key: str) -> list[int]:
    """A group and its parents: each one's limit holds. In a container the path may be the host's own."""
    left = []
    parts = [part for part in path.split("/") if part not in {"", ".."}]
    for depth in range(len(parts) + 1):
        group = base.joinpath(*parts[:depth])
        limit, usage = _number(group / limit_name), _number(group / usage_name)
        if limit is None or usage is None or limit >= NO_LIMIT:
            continue
        cache = _cache(group / "memory.stat", cache_key)
        left.append((limit - max(0, usage - cache)) // BYTES_PER_MB)
    return left


def _cache(path: Path, key: str) -> int:
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None  # "max" is no limit


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""  # no such controller here
