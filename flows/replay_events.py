"""The deployment `replay_events`: sends events that receivers did not get once more."""

from prefect import flow

from aletheia.events.dead_events import Replayed
from tasks.gather_operations import replay_dead_events
from tasks.session import open_watched_session


@flow(name="replay_events", timeout_seconds=600, persist_result=False)
async def replay_events(ids: list[str] | None = None) -> Replayed:
    """Send dead events once more, each to the receiver that did not get it: some, or all.

    One that cannot be sent stays a dead event, and the run fails. `aletheia webhooks` lists them.
    """
    async with open_watched_session():
        return await replay_dead_events(ids)
