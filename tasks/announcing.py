"""Events of Prefect about the system, sent where it becomes true (SPEC §7).

An event that cannot be sent never fails the work it is about: what follows from the store is sent
at the next tick.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from prefect import task

from aletheia.errors import AletheiaError
from aletheia.reasoning.models import AIReasoningOutput
from aletheia.system_events import Announcer, SystemEvent
from tasks.clients.events import get_announcer
from tasks.clients.metering import get_breakers, get_spending
from tasks.policies import STEP
from tasks.session import current_session

log = logging.getLogger("aletheia.events")

SEND_WITHIN_S: Final = 10.0
"""For all events of a tick, seconds; whoever sends them has other work to do."""


@task(name="announce_changes", task_run_name="announce", **STEP)
async def announce_changes() -> int:
    """Send events of what breakers, budgets and dead letters came to; return how many."""

    async def send(announcer: Announcer) -> Sequence[SystemEvent]:
        session = current_session()
        return await announcer.announce_changes(
            await (await get_breakers()).states(),
            await (await get_spending()).budgets(session.run_id),
            near=session.settings.findings.finding_budget_share,
            run_id=session.run_id,
        )

    return len(await _attempt(send) or ())


async def announce(event: SystemEvent) -> None:
    """Send an event, unless it was sent before."""
    await _attempt(lambda announcer: announcer.announce([event]))


async def announce_reasoning(output: AIReasoningOutput) -> None:
    """Send what differs from the reasoning run that was announced last."""
    await _attempt(lambda announcer: announcer.announce_reasoning(output))


async def _attempt(
    send: Callable[[Announcer], Awaitable[Sequence[SystemEvent]]],
) -> Sequence[SystemEvent] | None:
    """Return what was sent; `None` where Prefect, or the store, is away."""
    try:
        async with asyncio.timeout(SEND_WITHIN_S):
            return await send(await get_announcer())
    except (AletheiaError, TimeoutError) as error:
        log.warning("events were not sent: %s", str(error) or "too slow")
        return None
