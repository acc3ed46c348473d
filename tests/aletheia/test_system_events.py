"""What became true of the system is sent once, by whichever process sees it first."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from aletheia.documents import Documents
from aletheia.errors import Refused, Unavailable
from aletheia.intake.models import ShiftReport, Tally
from aletheia.intake.rows import ROWS
from aletheia.llm.usage import BudgetUsage
from aletheia.resilience.breaker import BreakerState, CircuitBreaker, State
from aletheia.system_events import (
    MAX_AT_ONCE,
    OVERLAP_S,
    AnnouncedRun,
    Announcer,
    SystemEvent,
    derive_breaker_events,
    derive_budget_events,
    derive_reasoning_events,
    describe_plan_event,
    describe_shift_end,
    describe_shift_start,
)
from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import Sources, make_reasoner

__all__ = ["documents", "mongodb_uri"]

AT = datetime(2026, 11, 30, 10, tzinfo=UTC)


class Receiver:
    """Takes events, unless it is away."""

    def __init__(self) -> None:
        self.events: list[SystemEvent] = []
        self.is_away = False
        self.refused: set[str] = set()

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    async def announce(self, events: Sequence[SystemEvent]) -> None:
        if self.is_away:
            raise Unavailable("prefect", "away")
        if self.refused & {event.key for event in events}:
            raise Refused("prefect", 422, "no")
        self.events += events


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(AT)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def announcer(documents: Documents, receiver: Receiver, clock: MovableClock) -> Announcer:
    announcer = Announcer(documents, receiver, clock=clock.both)
    await announcer.prepare()
    return announcer


async def tick(
    announcer: Announcer,
    breakers: Sequence[BreakerState] = (),
    budgets: Sequence[BudgetUsage] = (),
) -> list[str]:
    return [it.id for it in await announcer.announce_changes(breakers, budgets, near=0.8)]


def budget(spent: str, limit: str | None = "10") -> BudgetUsage:
    amount = None if limit is None else Decimal(limit)
    return BudgetUsage("BUDGET_USD_PER_DAY", amount, Decimal(spent), AT + timedelta(hours=14))


async def add_dead_letters(documents: Documents, clock: MovableClock, *ids: str) -> None:
    rows: list[dict[str, Any]] = [
        {
            "_id": f"{id_}#1",
            "task_id": id_,
            "type": "text_embedding",
            "state": "dead",
            "dead_code": "model_crashed",
            "dead_message": "a secret of the task",
            "dead_at": clock(),
        }
        for id_ in ids
    ]
    await documents.insert(ROWS, rows)


async def test_an_event_is_sent_once_by_any_number_of_processes(
    documents: Documents, announcer: Announcer, receiver: Receiver, clock: MovableClock
):
    event = describe_shift_start("r1", AT)
    assert await announcer.announce([event, describe_shift_start("r2", AT)])
    assert await announcer.announce([event]) == []
    other = Announcer(documents, receiver, clock=clock.both)
    assert await other.announce([event]) == []
    assert receiver.names == ["shift.started"] * 2


async def test_what_could_not_be_sent_is_sent_the_next_time(
    documents: Documents, announcer: Announcer, receiver: Receiver, clock: MovableClock
):
    await tick(announcer)
    await add_dead_letters(documents, clock, "t1")
    receiver.is_away = True
    with pytest.raises(Unavailable):
        await tick(announcer)
    receiver.is_away = False
    clock.move(hours=3)
    await tick(announcer)
    assert receiver.names == ["dead_letter.created"]


async def test_one_that_is_refused_is_left_out_and_holds_up_no_other(
    announcer: Announcer, receiver: Receiver
):
    receiver.refused = {"r2"}
    events = [describe_shift_start(f"r{number}", AT) for number in range(5)]
    sent = await announcer.announce(events)
    assert [event.key for event in sent] == [event.key for event in receiver.events]
    assert [event.key for event in sent] == ["r0", "r1", "r3", "r4"]
    assert await announcer.announce(events) == []


async def test_a_breaker_that_opens_and_closes_says_both_once(
    documents: Documents, announcer: Announcer, clock: MovableClock
):
    breakers = CircuitBreaker(documents, threshold=2, cooldown_s=60, clock=clock.both)

    async def fail() -> None:
        await breakers.fail(await breakers.admit("openai"), "a secret that it said")

    await fail()
    assert await tick(announcer, await breakers.states()) == []
    await fail()
    assert await tick(announcer, await breakers.states()) == ["breaker.opened:openai:0"]
    clock.move(seconds=61)
    await fail()  # the probe: it stays open
    assert await tick(announcer, await breakers.states()) == []
    clock.move(seconds=61)
    await breakers.succeed(await breakers.admit("openai"))
    assert await tick(announcer, await breakers.states()) == ["breaker.closed:openai:1"]
    assert await tick(announcer, await breakers.states()) == []
    await fail()
    await fail()
    assert await tick(announcer, await breakers.states()) == ["breaker.opened:openai:1"]


def test_a_breaker_of_which_nothing_was_said_does_not_close():
    healthy = BreakerState("openai", State.CLOSED, 0, None, "", 7)
    assert list(derive_breaker_events([healthy], set(), at=AT)) == []


@pytest.mark.parametrize(
    ("usage", "names"),
    [
        (budget("7.99"), []),
        (budget("8"), ["budget.near"]),
        (budget("10"), ["budget.near", "budget.spent"]),
        (budget("12"), ["budget.near", "budget.spent"]),
        (budget("0", "0"), ["budget.near", "budget.spent"]),
        (budget("99", None), []),
    ],
)
def test_a_budget_is_near_its_end_and_then_spent(usage: BudgetUsage, names: list[str]):
    events = list(derive_budget_events([usage], near=0.8, at=AT))
    assert [event.name for event in events] == names


async def test_a_budget_is_said_to_be_spent_once_a_day_and_again_after_it_was_raised(
    announcer: Announcer,
):
    assert len(await tick(announcer, budgets=[budget("10")])) == 2
    assert await tick(announcer, budgets=[budget("11")]) == []
    assert await tick(announcer, budgets=[budget("11", "20")]) == []
    assert len(await tick(announcer, budgets=[budget("17", "20")])) == 1


async def test_the_budget_of_each_run_is_said_to_be_spent(announcer: Announcer):
    of_run = BudgetUsage("BUDGET_TOKENS_PER_RUN", 10, 10, None)
    for run_id in ("r1", "r2"):
        sent = await announcer.announce_changes([], [of_run], near=0.8, run_id=run_id)
        assert [event.name for event in sent] == ["budget.near", "budget.spent"]
        assert not await announcer.announce_changes([], [of_run], near=0.8, run_id=run_id)


async def test_dead_letters_are_said_once_and_old_ones_not_at_all(
    documents: Documents, announcer: Announcer, receiver: Receiver, clock: MovableClock
):
    await add_dead_letters(documents, clock, "old")
    clock.move(seconds=OVERLAP_S + 1)
    assert await tick(announcer) == []
    await add_dead_letters(documents, clock, "t1", "t2")
    clock.move(seconds=1)
    assert len(await tick(announcer)) == 2
    assert await tick(announcer) == []
    assert [event.payload for event in receiver.events] == [
        {"task_id": id_, "type": "text_embedding", "code": "model_crashed"} for id_ in ("t1", "t2")
    ]
    assert "secret" not in repr(receiver.events)


async def test_a_burst_of_dead_letters_is_said_as_a_whole(
    documents: Documents, announcer: Announcer, receiver: Receiver, clock: MovableClock
):
    await tick(announcer)
    at_once = [f"t{number}" for number in range(2 * MAX_AT_ONCE + 10)]
    await add_dead_letters(documents, clock, *at_once)
    for number in range(MAX_AT_ONCE + 1):
        clock.move(seconds=0.001)
        await add_dead_letters(documents, clock, f"u{number}")
    await tick(announcer)
    assert len(receiver.events) == len({it.id for it in receiver.events}) == 3 * MAX_AT_ONCE + 11


async def test_what_was_said_long_ago_is_forgotten_but_not_how_far(
    documents: Documents, announcer: Announcer, clock: MovableClock
):
    await tick(announcer)
    await announcer.announce([describe_shift_start("r1", AT)])
    clock.move(days=31)
    assert await announcer.purge(30 * 86_400) == 1
    await add_dead_letters(documents, clock, "t1")
    assert len(await tick(Announcer(documents, Receiver(), clock=clock.both))) == 1


def test_a_shift_says_what_it_came_to():
    report = ShiftReport(ended="time_over", seconds=570, ticks=19, tally=Tally())
    ended = describe_shift_end("r1", 1, report, AT)
    assert ended.payload["ended"] == "time_over"
    assert ended.id != describe_shift_end("r1", 2, report, AT).id
    assert ended.id != describe_shift_start("r1", AT).id


async def test_a_reasoning_run_says_what_differs_from_the_one_announced_last(
    documents: Documents, announcer: Announcer, receiver: Receiver, clock: MovableClock
):
    sources = Sources()
    reasoner = make_reasoner(documents, sources, clock)
    await reasoner.prepare()
    await announcer.announce_reasoning(await reasoner.run())
    assert receiver.names == ["reasoning.health_changed"]
    receiver.events.clear()

    clock.move(seconds=30)
    await announcer.announce_reasoning(await reasoner.run())
    assert receiver.events == []

    sources.facts["queue_pending"] = 50_000
    sources.facts["alerts_critical"] = 9
    clock.move(seconds=30)
    unsaid = await reasoner.run()  # and its process dies
    clock.move(seconds=30)
    latest = await reasoner.run()
    assert unsaid.action_plan.plan_id == latest.action_plan.plan_id
    await Announcer(documents, receiver, clock=clock.both).announce_reasoning(latest)
    assert set(receiver.names) == {
        *("reasoning.health_changed", "reasoning.finding_opened", "reasoning.plan_proposed"),
    }
    opened = {it.payload["finding"] for it in receiver.events if "finding" in it.payload}
    assert opened == {found.id for found in latest.findings}
    receiver.events.clear()

    sources.facts["queue_pending"] = 1
    clock.move(seconds=30)
    await announcer.announce_reasoning(await reasoner.run())
    assert "reasoning.finding_closed" in receiver.names


def test_a_plan_without_a_step_is_not_proposed():
    announced = AnnouncedRun(health="good", findings={}, plan_id="")
    assert announced == AnnouncedRun.model_validate_json(announced.model_dump_json())
    event = describe_plan_event("done", "plan-1", "a1", AT)
    assert (event.name, event.subject) == ("reasoning.plan_done", "plan.plan-1")


async def test_the_same_run_says_the_same_whoever_derives_it(
    documents: Documents, clock: MovableClock
):
    reasoner = make_reasoner(documents, Sources(), clock)
    await reasoner.prepare()
    output = await reasoner.run()
    ids = [[event.id for event in derive_reasoning_events(output, None)] for _ in range(2)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == len(ids[0])
