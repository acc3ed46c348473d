"""Leases: one holder, whatever dies, is cut off, or has a clock that is wrong."""

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import Unavailable
from aletheia.store.clock import SECOND, SYSTEM_CLOCK, Clock, TimeUnit
from aletheia.store.lease import Leases, LeaseTerms, Sightings
from tests.aletheia.resilience.contenders import compete
from tests.aletheia.store.processes import take_once
from tests.fakes.clock import MovableClock
from tests.fakes.documents import LosableDocuments

THINGS = "things"
TERMS = LeaseTerms(60, token="token")


async def with_thing(documents: Documents, **values: Any) -> None:
    document: Document = {"_id": "a", **TERMS.released, **values}
    await documents.insert(THINGS, [document])


async def read_thing(documents: Documents) -> Document:
    return (await documents.get(THINGS, ["a"]))["a"]


def leases_of(documents: Documents, clock: Clock, terms: LeaseTerms = TERMS) -> Leases:
    return Leases(documents, THINGS, terms, clock=clock)


async def test_of_many_at_once_one_takes_it(documents: Documents, clock: MovableClock):
    await with_thing(documents)
    contenders = [leases_of(documents, clock.both).take("a") for _ in range(12)]
    taken = [lease for lease in await asyncio.gather(*contenders) if lease is not None]
    assert [lease.token for lease in taken] == [1]
    assert (await read_thing(documents))["holder"] == taken[0].owner


async def test_one_whose_holder_is_known_to_have_ended_is_taken_before_it_runs_out(
    documents: Documents, clock: MovableClock
):
    await with_thing(documents)
    leases = leases_of(documents, clock.both)
    assert (old := await leases.take("a")) is not None
    assert await leases.take("a") is None
    taken = await leases.take("a", is_over=True)
    assert taken is not None
    assert taken.token == old.token + 1
    assert not await old.renew()


async def test_of_many_processes_at_once_one_takes_it(tmp_path: Path):
    store = EmbeddedDocuments(tmp_path)
    await store.open()
    await store.insert("leased_things", [{"_id": str(number)} for number in range(5)])
    for number in range(5):
        tokens = await asyncio.to_thread(compete, tmp_path, take_once, str(number), processes=3)
        assert sorted(tokens) == [0, 0, 1]
    await store.close()


async def test_a_document_without_a_lease_is_free_and_one_that_is_not_there_is_not_taken(
    documents: Documents, clock: MovableClock
):
    await documents.insert(THINGS, [{"_id": "a"}])
    leases = leases_of(documents, clock.both)
    assert await leases.take("a") is not None
    assert await leases.take("b") is None
    assert await documents.count(THINGS, {}) == 1


@pytest.mark.parametrize(
    ("moved_s", "is_taken"),
    [
        pytest.param(59, False, id="it lasts"),
        pytest.param(64.999_999, False, id="its end, less the skew"),
        pytest.param(65, True, id="its end and the skew"),
        pytest.param(3600, True, id="long over"),
    ],
)
async def test_it_is_taken_over_when_it_has_run_out(
    documents: Documents, clock: MovableClock, moved_s: float, is_taken: bool
):
    await with_thing(documents)
    first = await leases_of(documents, clock.both).take("a")
    assert first is not None
    clock.move(seconds=moved_s)
    second = await leases_of(documents, clock.both).take("a")
    assert (second is not None) == is_taken
    if second is not None:
        assert second.token == 2
        assert not await first.renew()
        assert not await first.write({"value": "stale"})
        assert not await first.release({"value": "stale"})
        assert await second.write({"value": "fresh"})
    assert (await read_thing(documents)).get("value") == ("fresh" if is_taken else None)


@pytest.mark.parametrize("skew_s", [-5, 5])
async def test_clocks_that_differ_by_the_skew_take_nothing_from_each_other(
    documents: Documents, clock: MovableClock, skew_s: float
):
    await with_thing(documents)
    assert await leases_of(documents, clock.both).take("a")
    other = leases_of(documents, clock.off_by(seconds=skew_s))
    assert await other.take("a") is None
    clock.move(seconds=59)
    assert await other.take("a") is None


async def test_what_a_clock_an_hour_ahead_left_is_taken_over_at_once(
    documents: Documents, clock: MovableClock
):
    await with_thing(documents)
    ahead = await leases_of(documents, clock.off_by(hours=1)).take("a")
    assert ahead is not None
    assert await leases_of(documents, clock.both).take("a") is not None
    assert not await ahead.renew()


async def test_a_clock_that_is_set_back_leaves_no_lease_of_before(
    documents: Documents, clock: MovableClock
):
    await with_thing(documents)
    assert await leases_of(documents, clock.both).take("a")
    clock.set(hours=-1)
    assert await leases_of(documents, clock.both).take("a") is not None


async def test_what_stands_for_its_length_by_the_steady_clock_is_taken_over(
    documents: Documents, clock: MovableClock
):
    await with_thing(documents)
    assert await leases_of(documents, clock.both).take("a")
    watcher = leases_of(documents, clock.both)
    for _ in range(3):
        # Somebody sets the clock back again and again, so that the lease never ends by it.
        assert await watcher.take("a") is None
        clock.move(seconds=20)
        clock.set(seconds=-20)
    assert await watcher.take("a") is not None


async def test_what_is_renewed_does_not_stand(documents: Documents, clock: MovableClock):
    await with_thing(documents)
    first = await leases_of(documents, clock.both).take("a")
    assert first is not None
    watcher = leases_of(documents, clock.both)
    for _ in range(12):
        assert await watcher.take("a") is None
        clock.move(seconds=20)
        assert await first.renew()


async def test_a_named_owner_takes_its_own_again_and_its_former_holding_is_over(
    documents: Documents, clock: MovableClock
):
    await with_thing(documents)
    leases = leases_of(documents, clock.both)
    first = await leases.take("a", "run 1")
    assert first is not None
    assert await leases.take("a", "run 2") is None
    again = await leases.take("a", "run 1")
    assert again is not None
    assert (first.token, again.token) == (1, 2)
    assert not await first.renew()
    assert await again.renew()


async def test_without_a_token_an_owner_of_its_own_keeps_others_out(
    documents: Documents, clock: MovableClock
):
    await with_thing(documents)
    leases = leases_of(documents, clock.both, LeaseTerms(60))
    first = await leases.take("a")
    clock.move(seconds=65)
    second = await leases.take("a")
    assert first is not None
    assert second is not None
    assert first.owner != second.owner
    assert (first.token, second.token) == (0, 0)
    assert not await first.write({"value": 1})
    assert await second.write({"value": 2})


async def test_it_is_taken_with_a_condition_and_a_change_in_one_write(
    documents: Documents, clock: MovableClock
):
    await with_thing(documents, due_at=0, notes="old", rounds=1)
    leases = leases_of(documents, clock.both)
    change = Change(set={"seen_at": 7}, unset=["notes"], increase={"rounds": 1})
    assert await leases.take("a", where={"due_at": 1}, change=change) is None
    lease = await leases.take("a", where={"due_at": 0}, change=change)
    assert lease is not None
    assert {name: lease.document.get(name) for name in ("seen_at", "notes", "rounds")} == {
        "seen_at": 7,
        "notes": None,
        "rounds": 2,
    }


async def test_what_was_read_before_somebody_else_took_it_takes_nothing(
    documents: Documents, clock: MovableClock
):
    await with_thing(documents)
    seen = await read_thing(documents)
    leases = leases_of(documents, clock.both)
    first = await leases.take("a", seen=seen)
    assert first is not None
    assert await leases.take("a", seen=seen) is None
    assert await first.release()
    assert await leases.take("a", seen=await read_thing(documents)) is not None


async def test_a_write_whose_own_condition_fails_loses_no_lease(
    documents: Documents, clock: MovableClock
):
    await with_thing(documents, rounds=1)
    lease = await leases_of(documents, clock.both).take("a")
    assert lease is not None
    assert not await lease.write({"rounds": 3}, where={"rounds": 2})
    assert await lease.write({"rounds": 2}, where={"rounds": 1}, renews=True)


async def test_holding_renews_and_releases(documents: Documents):
    await with_thing(documents)
    terms = LeaseTerms(0.3, skew_s=0, token="token")
    lease = await leases_of(documents, SYSTEM_CLOCK, terms).take("a")
    assert lease is not None
    async with lease.hold():
        first_end = (await read_thing(documents))["lease_until"]
        other = leases_of(documents, SYSTEM_CLOCK, terms)
        for _ in range(12):
            await asyncio.sleep(0.05)
            assert await other.take("a") is None
        assert (await read_thing(documents))["lease_until"] > first_end
    thing = await read_thing(documents)
    assert (thing["holder"], thing["lease_until"], thing["token"]) == ("", 0, 1)


async def test_a_holder_that_is_cancelled_releases_it(documents: Documents):
    await with_thing(documents)
    leases = leases_of(documents, SYSTEM_CLOCK)
    holding = asyncio.Event()

    async def hold() -> None:
        lease = await leases.take("a")
        assert lease is not None
        async with lease.hold():
            holding.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await holding.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert (await read_thing(documents))["holder"] == ""


async def test_a_holder_that_was_overtaken_says_so_and_leaves_the_other_one_alone(
    documents: Documents, clock: MovableClock, caplog: pytest.LogCaptureFixture
):
    await with_thing(documents)
    terms = LeaseTerms(0.06, token="token")
    lease = await leases_of(documents, SYSTEM_CLOCK, terms).take("a")
    assert lease is not None
    async with lease.hold():
        # Whoever has a clock that is far ahead takes everything.
        other = await leases_of(documents, clock.off_by(days=3650)).take("a")
        assert other is not None
        async with asyncio.timeout(10):
            while "is somebody else's by now" not in caplog.text:
                await asyncio.sleep(0.01)
    assert await other.renew()


async def test_a_holder_outlives_a_store_that_is_away_for_less_than_the_lease(
    losable: LosableDocuments, caplog: pytest.LogCaptureFixture
):
    await with_thing(losable)
    lease = await leases_of(losable, SYSTEM_CLOCK, LeaseTerms(0.6, skew_s=0)).take("a")
    assert lease is not None
    async with lease.hold():
        losable.is_lost = True
        while "was not renewed" not in caplog.text:
            await asyncio.sleep(0.01)
        losable.is_lost = False
        async with asyncio.timeout(10):
            while (await read_thing(losable))["lease_until"] <= SYSTEM_CLOCK.now() + 0.3 * SECOND:
                await asyncio.sleep(0.01)


async def test_a_lease_that_cannot_be_released_runs_out(
    losable: LosableDocuments, caplog: pytest.LogCaptureFixture
):
    await with_thing(losable)
    lease = await leases_of(losable, SYSTEM_CLOCK, LeaseTerms(0.06)).take("a")
    assert lease is not None
    async with lease.hold():
        losable.is_lost = True
    assert "is not released and has to run out" in caplog.text


async def test_a_taking_whose_answer_is_lost_runs_out(
    losable: LosableDocuments, clock: MovableClock
):
    await with_thing(losable)
    seen = await read_thing(losable)
    leases = leases_of(losable, clock.both)
    losable.loses_answers = True
    with pytest.raises(Unavailable):
        await leases.take("a", seen=seen)
    losable.loses_answers = False
    assert await leases.take("a") is None
    clock.move(seconds=65)
    assert await leases.take("a") is not None


@pytest.mark.parametrize("unit", TimeUnit)
async def test_what_the_condition_finds_has_ended_and_is_free(
    documents: Documents, clock: MovableClock, unit: TimeUnit
):
    terms = LeaseTerms(60, unit=unit)
    now = clock.both.now()
    lefts = [-3600, -6, -5.000_001, -5, -4.999_999, 0, 60, 64.999_999, 65, 65.000_001, 3600, 90_000]
    await documents.insert(
        THINGS,
        [
            {"_id": f"{left:+}", "holder": "x", "lease_until": unit.write(now + round(left * 1e6))}
            for left in lefts
        ],
    )
    ended = {document["_id"] for document in await documents.find(THINGS, terms.ended_where(now))}
    assert ended == {f"{left:+}" for left in (-3600, -6, -5.000_001, -5)}
    free = {
        document["_id"]
        for document in await documents.find(THINGS, {})
        if terms.is_free(document, now)
    }
    assert free == ended | {f"{left:+}" for left in (65.000_001, 3600, 90_000)}


async def test_many_are_taken_and_renewed_in_one_write_each(
    documents: Documents, clock: MovableClock
):
    now = clock.both.now()
    await documents.insert(THINGS, [{"_id": f"{n:03}", **TERMS.released} for n in range(300)])
    free = TERMS.ended_where(now)

    async def take(owner: str) -> int:
        rows = await documents.find(THINGS, free, limit=300)
        change = Change(set=TERMS.values(owner, now), increase={"token": 1})
        updates = [Update(row["_id"], change, TERMS.seen_where(row)) for row in rows]
        return sum(await documents.update(THINGS, updates))

    assert sum(await asyncio.gather(take("x"), take("y"))) == 300
    owners = await documents.count_by(THINGS, "holder", {"token": 1})
    assert sum(owners.values()) == 300
    assert await documents.find(THINGS, free) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    length_s=st.floats(0.001, 100_000),
    skew_s=st.floats(0, 60),
    waited_s=st.floats(0, 200_000),
)
def test_a_lease_is_over_exactly_from_its_end_and_the_skew_on(
    length_s: float, skew_s: float, waited_s: float
):
    terms = LeaseTerms(length_s, skew_s)
    clock = MovableClock()
    document: Document = {"_id": "a", **terms.values("x", clock.both.now())}
    clock.now += timedelta(seconds=waited_s)
    is_over = round(waited_s, 6) >= round(round(length_s, 6) + round(skew_s, 6), 6)
    assert terms.is_free(document, clock.both.now()) == is_over


def test_sightings_remember_no_more_than_they_may(
    clock: MovableClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aletheia.store.lease.MAX_SIGHTINGS", 2)
    sightings = Sightings(clock.both)
    assert sightings.unchanged_s("a", 1) == 0
    clock.move(seconds=10)
    assert sightings.unchanged_s("a", 1) == 10
    assert sightings.unchanged_s("a", 2) == 0
    sightings.unchanged_s("b", 1)
    sightings.unchanged_s("c", 1)
    clock.move(seconds=10)
    assert sightings.unchanged_s("c", 1) == 10
    assert sightings.unchanged_s("a", 2) == 0
    sightings.forget("c")
    assert sightings.unchanged_s("c", 1) == 0
