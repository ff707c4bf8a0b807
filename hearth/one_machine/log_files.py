"""What the services of this machine wrote, and what they go on to write."""

import asyncio

from clusterkit.errors import HearthError
from clusterkit.ports.local_jobs import last_lines
from hearth.one_machine.layout import Layout
from hearth.one_machine.services import SERVICES
from hearth.place import Writer

_FOLLOW_SECONDS = 0.3


async def show_logs(layout: Layout, service: str | None, lines: int, follow: bool, write: Writer) -> None:
    """See `Place.logs`."""
    writers = ("hearth", *SERVICES)
    if service is not None and service not in writers:
        raise HearthError(f"there is no service {service!r} (known: {', '.join(writers)})")
    shown = [service] if service else [name for name in writers if (layout.logs_dir / f"{name}.log").exists()]
    for name in shown:
        for line in last_lines(layout.logs_dir / f"{name}.log", lines):
            write(name, line)
    if follow:
        await asyncio.gather(*(_follow(layout, name, write) for name in shown))


async def _follow(layout: Layout, name: str, write: Writer) -> None:
    path = layout.logs_dir / f"{name}.log"
    position = path.stat().st_size if path.exists() else 0
    while True:
        await asyncio.sleep(_FOLLOW_SECONDS)
        size = path.stat().st_size if path.exists() else 0
        position = 0 if size < position else position
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                data = file.read(size - position)
            whole = data[: data.rfind(b"\n") + 1]
            position += len(whole)
            for line in whole.decode("utf-8", "replace").splitlines():
                write(name, line)
