"""What `aletheia doctor` runs to check that runs are scheduled, started and cancelled."""

import asyncio

from prefect import flow

from tasks.ends import soften_ends


@flow(name="probe", persist_result=False)
async def probe(seconds: float = 300) -> None:
    """Do nothing for a while, until it is cancelled."""
    soften_ends()
    await asyncio.sleep(seconds)
