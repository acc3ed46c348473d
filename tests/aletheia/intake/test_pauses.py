from typing import Any

import pytest

from aletheia.errors import Misconfigured
from aletheia.intake.pauses import Pauses, name_flag, read_pauses
from tests.aletheia.intake.conftest import Bench


def test_a_type_waits_with_its_lane_by_itself_or_with_all():
    assert not Pauses().holds("echo", None)
    assert Pauses(types=frozenset({"echo"})).holds("echo", "llm")
    assert not Pauses(types=frozenset({"other"})).holds("echo", "llm")
    assert Pauses(lanes=frozenset({"llm"})).holds("echo", "llm")
    assert not Pauses(lanes=frozenset({"llm"})).holds("echo", None)
    assert Pauses(lanes=frozenset({"intake"})).holds("echo", None)
    assert Pauses(is_all=True).holds("echo", None)


def test_flags_without_any_pause_say_so():
    assert read_pauses({"blocked_head": 3, "paused_types": {}}) == Pauses()


@pytest.mark.parametrize(
    ("lane", "task_type"),
    [(None, None), ("llm", "echo"), ("fast", None), (None, "a.b"), (None, "$set"), (None, " ")],
)
def test_what_cannot_be_paused_is_refused(lane: Any, task_type: str | None):
    with pytest.raises(Misconfigured):
        name_flag(lane, task_type)


async def test_a_type_that_is_paused_stays_pending_and_others_go_on(bench: Bench):
    bench.add("t1")
    bench.add("odd", type="other")
    await bench.ledger().set_paused(is_paused=True, task_type="Echo")
    await bench.drain()
    assert bench.upstream.tasks["odd"].state == "failed"
    assert bench.upstream.tasks["t1"].state == "pending"
    assert (await bench.ledger().overview()).paused_types == ("echo",)
    await bench.ledger().set_paused(is_paused=False, task_type="echo")
    await bench.drain()
    assert bench.upstream.tasks["t1"].state == "succeeded"


async def test_the_lane_of_the_shifts_can_be_paused(bench: Bench):
    bench.add("t1")
    await bench.ledger().set_paused(is_paused=True, lane="intake")
    await bench.drain()
    assert bench.upstream.tasks["t1"].state == "pending"
    assert not await bench.ledger().is_paused()
    await bench.ledger().set_paused(is_paused=False, lane="intake")
    await bench.drain()
    assert bench.upstream.tasks["t1"].state == "succeeded"


async def test_pauses_are_independent_of_each_other(bench: Bench):
    ledger = bench.ledger()
    await ledger.set_paused(is_paused=True, lane="llm")
    await ledger.set_paused(is_paused=True, task_type="echo")
    await ledger.set_paused(is_paused=True)
    await ledger.set_paused(is_paused=False)
    assert await ledger.pauses() == Pauses(False, frozenset({"llm"}), frozenset({"echo"}))
    await ledger.set_paused(is_paused=False, lane="llm")
    await ledger.set_paused(is_paused=False, lane="media")
    assert await ledger.pauses() == Pauses(False, frozenset(), frozenset({"echo"}))
