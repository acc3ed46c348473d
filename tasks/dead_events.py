"""Events that receivers did not get, sent once more (SPEC §4, Webhook)."""

from prefect import task

from aletheia.events.dead_events import DeadEvents, Replayed
from tasks.clients.events import get_event_sink
from tasks.clients.store import get_store
from tasks.policies import STEP, PartsFailed
from tasks.session import open_session


class EventsStayDead(PartsFailed):
    """Some events could not be sent this time either; the others were."""

    code = "events_stay_dead"


@task(name="replay_dead_events", task_run_name="replay", **STEP)
async def replay_dead_events(ids: list[str] | None) -> Replayed:
    """Send dead events once more, all or those with these ids. Raises `EventsStayDead`."""
    async with open_session():
        replayed = await DeadEvents(await get_store()).replay(ids, get_event_sink)
    if replayed.failures:
        raise EventsStayDead((f"{replayed.sent} were sent", *replayed.failures))
    return replayed
