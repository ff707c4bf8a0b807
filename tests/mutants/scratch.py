"""A copy of the tree with an environment of its own, in which the copy is what is imported."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import psutil

from clusterkit.config.settings import environment
from tests.repository.rules import files_of

ENVIRONMENT = Path(sys.prefix)
WATCHDOG_S = 120.0


class Scratch:
    """A copy of the repository at `root`, until the block is left.

    Its `.venv` consists of links into the environment of this process, but for what names the original: there
    stands the copy. So what a test starts, in any folder and with any environment, imports the copy.
    """

    def __init__(self, root: Path) -> None:
        self.original = root
        self.folder = Path(tempfile.mkdtemp(prefix="hearth-mutants-")).resolve()
        self.root = self.folder / "tree"
        self.python = self.root / ".venv/bin/python"

    def __enter__(self) -> "Scratch":
        for path in files_of(self.original):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.original / path, self.root / path, follow_symlinks=False)
        _link_environment(ENVIRONMENT, self.root / ".venv", self.root)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_processes()
        shutil.rmtree(self.folder, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """The environment for programs that run in the copy."""
        own = environment()
        for name in ("PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "HEARTH_ROOT"):
            own.pop(name, None)
        paths = [str(self.python.parent), *own.get("PATH", "").split(":")]
        kept = [path for path in paths if path != str(ENVIRONMENT / "bin")]
        return {**own, "PATH": ":".join(kept), "VIRTUAL_ENV": str(self.root / ".venv")}

    @contextmanager
    def changed(self, file: str, text: str) -> Iterator[None]:
        """The copy with another text in `file`; as before when the block is left."""
        path = self.root / file
        original = path.read_bytes()
        try:
            self._write(path, text.encode())
            yield
        finally:
            self._write(path, original)

    def _write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        # Python compares seconds and sizes: a mutant of the same length would run as what was before.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def end_processes(self) -> None:
        """End what tests left running: every process with the scratch folder in its command line."""
        processes = [process for process in psutil.process_iter() if self._is_own(process)]
        # They end by themselves, and clean up after tests that were killed.
        psutil.wait_procs([one for one in processes if _is_watchdog(one)], timeout=WATCHDOG_S)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _is_own(self, process: psutil.Process) -> bool:
        return process.pid != os.getpid() and str(self.folder) in _command_line(process)


def _is_watchdog(process: psutil.Process) -> bool:
    return "watchdog.py" in _command_line(process)


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _link_environment(source: Path, target: Path, root: Path) -> None:
    """Make `target` an environment that has all of `source`, but imports `root` where that has a checkout."""
    packages = next((source / "lib").glob("python3*/site-packages"))
    own = target / packages.relative_to(source)
    own.mkdir(parents=True)
    for path in packages.iterdir():
        if path.suffix != ".pth":
            (own / path.name).symlink_to(path)
    (own / "scratch.pth").write_text(f"{root}\n")
    (target / "bin").mkdir()
    for path in (source / "bin").iterdir():
        _link_program(path, target / "bin" / path.name, source, target)
    shutil.copyfile(source / "pyvenv.cfg", target / "pyvenv.cfg")
    (target / "lib64").symlink_to("lib")


def _link_program(program: Path, link: Path, source: Path, target: Path) -> None:
    text = b"" if program.is_symlink() else program.read_bytes()
    if text.startswith(b"#!") and str(source).encode() in text:
        link.write_bytes(text.replace(str(source).encode(), str(target).encode()))
        link.chmod(0o755)
    elif program.is_symlink():
        link.symlink_to(program.resolve())
    else:
        link.symlink_to(program)
