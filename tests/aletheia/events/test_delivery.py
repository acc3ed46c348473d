"""Feeding receivers from the log of events, on every backend of the store."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aletheia.documents import Document, Documents
from aletheia.errors import AletheiaError, InvalidTask, Misconfigured, Refused, Unavailable
from aletheia.events.dead_events import DeadEvents
from aletheia.events.delivery import FanOut, Pace
from aletheia.events.log import EventLog
from aletheia.events.turn import CURSORS
from aletheia.store.clock import moment
from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri
from tests.aletheia.events.event_processes import PROJECT, feed, finished, iterated, started
from tests.aletheia.resilience.conftest import Clock, clock
from tests.aletheia.resilience.contenders import compete
from tests.fakes.documents import LosableDocuments
from tests.fakes.event_sink import FakeBatchSink, FakeSink

__all__ = ["clock", "documents", "mongodb_uri"]

DOWN = Unavailable("webhook", "503 from https://example.com/…")


class Delivery:
    """A log, two sinks and somebody who feeds them."""

    def __init__(self, documents: Documents, clock: Clock, **pace: float) -> None:
        self.documents, self.clock = documents, clock
        self.log = EventLog(documents, clock=clock.both)
        self.redis, self.webhook = FakeSink(), FakeSink()
        self.dead = DeadEvents(documents, clock=clock.both)
        self.pace = Pace(**pace)
        self.fan_out = self.another()

    def another(self) -> FanOut:
        return FanOut(
            self.documents,
            {"redis": self.redis, "webhook": self.webhook},
            pace=self.pace,
            clock=self.clock.both,
            draw=lambda: 1.0,
        )

    async def cursors(self) -> list[Document]:
        """How far each receiver is, by project and name."""
        return await self.documents.find(CURSORS, {}, sort="_id")

    async def emit(self, first: int, last: int, run_id: str = "r") -> None:
        for iteration in range(first, last + 1):
            await self.log.append(iterated(iteration), run_id=run_id)


@pytest.fixture
async def delivery(documents: Documents, clock: Clock) -> Delivery:
    delivery = Delivery(documents, clock)
    await delivery.log.prepare()
    await delivery.fan_out.prepare()
    return delivery


@pytest.fixture
async def losable(tmp_path: Path) -> AsyncGenerator[LosableDocuments]:
    store = LosableDocuments(tmp_path / "losable")
    await store.open()
    yield store
    store.is_lost = False
    await store.close()


async def test_each_receiver_gets_every_event_once_and_in_order(delivery: Delivery):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.fan_out.subscribe("p1", "r", "webhook", "https://a.example")
    await delivery.emit(1, 5)
    assert await delivery.fan_out.feed() == 10
    assert await delivery.fan_out.feed() == 0
    await delivery.emit(6, 7)
    assert await delivery.fan_out.feed("p1") == 4
    assert delivery.redis.given == [("", seq) for seq in range(1, 8)]
    assert delivery.webhook.given == [("https://a.example", seq) for seq in range(1, 8)]


async def test_more_events_than_a_page_are_sent_in_one_go(delivery: Delivery):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 230)
    assert await delivery.fan_out.feed() == 230
    assert delivery.redis.numbers == list(range(1, 231))


async def test_a_sink_that_takes_several_gets_pages(delivery: Delivery):
    batches = FakeBatchSink()
    fan_out = FanOut(delivery.documents, {"prefect": batches}, clock=delivery.clock.both)
    await fan_out.subscribe("p1", "r", "prefect")
    await delivery.emit(1, 230)
    assert await fan_out.feed() == 230
    assert batches.numbers == list(range(1, 231))
    assert batches.sizes == [100, 100, 30]


async def test_of_several_at_once_the_one_that_is_refused_is_given_up_alone(delivery: Delivery):
    batches = FakeBatchSink()
    batches.refused = {2}
    fan_out = FanOut(delivery.documents, {"prefect": batches}, clock=delivery.clock.both)
    await fan_out.subscribe("p1", "r", "prefect")
    await delivery.emit(1, 4)
    assert await fan_out.feed() == 3
    assert batches.numbers == [1, 3, 4]
    assert [dead_letter.seq for dead_letter in await delivery.dead.newest("p1")] == [2]


async def test_events_gather_beside_a_run_and_are_all_sent_at_its_end(delivery: Delivery):
    batches = FakeBatchSink()
    fan_out = FanOut(
        delivery.documents,
        {"prefect": batches, "redis": delivery.redis},
        pace=Pace(interval_s=0.01, gather_s=60),
        clock=delivery.clock.both,
    )
    await fan_out.subscribe("p1", "r", "prefect")
    await fan_out.subscribe("p1", "r", "redis")
    async with fan_out.feeding("p1"):
        await delivery.emit(1, 1)
        while any(cursor["sent"] < 1 or cursor["holder"] for cursor in await delivery.cursors()):
            await asyncio.sleep(0.001)
        for number in range(2, 6):
            await delivery.emit(number, number)
            fan_out.nudge()
            while delivery.redis.numbers[-1:] != [number]:
                await asyncio.sleep(0.001)
        assert batches.numbers == [1]
    assert batches.numbers == [1, 2, 3, 4, 5]
    assert batches.sizes == [1, 4]


async def test_a_receiver_gets_nothing_of_before_it_asked_nor_of_runs_it_did_not_ask_for(
    delivery: Delivery,
):
    await delivery.emit(1, 2, "old")
    await delivery.fan_out.subscribe("p1", "r1", "webhook", "https://a.example")
    await delivery.fan_out.subscribe("p1", "r2", "webhook", "https://b.example")
    await delivery.emit(1, 2, "r1")
    await delivery.emit(1, 2, "unasked")
    await delivery.emit(1, 2, "r2")
    await delivery.fan_out.feed()
    given: dict[str, list[int]] = {
        address: [] for address in ("https://a.example", "https://b.example")
    }
    for address, seq in delivery.webhook.given:
        given[address].append(seq)
    assert given == {"https://a.example": [3, 4], "https://b.example": [7, 8]}


async def test_a_run_that_is_resumed_asks_again_and_gets_nothing_twice(delivery: Delivery):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 2)
    await delivery.fan_out.feed()
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 3)
    await delivery.fan_out.feed()
    assert delivery.redis.numbers == [1, 2, 3]


async def test_a_run_that_asks_while_the_one_before_is_being_sent_is_not_left_out(
    delivery: Delivery,
):
    await delivery.fan_out.subscribe("p1", "r1", "redis")
    await delivery.emit(1, 1, "r1")

    class AsksMeanwhile(FakeSink):
        async def send(self, address: str, event: Any) -> None:
            await super().send(address, event)
            if event.seq == 1:
                await delivery.log.append(finished(), run_id="r1")
                await delivery.fan_out.subscribe("p1", "r2", "redis")
                await delivery.emit(1, 1, "r2")

    sink = AsksMeanwhile()
    fan_out = FanOut(delivery.documents, {"redis": sink}, clock=delivery.clock.both)
    await fan_out.feed()
    await fan_out.feed()
    await delivery.emit(2, 2, "r2")
    await fan_out.feed()
    assert sink.numbers == [1, 2, 3, 4]


async def test_a_receiver_is_read_no_more_after_its_last_run_until_the_next(
    delivery: Delivery,
):
    async def is_open() -> list[bool]:
        return [cursor["is_open"] for cursor in await delivery.documents.find(CURSORS, {})]

    await delivery.fan_out.subscribe("p1", "r1", "redis")
    await delivery.log.append(finished(), run_id="r1")
    assert await is_open() == [True]
    await delivery.fan_out.feed()
    assert await is_open() == [False]
    await delivery.fan_out.subscribe("p1", "r2", "redis")
    await delivery.fan_out.feed()
    assert await is_open() == [True], "its run has said nothing yet"
    await delivery.log.append(finished(), run_id="r2")
    await delivery.fan_out.feed()
    assert await is_open() == [False]
    assert delivery.redis.numbers == [1, 2]


async def test_a_run_that_asks_as_its_receiver_is_being_forgotten_is_not_left_out(
    tmp_path: Path, clock: Clock
):
    class AskedAtTheLastMoment(LosableDocuments):
        delivery: Delivery | None = None

        async def update(self, collection: str, updates: Any) -> list[bool]:
            delivery = self.delivery
            if delivery and updates[0].change.set.get("is_open") is False:
                self.delivery = None
                await delivery.fan_out.subscribe("p1", "r2", "redis")
            return await super().update(collection, updates)

    store = AskedAtTheLastMoment(tmp_path)
    await store.open()
    delivery = store.delivery = Delivery(store, clock)
    await delivery.fan_out.subscribe("p1", "r1", "redis")
    await delivery.log.append(finished(), run_id="r1")
    await delivery.fan_out.feed()
    assert store.delivery is None, "it did ask"
    await delivery.emit(1, 1, "r2")
    assert await delivery.fan_out.feed() == 1
    await store.close()


async def test_an_event_that_fails_holds_those_behind_it_and_is_tried_again_after_a_pause(
    delivery: Delivery,
):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 3)
    delivery.redis.fail_next(None, DOWN)
    assert await delivery.fan_out.feed() == 1
    (cursor,) = await delivery.cursors()
    assert (cursor["sent"], cursor["failures"], cursor["reason"]) == (1, 1, str(DOWN))
    assert moment(cursor["due_at"]) == delivery.clock.now + timedelta(seconds=1)
    delivery.clock.move(seconds=0.9)
    assert await delivery.fan_out.feed() == 0
    assert delivery.redis.tries == 2
    delivery.clock.move(seconds=0.1)
    assert await delivery.fan_out.feed() == 2
    assert delivery.redis.numbers == [1, 2, 3]
    (cursor,) = await delivery.cursors()
    assert (cursor["failures"], cursor["due_at"], cursor["reason"]) == (0, 0, "")


async def test_pauses_double_up_to_ten_minutes_and_begin_anew_after_a_success(delivery: Delivery):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 2)
    delivery.redis.fault = DOWN
    pauses: list[float] = []

    async def fail() -> None:
        await delivery.fan_out.feed()
        (cursor,) = await delivery.cursors()
        due_at = moment(cursor["due_at"])
        pauses.append((due_at - delivery.clock.now).total_seconds())
        delivery.clock.now = due_at

    for _ in range(12):
        await fail()
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    delivery.redis.fault = None
    delivery.redis.fail_next(None, DOWN)
    await fail()
    assert pauses[-1] == 1
    assert delivery.redis.numbers == [1]


@pytest.mark.parametrize(("asked_s", "waited_s"), [(30, 30), (0.2, 1), (7200, 600)])
async def test_what_a_receiver_asks_for_is_waited_up_to_ten_minutes(
    delivery: Delivery, asked_s: float, waited_s: float
):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 1)
    delivery.redis.fail_next(Unavailable("webhook", "429", asked_s, 429))
    await delivery.fan_out.feed()
    (cursor,) = await delivery.cursors()
    assert moment(cursor["due_at"]) == delivery.clock.now + timedelta(seconds=waited_s)


@pytest.mark.parametrize(
    "error", [Refused("webhook", 422, "no"), InvalidTask("invalid_webhook_url", "no")]
)
async def test_an_event_that_is_refused_is_given_up_at_once_and_alone(
    delivery: Delivery, error: AletheiaError
):
    await delivery.fan_out.subscribe("p1", "r", "webhook", "https://a.example/token")
    await delivery.emit(1, 3)
    delivery.webhook.fail_next(None, error)
    assert await delivery.fan_out.feed() == 2
    assert delivery.webhook.numbers == [1, 3]
    (dead_letter,) = await delivery.dead.newest("p1")
    assert (dead_letter.seq, dead_letter.reason, dead_letter.at) == (
        2,
        str(error),
        delivery.clock.now,
    )
    assert "token" not in dead_letter.receiver


async def test_what_could_not_be_sent_for_24_hours_is_given_up_and_nothing_younger(
    delivery: Delivery,
):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    delivery.redis.fault = Misconfigured("REDIS_URL", "wrong password")
    await delivery.emit(1, 2)
    await delivery.fan_out.feed()
    delivery.clock.move(hours=12)
    await delivery.emit(3, 3)
    await delivery.fan_out.feed()
    delivery.clock.move(hours=11, minutes=59)
    await delivery.fan_out.feed()
    assert await delivery.dead.newest() == []
    delivery.clock.move(minutes=11)
    await delivery.fan_out.feed()
    assert [event.seq for event in await delivery.dead.newest()] == [2, 1], "newest first"
    delivery.redis.fault = None
    delivery.clock.move(minutes=10)
    assert await delivery.fan_out.feed() == 1
    assert delivery.redis.numbers == [3]


async def test_what_waited_because_nobody_fed_it_is_not_given_up_at_the_first_failure(
    delivery: Delivery,
):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 1)
    delivery.clock.move(days=3)
    delivery.redis.fail_next(DOWN)
    await delivery.fan_out.feed()
    assert await delivery.dead.newest() == []
    delivery.clock.move(minutes=1)
    assert await delivery.fan_out.feed() == 1


async def test_a_sink_that_is_wrong_is_treated_as_one_that_is_down(delivery: Delivery):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.fan_out.subscribe("p1", "r", "webhook", "https://a.example")
    await delivery.emit(1, 1)
    delivery.webhook.fail_next(KeyError("a bug"))
    assert await delivery.fan_out.feed() == 1
    redis, webhook = await delivery.cursors()
    assert (webhook["kind"], webhook["failures"]) == ("webhook", 1)
    assert (redis["kind"], redis["sent"]) == ("redis", 1)


async def test_a_sink_that_hangs_is_left_after_a_while_and_holds_up_nobody_else(
    documents: Documents, clock: Clock
):
    delivery = Delivery(documents, clock, timeout_s=0.05)
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.fan_out.subscribe("p1", "r", "webhook", "https://a.example")
    await delivery.emit(1, 3)
    delivery.webhook.is_hanging = True
    assert await delivery.fan_out.feed() == 3
    assert delivery.redis.numbers == [1, 2, 3]
    assert delivery.webhook.tries == 1


async def test_a_receiver_that_one_process_feeds_is_left_alone_by_others(
    documents: Documents, clock: Clock
):
    delivery = Delivery(documents, clock)
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 2)
    delivery.redis.is_hanging = True
    first = asyncio.create_task(delivery.fan_out.feed())
    while not delivery.redis.tries:
        await asyncio.sleep(0.001)
    delivery.redis.is_hanging = False
    assert await delivery.another().feed() == 0
    delivery.clock.move(seconds=66)
    assert await delivery.another().feed() == 2, "its lease has run out"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert delivery.redis.numbers == [1, 2]


async def test_whoever_lost_its_lease_while_sending_moves_nothing(
    documents: Documents, clock: Clock
):
    delivery = Delivery(documents, clock)
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 3)
    other = delivery.another()

    class Sleeps(FakeSink):
        async def send(self, address: str, event: Any) -> None:
            await super().send(address, event)
            if self.tries == 1:
                clock.move(seconds=66)
                await other.feed()

    slow = Sleeps()
    sleeper = FanOut(documents, {"redis": slow}, clock=clock.both)
    assert await sleeper.feed() == 1
    assert slow.numbers == [1], "it stops as soon as it sees"
    assert delivery.redis.numbers == [1, 2, 3]
    assert await delivery.another().feed() == 0


async def test_a_clock_that_was_moved_back_holds_nothing_up(documents: Documents, clock: Clock):
    delivery = Delivery(documents, clock)
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 2)
    clock.move(days=400)
    delivery.redis.fail_next(DOWN)
    await delivery.fan_out.feed()
    clock.move(days=-400)
    assert await delivery.another().feed() == 2


async def test_a_receiver_without_a_sink_here_is_left_to_others(delivery: Delivery):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 1)
    without = FanOut(delivery.documents, {"webhook": delivery.webhook}, clock=delivery.clock.both)
    assert await without.feed() == 0
    assert await delivery.fan_out.feed() == 1


@pytest.mark.parametrize("project_id", ["", "a/b", "a:b", "x" * 49])
async def test_a_hostile_project_id_is_refused_by_a_stable_code(
    delivery: Delivery, project_id: str
):
    for refusing in (
        delivery.fan_out.subscribe(project_id, "r", "redis"),
        delivery.fan_out.feed(project_id),
        delivery.dead.newest(project_id),
    ):
        with pytest.raises(InvalidTask) as caught:
            await refusing
        assert caught.value.code == "invalid_project_id"


async def test_a_run_goes_on_while_its_webhook_hangs(documents: Documents, clock: Clock):
    delivery = Delivery(documents, clock, interval_s=0.001, grace_s=0.05)
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.fan_out.subscribe("p1", "r", "webhook", "https://a.example")
    delivery.webhook.is_hanging = True
    async with delivery.fan_out.feeding("p1"):
        await delivery.emit(1, 10)
        delivery.fan_out.nudge()
        async with asyncio.timeout(10):
            while len(delivery.redis.given) < 10:
                await asyncio.sleep(0.001)
        before = time.monotonic()
    assert time.monotonic() - before < 5, "the end of a run waits for as long as it may"
    delivery.webhook.is_hanging = False
    assert await delivery.another().feed() == 10, "its lease was released"
    assert delivery.webhook.numbers == list(range(1, 11))


async def test_the_end_of_a_run_waits_for_its_last_events(documents: Documents, clock: Clock):
    delivery = Delivery(documents, clock, interval_s=3600, grace_s=30)
    await delivery.fan_out.subscribe("p1", "r", "redis")
    async with delivery.fan_out.feeding("p1"):
        await asyncio.sleep(0)
        await delivery.emit(1, 3)
        await delivery.log.append(finished(), run_id="r")
    assert delivery.redis.numbers == [1, 2, 3, 4]


async def test_a_store_that_is_lost_for_a_while_ends_no_feeding(
    losable: LosableDocuments, clock: Clock
):
    delivery = Delivery(losable, clock, interval_s=0.001, lease_s=60)
    await delivery.fan_out.subscribe("p1", "r", "redis")
    async with delivery.fan_out.feeding("p1"):
        await delivery.emit(1, 2)
        while len(delivery.redis.given) < 2:
            await asyncio.sleep(0.001)
        losable.is_lost = True
        with pytest.raises(Unavailable):
            await delivery.emit(3, 3)
        await asyncio.sleep(0.02)
        losable.is_lost = False
        clock.move(seconds=66)
        await delivery.emit(3, 4)
        async with asyncio.timeout(10):
            while 4 not in delivery.redis.numbers:
                await asyncio.sleep(0.001)
    assert sorted(set(delivery.redis.numbers)) == [1, 2, 3, 4]


async def test_a_store_that_is_lost_after_a_sending_has_it_sent_again_and_leaves_none_out(
    losable: LosableDocuments, clock: Clock
):
    delivery = Delivery(losable, clock)
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 3)

    class LosesStore(FakeSink):
        async def send(self, address: str, event: Any) -> None:
            await super().send(address, event)
            losable.is_lost = self.tries == 2

    sink = LosesStore()
    fan_out = FanOut(losable, {"redis": sink}, clock=clock.both)
    with pytest.raises(Unavailable):
        await fan_out.feed()
    losable.is_lost = False
    clock.move(seconds=66)
    await fan_out.feed()
    assert sink.numbers == [1, 2, 2, 3]


@pytest.mark.timeout(120)
async def test_processes_that_feed_at_once_send_everything_in_order_and_nothing_twice(
    losable: LosableDocuments, tmp_path: Path, clock: Clock
):
    delivery = Delivery(losable, clock)
    await delivery.fan_out.subscribe(PROJECT, "r", "file")
    await delivery.emit(1, 40)
    sent = tmp_path / "sent"
    counts = compete(tmp_path / "losable", feed, str(sent), processes=3)
    assert sum(counts) == 40
    assert [int(line) for line in sent.read_text().splitlines()] == list(range(1, 41))


async def test_a_dead_letter_of_an_event_that_reaches_its_receiver_after_all_is_deleted(
    losable: LosableDocuments, tmp_path: Path, clock: Clock
):
    delivery = Delivery(losable, clock)
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.log.append(started(), run_id="r")
    delivery.redis.fault = DOWN
    await delivery.fan_out.feed()
    clock.move(hours=25)

    class DiesAfterTheDeadLetter(LosableDocuments):
        async def upsert(self, collection: str, updates: Any) -> None:
            await super().upsert(collection, updates)
            self.is_lost = True

    dying = DiesAfterTheDeadLetter(tmp_path / "losable")
    await dying.open()
    with pytest.raises(Unavailable):
        await FanOut(dying, {"redis": delivery.redis}, clock=clock.both).feed()
    dying.is_lost = False
    await dying.close()
    assert Counter(event.seq for event in await delivery.dead.newest()) == {1: 1}
    delivery.redis.fault = None
    clock.move(minutes=10)
    assert await delivery.another().feed() == 1
    assert await delivery.dead.newest() == []


DAYS_30_S = 30 * 86_400.0


async def test_old_dead_letters_and_receivers_are_purged(delivery: Delivery):
    await delivery.fan_out.subscribe("p1", "r", "webhook", "https://a.example")
    await delivery.emit(1, 2)
    delivery.webhook.fail_next(Refused("webhook", 410))
    assert await delivery.fan_out.feed() == 1
    delivery.clock.move(days=20)
    await delivery.fan_out.subscribe("p1", "r2", "redis")
    assert await delivery.fan_out.purge(DAYS_30_S) == (0, 0, 0)
    delivery.clock.move(days=11)
    assert await delivery.fan_out.purge(DAYS_30_S) == (1, 1, 1)
    assert await delivery.dead.newest() == []
    assert [cursor["receiver"] for cursor in await delivery.cursors()] == ["redis"]


async def test_a_receiver_that_is_tried_in_vain_is_not_forgotten(delivery: Delivery):
    await delivery.fan_out.subscribe("p1", "r", "webhook")
    await delivery.emit(1, 1)
    delivery.webhook.fault = DOWN
    await delivery.fan_out.feed()
    delivery.clock.move(days=29)
    await delivery.emit(2, 2)
    await delivery.fan_out.feed()
    delivery.clock.move(days=2)
    assert await delivery.fan_out.purge(DAYS_30_S) == (0, 0, 0)
    delivery.webhook.fault = None
    assert await delivery.fan_out.feed() >= 1


async def test_a_receiver_goes_on_behind_what_was_purged(delivery: Delivery):
    await delivery.fan_out.subscribe("p1", "r", "redis")
    await delivery.emit(1, 3)
    delivery.clock.move(days=31)
    await delivery.emit(4, 5)
    assert await delivery.log.purge(DAYS_30_S) == 3
    assert await delivery.fan_out.feed() == 2
    assert delivery.redis.numbers == [4, 5]


async def test_receivers_that_may_have_to_be_fed_are_counted_by_kind(delivery: Delivery):
    assert await delivery.fan_out.count_open() == {}
    await delivery.fan_out.subscribe("p1", "r", "webhook", "https://a.example")
    await delivery.fan_out.subscribe("p2", "r", "webhook", "https://a.example")
    await delivery.fan_out.subscribe("p1", "r", "redis")
    assert await delivery.fan_out.count_open() == {"webhook": 2, "redis": 1}
    await delivery.log.append(finished(), run_id="r")
    await delivery.fan_out.feed("p1")
    assert await delivery.fan_out.count_open() == {"webhook": 1}


async def test_a_run_that_asks_as_its_old_receiver_is_purged_is_fed(tmp_path: Path, clock: Clock):
    class PurgedMeanwhile(LosableDocuments):
        delivery: Delivery | None = None

        async def update(self, collection: str, updates: Any) -> list[bool]:
            delivery = self.delivery
            if delivery and collection == CURSORS:
                self.delivery = None
                assert await delivery.fan_out.purge(DAYS_30_S) == (0, 0, 1)
            return await super().update(collection, updates)

    store = PurgedMeanwhile(tmp_path)
    await store.open()
    delivery = Delivery(store, clock)
    await delivery.fan_out.subscribe("p1", "r1", "redis")
    clock.move(days=31)
    store.delivery = delivery
    await delivery.fan_out.subscribe("p1", "r2", "redis")
    assert store.delivery is None, "it was purged"
    await delivery.emit(1, 1, "r2")
    assert await delivery.fan_out.feed() == 1
    await store.close()
