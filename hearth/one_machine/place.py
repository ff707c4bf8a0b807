"""The place that is this machine. What a method needs is loaded when it is called."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hearth.findings import Finding
from hearth.one_machine.control import Control
from hearth.one_machine.layout import Layout
from hearth.one_machine.state import machine_report
from hearth.place import FrontDoor, ModelChange, PlaceState, Writer
from hearth.tables import Report

if TYPE_CHECKING:
    from clusterkit.fetch.part_file import ProgressCallback


class OneMachine:
    """`Place` on this machine: child processes of one launcher, told by its control socket."""

    def __init__(self, layout: Layout) -> None:
        """Nothing is looked at yet."""
        self.layout, self._control = layout, Control(layout)

    async def up(self, *, detach: bool) -> None:
        """See `Place.up`."""
        from clusterkit.config.settings import load_settings
        from hearth.one_machine import startup
        from hearth.settings import HearthSettings

        timeout = load_settings(HearthSettings).up_timeout_s
        start = startup.up_detached if detach else startup.up_in_foreground
        await start(self.layout, timeout)

    async def down(self) -> bool:
        """See `Place.down`."""
        return await self._control.stop()

    async def state(self) -> PlaceState:
        """See `Place.state`."""
        return machine_report(await self._control.state())

    async def logs(self, service: str | None, *, lines: int, follow: bool, write: Writer) -> None:
        """See `Place.logs`."""
        from hearth.one_machine.log_files import show_logs

        await show_logs(self.layout, service, lines, follow, write)

    async def front_door(self) -> FrontDoor:
        """See `Place.front_door`."""
        return await self._control.front_door()

    async def examine(self) -> Sequence[Finding]:
        """See `Place.examine`."""
        from hearth.one_machine.checks import examine_machine

        return await examine_machine(self.layout)

    async def models(self) -> Report:
        """See `Place.models`."""
        from hearth.one_machine.models import models_report

        return await models_report(self.layout)

    async def add_model(
        self, source: str, *, expert: str, sha256: str | None, name: str | None, progress: "ProgressCallback"
    ) -> ModelChange:
        """See `Place.add_model`."""
        from hearth.one_machine.models import add_first_choice

        return await add_first_choice(self.layout, source, expert, sha256, name, progress)

    async def get_model(self, name: str, *, progress: "ProgressCallback") -> ModelChange:
        """See `Place.get_model`."""
        from hearth.one_machine.models import get_listed

        return await get_listed(self.layout, name, progress)

    async def remove_model(self, name: str, *, expert: str) -> ModelChange:
        """See `Place.remove_model`."""
        from hearth.one_machine.models import remove_choice

        return await remove_choice(self.layout, name, expert)

    async def load_model(self, expert: str) -> ModelChange:
        """See `Place.load_model`."""
        from hearth.one_machine.models import load_model

        return await load_model(self.layout, expert)

    async def unload_model(self, expert: str) -> ModelChange:
        """See `Place.unload_model`."""
        from hearth.one_machine.models import unload_model

        return await unload_model(self.layout, expert)
