"""A person's own package index, as pip may be told of it: a folder of wheels that hold parts of a file."""

import os
import zipfile
from pathlib import Path


def part_wheel(index: Path, number: int, content: bytes, name: str = "voice") -> Path:
    """A wheel with part `number`, where the index keeps it."""
    path = index / f"{name}_{number}-1.0-py3-none-any.whl"
    info = f"{name}_{number}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}_{number}/data/part{number:02}.bin", content)
        archive.writestr(f"{name}_{number}/data/decoy.bin", b"decoy")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}-{number}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def parts_source(name: str = "voice", parts: int = 3) -> dict[str, object]:
    """What a catalogue says of these wheels."""
    path = f"{name}_{{n}}/data/part{{n:02}}.bin"
    return {"registry": "pypi", "name": f"{name}-{{n}}", "version": "1.0", "parts": parts, "path": path}


def pip_settings(index: Path) -> dict[str, str]:
    """The environment that tells pip to look nowhere else."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}
