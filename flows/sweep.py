"""The deployment `sweep`: what is left when no run does it."""

from prefect import flow

from tasks.session import open_session
from tasks.sweep import SweepReport, close_sweep, part_names, sweep_part


@flow(name="sweep", timeout_seconds=280, persist_result=False)
async def sweep() -> SweepReport:
    """Start what was requested and never began, send what could not be sent, delete what is old.

    Each part fails alone; the run fails at its end if one did, and the next one tries again.
    """
    async with open_session():
        outcomes = [await sweep_part(name) for name in part_names()]
        return await close_sweep(outcomes)
