"""What a shift shows on the page of its run: a progress bar while it works, tables at its end."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from prefect import get_run_logger
from prefect.runtime import flow_run

from aletheia.intake.models import ShiftReport
from aletheia.intake.shift import Shift
from tasks import artifacts, status

PROGRESS_EVERY_S: Final = 2.0
"""Between two updates of the progress bar, seconds."""


class ShiftView:
    """The artifacts of a shift.

    Args:
        shift: what is shown.
        bar: of the tasks that were reported.
    """

    def __init__(self, shift: Shift, bar: artifacts.Progress) -> None:
        self._shift, self._bar = shift, bar
        self._is_reported = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, shift: Shift) -> AsyncGenerator["ShiftView"]:
        """Show the progress of a shift, and its report at the end, also of an interrupted one."""
        view = cls(shift, await artifacts.Progress.begin("tasks reported"))
        moving = asyncio.create_task(view._move_bar())
        try:
            yield view
        finally:
            moving.cancel()
            if not view._is_reported:
                await asyncio.shield(view._report_interrupted())

    async def finish(self) -> ShiftReport:
        """Fill the bar, and save the tables; return what the shift did."""
        await self._bar.finish()
        return await self._save_report()

    async def _save_report(self) -> ShiftReport:
        self._is_reported = True
        report = self._shift.report()
        await artifacts.show_shift_report(report)
        ledger = self._shift.poller.held.ledger
        system = await status.read_system_status(ledger.overview, str(flow_run.id))
        await artifacts.show_intake_status(system.intake)
        await status.show_status(system)
        return report

    async def _report_interrupted(self) -> None:
        try:
            await self._save_report()
        except Exception:  # noqa: BLE001 - the run has to fail with whatever ended the shift
            get_run_logger().exception("the report of the shift could not be saved")

    async def _move_bar(self) -> None:
        tally, shown = self._shift.poller.held.tally, 0
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            done = tally.succeeded + tally.failed
            if done != shown:
                shown = done
                await self._bar.move(done, tally.claimed + tally.taken_over)
