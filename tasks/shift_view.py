"""What a shift shows on the page of its run: a progress bar while it works, tables at its end."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from prefect import get_run_logger
from prefect.runtime import flow_run

from aletheia.intake.models import ShiftReport
from aletheia.intake.shift import Shift
from aletheia.store.patience import Patience
from tasks import artifacts, status

MAX_DEAD_LETTERS: Final = 200
"""Rows of the table of dead letters."""

PROGRESS_EVERY_S: Final = 2.0
"""Between two updates of the progress bar, seconds."""


class ShiftView:
    """The artifacts of a shift."""

    def __init__(self, shift: Shift, patience: Patience, bar: artifacts.Progress) -> None:
        self._shift, self._patience, self._bar = shift, patience, bar
        self._is_reported = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, shift: Shift, patience: Patience) -> AsyncGenerator["ShiftView"]:
        """Show the progress of a shift, and its report at the end, also of an interrupted one."""
        view = cls(shift, patience, await artifacts.Progress.begin("tasks reported"))
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
        if total := sum(system.intake.dead.values()):
            newest = await ledger.dead_letters.newest(limit=MAX_DEAD_LETTERS)
            await artifacts.show_dead_letters(newest, total)
        await status.show_status(system)
        return report

    async def _report_interrupted(self) -> None:
        try:
            await self._save_report()
        except Exception:  # noqa: BLE001 - the run has to fail with whatever ended the shift
            get_run_logger().exception("the report of the shift could not be saved")

    async def _move_bar(self) -> None:
        tally, patience = self._shift.poller.held.tally, self._patience
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            obstacle = ""
            if (waited_s := patience.waited_s) is not None:
                obstacle = f"the store is waited for, {waited_s:.0f} s: {patience.reason}"
            done, claimed = tally.succeeded + tally.failed, tally.claimed + tally.taken_over
            await self._bar.move(done, claimed, obstacle)
