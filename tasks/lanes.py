"""The steps of a shift in a lane, beside those that it shares with `poll_tasks`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from prefect import task

from aletheia.intake.lanes.worker import LaneCollector
from aletheia.intake.models import Collected
from aletheia.intake.pipeline import drain_slots
from aletheia.intake.shift import Shift
from tasks.clients.intake import get_slots
from tasks.intake import MAX_REST_S
from tasks.policies import STEP
from tasks.session import current_session


async def next_lane_tick() -> bool:
    """Wait until there is something to take, or a while; `False` when the shift is over."""
    return await current_session().clients.find(Shift).next_tick(await_lane_work)


@task(name="await_lane_work", task_run_name="await-work", **STEP)
async def await_lane_work(seconds: float) -> bool:
    """Wait until there is something to take; `False` if there was nothing.

    It waits in pieces short enough for a suspension to take effect.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + max(0.0, min(seconds, MAX_REST_S))
    while not await has_lane_work():
        left_s = ends_at - loop.time()
        if left_s <= 0:
            return False
        await asyncio.sleep(min(left_s, _poll_s()))
    return True


async def has_lane_work() -> bool:
    """Return whether the shift may take something, and there is something to take."""
    shift = current_session().clients.find(Shift)
    collector = shift.poller.collector
    assert isinstance(collector, LaneCollector)
    return await shift.is_open() and await collector.has_work()


async def drain_lane(
    lane: str,
    collect: Callable[[], Awaitable[Collected]],
    process: Callable[[Collected], Awaitable[Any]],
) -> None:
    """Take tasks of the lane, as many at once as are set, until there is nothing left to take."""
    await drain_slots(
        collect, process, slots=get_slots(lane), has_work=has_lane_work, poll_s=_poll_s()
    )


def _poll_s() -> float:
    return current_session().settings.workers.lane_poll_seconds
