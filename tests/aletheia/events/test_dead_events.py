"""Events that receivers did not get, and how they are sent once more."""

import pytest

from aletheia.documents import Documents
from aletheia.errors import AletheiaError, Misconfigured, Refused, Unavailable
from aletheia.events.dead_events import DEAD_EVENTS, DeadEvents
from aletheia.events.delivery import FanOut
from aletheia.events.log import EVENTS, EventLog
from aletheia.events.models import Deduplicating
from aletheia.events.ports import EventSink
from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri
from tests.aletheia.resilience.conftest import Clock, clock
from tests.fakes.event_sink import FakeSink

__all__ = ["clock", "documents", "mongodb_uri"]

URL = "https://a.example/hook?token=s3cret"


class Post:
    """A webhook that refused the first events of a project, and may take them now."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self.documents, self.clock = documents, clock
        self.log = EventLog(documents, clock=clock.both)
        self.sink = FakeSink()
        self.dead = DeadEvents(documents, clock=clock.both)

    async def lose(self, project_id: str, count: int) -> None:
        """Make the webhook refuse so many events."""
        sinks: dict[str, EventSink] = {"webhook": self.sink}
        fan_out = FanOut(self.documents, sinks, clock=self.clock.both)
        await fan_out.subscribe(project_id, "r", "webhook", URL)
        for iteration in range(1, count + 1):
            event = Deduplicating(project_id=project_id, department="legal")
            await self.log.append(event, run_id="r", iteration=iteration)
        self.sink.fail_next(*[Refused("webhook", 410, "gone")] * count)
        await fan_out.feed(project_id)

    async def find_sink(self, kind: str) -> EventSink:
        """Return the webhook."""
        assert kind == "webhook"
        return self.sink


@pytest.fixture
async def post(documents: Documents, clock: Clock) -> Post:
    return Post(documents, clock)


async def test_a_dead_event_is_listed_with_all_that_an_operator_asks(post: Post):
    await post.lose("p1", 2)
    await post.lose("p2", 1)
    assert {event.id for event in await post.dead.newest()} == {"p1:1", "p1:2", "p2:1"}
    (event,) = await post.dead.newest("p2")
    assert (event.type, event.code, event.address) == ("deduplicating", "refused", URL)
    assert (event.kind, event.at) == ("webhook", post.clock.now)
    assert "410" in event.reason
    assert len(await post.dead.newest(limit=2)) == 2


async def test_all_are_sent_once_more_in_their_order_and_are_dead_no_more(post: Post):
    await post.lose("p1", 3)
    replayed = await post.dead.replay(None, post.find_sink)
    assert (replayed.sent, replayed.failures) == (3, ())
    assert post.sink.given == [(URL, 1), (URL, 2), (URL, 3)]
    assert await post.dead.newest() == []
    assert (await post.dead.replay(None, post.find_sink)).sent == 0


async def test_one_is_sent_alone(post: Post):
    await post.lose("p1", 3)
    replayed = await post.dead.replay(["p1:2", "p1:9"], post.find_sink)
    assert (replayed.sent, replayed.failures) == (1, ("p1:9: no such dead event",))
    assert post.sink.numbers == [2]
    assert [event.seq for event in await post.dead.newest()] == [3, 1]


@pytest.mark.parametrize(
    "error", [Unavailable("webhook", "503"), Misconfigured("WEBHOOK_SECRET", "is empty")]
)
async def test_one_that_cannot_be_sent_stays_with_the_new_reason(post: Post, error: AletheiaError):
    await post.lose("p1", 2)
    post.clock.move(hours=1)
    post.sink.fail_next(error)
    replayed = await post.dead.replay(None, post.find_sink)
    assert (replayed.sent, replayed.failures) == (1, (f"p1:1: {error.code}: {error}",))
    (event,) = await post.dead.newest()
    assert (event.seq, event.code, event.reason) == (1, error.code, str(error))
    assert (event.at, event.type) == (post.clock.now, "deduplicating")


async def test_one_that_the_log_has_no_more_is_listed_and_cannot_be_sent(post: Post):
    await post.lose("p1", 2)
    await post.documents.delete(EVENTS, {"seq": 1})
    old = {"_id": "x", "project": "p0", "receiver": "webhook-1", "kind": "webhook", "at": 0}
    old |= {"address": URL, "reason": "410", "seq": 7, "run_id": "r"}
    await post.documents.insert(DEAD_EVENTS, [old])
    types = {event.id: (event.type, event.code) for event in await post.dead.newest()}
    assert types["p1:1"] == ("", "refused")
    assert types["p0:7"] == ("", "")
    replayed = await post.dead.replay(None, post.find_sink)
    assert replayed.sent == 1
    assert len(replayed.failures) == 2
    assert "older than what is saved" in replayed.failures[0]
