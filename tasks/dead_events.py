"""Events that receivers did not get, sent once more (SPEC §4, Webhook)."""

from prefect import task
from pydantic import BaseModel, ConfigDict

from aletheia.events.dead_events import DeadEvents
from aletheia.events.log import EventLog
from tasks.clients.events import get_event_sink
from tasks.clients.store import get_store
from tasks.policies import STEP, PartsFailed
from tasks.session import open_session


class ReplayedEvents(BaseModel):
    """How many events were sent."""

    model_config = ConfigDict(frozen=True)

    sent: int


class EventsStayDead(PartsFailed):
    """Some events could not be sent this time either; the others were."""

    code = "events_stay_dead"


@task(name="replay_dead_events", task_run_name="replay", **STEP)
async def replay_dead_events(ids: list[str] | None) -> ReplayedEvents:
    """Send dead events once more: those with these ids, or all.

    Raises:
        EventsStayDead: some of them were not sent.
    """
    async with open_session():
        store = await get_store()
        replayed = await DeadEvents(store, EventLog(store)).replay(ids, get_event_sink)
    if replayed.failures:
        raise EventsStayDead((f"{replayed.sent} were sent", *replayed.failures))
    return ReplayedEvents(sent=replayed.sent)
