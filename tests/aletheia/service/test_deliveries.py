"""Deliveries at several processes, and after crashes: each starts one run."""

import asyncio
from typing import Any

import pytest

from aletheia.documents import Change, Documents, Update
from aletheia.errors import Misconfigured, Unavailable
from aletheia.service import deliveries as module
from aletheia.service.deliveries import DELIVERIES, LEASE_S, SIGNATURES, Deliveries
from aletheia.service.parts import fixed, missing
from aletheia.service.ports import Orchestrator
from aletheia.service.refusals import ServiceError
from tests.fakes.clock import MovableClock
from tests.fakes.orchestrator import FakeOrchestrator

POLL = "poll_tasks/poll_tasks"


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def orchestrator() -> FakeOrchestrator:
    return FakeOrchestrator()


def build(documents: Documents, orchestrator: FakeOrchestrator, clock: MovableClock) -> Deliveries:
    starter: Orchestrator = orchestrator
    return Deliveries(documents, fixed(starter), clock=clock.both)


async def accept(deliveries: Deliveries, key: str = "k1", **more: Any) -> str | None:
    parameters: dict[str, Any] = {"shift_seconds": 0.0}
    signature = more.pop("signature", f"sha256={key}")
    delivery, _ = await deliveries.accept(
        "poll", POLL, parameters | more, key=key, signature=signature
    )
    return delivery.run_id


async def test_copies_at_several_processes_start_one_run(
    documents: Documents,
    orchestrator: FakeOrchestrator,
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "_POLL_EVERY_S", 0.01)
    orchestrator.delay_s = 0.1
    processes = [build(documents, orchestrator, clock) for _ in range(5)]
    copies = [accept(process) for process in processes for _ in range(20)]
    assert set(await asyncio.gather(*copies)) == {"run-1"}
    assert (len(orchestrator.runs), orchestrator.asked) == (1, 1)


async def test_who_takes_over_from_a_dead_process_starts_the_same_run(
    documents: Documents, orchestrator: FakeOrchestrator, clock: MovableClock
):
    assert await accept(build(documents, orchestrator, clock)) == "run-1"
    # It died after the start, and before it could write down which run that is.
    (delivery,) = await documents.find(DELIVERIES, {})
    held = {"holder": "the dead", "lease_until": clock.both.now() + round(LEASE_S * 1e6)}
    change = Change(set={"run_id": None, "state": "received", **held})
    await documents.update(DELIVERIES, [Update(delivery["_id"], change)])
    clock.move(seconds=LEASE_S + 10)
    assert await accept(build(documents, orchestrator, clock)) == "run-1"
    assert (len(orchestrator.runs), orchestrator.asked) == (1, 2)


async def test_a_start_that_failed_is_tried_again_by_the_next_copy(
    documents: Documents, orchestrator: FakeOrchestrator, clock: MovableClock
):
    deliveries = build(documents, orchestrator, clock)
    orchestrator.is_away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            await accept(deliveries)
    orchestrator.is_away = False
    assert await accept(deliveries) == "run-1"
    ((delivery,), _) = await deliveries.newest(limit=10, cursor=None)
    assert (delivery.state, delivery.code, delivery.copies) == ("started", "", 2)


async def test_without_an_orchestrator_deliveries_are_kept(
    documents: Documents, clock: MovableClock
):
    deliveries = Deliveries(
        documents, missing(Misconfigured("PREFECT_API_URL", "is not set")), clock=clock.both
    )
    with pytest.raises(Misconfigured):
        await accept(deliveries)
    assert await documents.count(DELIVERIES, {"state": "failed"}) == 1


async def test_another_content_or_another_key_is_refused(
    documents: Documents, orchestrator: FakeOrchestrator, clock: MovableClock
):
    deliveries = build(documents, orchestrator, clock)
    await accept(deliveries, signature="s1")
    for key, more, code in (
        ("k1", {"shift_seconds": 1.0, "signature": "s2"}, "idempotency_key_reused"),
        ("k2", {"signature": "s1"}, "replayed_signature"),
    ):
        with pytest.raises(ServiceError) as refused:
            await accept(deliveries, key, **more)
        assert refused.value.code == code
    assert len(orchestrator.runs) == 1


async def test_a_replay_is_a_run_of_its_own(
    documents: Documents, orchestrator: FakeOrchestrator, clock: MovableClock
):
    deliveries = build(documents, orchestrator, clock)
    await accept(deliveries)
    ((delivery,), _) = await deliveries.newest(limit=10, cursor=None)
    replayed = await asyncio.gather(*(deliveries.replay(delivery.id, key=key) for key in "abc"))
    assert {again.replayed_run_id for again in replayed} == {"run-2", "run-3", "run-4"}
    ((delivery,), _) = await deliveries.newest(limit=10, cursor=None)
    assert delivery.replays == 3
    with pytest.raises(ServiceError):
        await deliveries.replay("poll-unknown", key="a")


async def test_a_replay_that_is_asked_for_twice_is_one(
    documents: Documents, orchestrator: FakeOrchestrator, clock: MovableClock
):
    deliveries = build(documents, orchestrator, clock)
    await accept(deliveries)
    ((delivery,), _) = await deliveries.newest(limit=10, cursor=None)
    orchestrator.is_away = True
    with pytest.raises(Unavailable):
        await deliveries.replay(delivery.id, key="a")
    orchestrator.is_away = False
    for _ in range(2):
        again = await deliveries.replay(delivery.id, key="a")
        assert (again.replays, again.replayed_run_id) == (1, "run-2")
    assert len(orchestrator.runs) == 2


async def test_what_never_started_is_replayed_by_the_run_that_its_sender_asks_for_again(
    documents: Documents, orchestrator: FakeOrchestrator, clock: MovableClock
):
    deliveries = build(documents, orchestrator, clock)
    orchestrator.is_away = True
    with pytest.raises(Unavailable):
        await accept(deliveries)
    orchestrator.is_away = False
    ((delivery,), _) = await deliveries.newest(limit=10, cursor=None)
    again = await deliveries.replay(delivery.id, key="a")
    assert (again.state, again.run_id, again.replays) == ("started", "run-1", 0)
    assert await accept(deliveries) == "run-1"
    assert len(orchestrator.runs) == 1


async def test_a_key_that_comes_again_when_its_delivery_is_gone_starts_another_run(
    documents: Documents, orchestrator: FakeOrchestrator, clock: MovableClock
):
    deliveries = build(documents, orchestrator, clock)
    assert await accept(deliveries, key="nightly") == "run-1"
    clock.move(seconds=4_000)
    assert await deliveries.purge(3_600) == 2
    assert await accept(deliveries, key="nightly") == "run-2"


async def test_old_deliveries_and_signatures_are_purged(
    documents: Documents, orchestrator: FakeOrchestrator, clock: MovableClock
):
    deliveries = build(documents, orchestrator, clock)
    await deliveries.prepare()
    await accept(deliveries)
    assert await deliveries.purge(3_600) == 0
    clock.move(seconds=1_000)
    assert await deliveries.purge(3_600) == 1
    assert await documents.count(SIGNATURES, {}) == 0
    clock.move(seconds=3_000)
    assert await deliveries.purge(3_600) == 1
    assert await documents.count(DELIVERIES, {}) == 0
