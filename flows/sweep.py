"""The deployment `sweep`: work that no run has done."""

from prefect import flow

from tasks.session import open_watched_session
from tasks.sweep import PARTS, SweepReport, close_sweep, sweep_part


@flow(name="sweep", timeout_seconds=280, persist_result=False)
async def sweep() -> SweepReport:
    """Start what was requested and never started, send what could not be sent, delete what is old.

    If a part fails, the others are done all the same; the run fails at its end, and the next sweep
    tries again.
    """
    async with open_watched_session():
        outcomes = [await sweep_part(name) for name in PARTS]
        return await close_sweep(outcomes)
