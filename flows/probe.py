"""What `aletheia doctor` runs to see that runs are scheduled, started and cancelled."""

import asyncio

from prefect import flow


@flow(name="probe", persist_result=False)
async def probe(seconds: float = 300) -> None:
    """Do nothing for a while, and be cancelled meanwhile."""
    await asyncio.sleep(seconds)
