"""Counters go with the write that carries them, on every backend; on files with its transaction."""

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import FILE, EmbeddedDocuments
from aletheia.documents import Change, Document, Documents, Update
from aletheia.metrics import BREAKER_OPENINGS, TASK_RETRIES
from aletheia.series import Counters

ONE = {"aletheia_of_a_test_total": 1.0}
NAME = "aletheia_of_a_test_total"


async def count(documents: Documents) -> float:
    return (await documents.counters()).get(NAME, 0)


async def test_an_insert_counts_what_is_new(documents: Documents):
    await documents.insert("things", [{"_id": "a"}])
    counts = {"a": ONE, "b": {NAME: 10}, "c": ONE}
    await documents.insert("things", [{"_id": "a"}, {"_id": "b"}, {"_id": "c"}], counts=counts)
    assert await count(documents) == 11


async def test_an_update_counts_if_it_is_made(documents: Documents):
    await documents.insert("things", [{"_id": "a", "v": 1}, {"_id": "b", "v": 2}])
    change = Change(set={"v": 3})
    updates = [Update(id_, change, {"v": 1}, ONE) for id_ in ("a", "b", "c")]
    assert await documents.update("things", updates) == [True, False, False]
    assert await documents.update("things", updates) == [False, False, False]
    assert await count(documents) == 1


async def test_an_upsert_counts_each_time(documents: Documents):
    update = Update("a", Change(increase={"n": 1}), counts={NAME: 0.5})
    await documents.upsert("things", [update, update])
    await documents.upsert("things", [update])
    assert await count(documents) == 1.5


async def test_a_deletion_counts_each_document(documents: Documents):
    await documents.insert("things", [{"_id": str(number)} for number in range(5)])
    assert await documents.delete("things", {}, limit=3, counts={NAME: -1}) == 3
    assert await documents.delete("things", {}, counts={NAME: -1}) == 2
    assert await documents.delete("things", {}, counts={NAME: -1}) == 0
    assert await count(documents) == -5


async def test_what_is_noted_is_counted_without_a_write_of_its_own(documents: Documents):
    documents.note(ONE)
    await documents.insert("things", [{"_id": "a"}])
    documents.note(ONE)
    assert await count(documents) == 2
    assert await count(documents) == 2


async def test_writers_at_once_lose_nothing(documents: Documents):
    async def write(number: int) -> None:
        await documents.insert("things", [{"_id": f"{number}"}], counts={f"{number}": ONE})
        documents.note(ONE)

    await asyncio.gather(*map(write, range(40)))
    assert await count(documents) == 80


async def test_label_values_beyond_a_metrics_bound_become_other(documents: Documents):
    for number in range(30):
        documents.note(BREAKER_OPENINGS.add(f"dependency-{number}"))
        await documents.upsert("things", [Update("a", Change(set={"v": number}))])
    found = Counters(await documents.counters()).by(BREAKER_OPENINGS, "dependency")
    named = BREAKER_OPENINGS.max_named
    assert found == {
        **{f"dependency-{number}": 1 for number in range(named)},
        "other": 30 - named,
    }


async def test_counters_survive_the_process_and_every_document(tmp_path: Path):
    for expected in (2, 4):
        store = EmbeddedDocuments(tmp_path)
        await store.open()
        await store.insert("things", [{"_id": "a"}], counts={"a": ONE})
        store.note(ONE)
        await store.delete("things", {})
        assert await count(store) == expected
        await store.close()


async def test_closing_writes_what_was_noted_and_may_be_repeated(tmp_path: Path):
    store = EmbeddedDocuments(tmp_path)
    await store.open()
    store.note(ONE)
    await store.close()
    await store.close()
    await store.open()
    assert await count(store) == 1
    await store.close()


async def test_a_store_that_is_locked_is_closed_all_the_same(tmp_path: Path):
    store = EmbeddedDocuments(tmp_path)
    await store.open()
    store.note(ONE)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    await store.close()
    assert time.monotonic() - began < 4
    other.close()


async def test_bounds_hold_for_processes_together(tmp_path: Path):
    stores = [EmbeddedDocuments(tmp_path) for _ in range(3)]
    for place, store in enumerate(stores):
        await store.open()
        for number in range(6):
            store.note(TASK_RETRIES.add(f"type-{place}-{number}"))
            await store.insert("things", [{"_id": f"{place}-{number}"}])
    found = Counters(await stores[0].counters()).by(TASK_RETRIES, "type")
    assert len(found) == TASK_RETRIES.max_sets
    assert sum(found.values()) == 18
    for store in stores:
        await store.close()


async def test_a_transaction_that_is_rolled_back_counts_nothing(tmp_path: Path):
    store = EmbeddedDocuments(tmp_path)
    await store.open()

    def fail(connection: sqlite3.Connection) -> None:
        raise ValueError(connection)

    store.note(ONE)
    good: Document = {"_id": "good"}
    outcomes = await asyncio.gather(
        store.insert("things", [good], counts={"good": ONE}),
        store.writer.ask(fail),
        store.insert("things", [{"_id": "other"}], counts={"other": ONE}),
        return_exceptions=True,
    )
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
    assert await count(store) == 3
    await store.close()


async def test_a_change_that_does_not_fit_is_not_counted(tmp_path: Path):
    store = EmbeddedDocuments(tmp_path)
    await store.open()
    await store.insert("things", [{"_id": "a", "v": "text"}, {"_id": "b", "v": 1}])
    change = Change(increase={"v": 1})
    with pytest.raises(ValueError, match="not a number"):
        await store.update("things", [Update(id_, change, counts=ONE) for id_ in "ab"])
    assert await count(store) == 1
    await store.close()


async def test_what_another_process_counts_meanwhile_is_kept(tmp_path: Path):
    store = EmbeddedDocuments(tmp_path)
    await store.open()
    await store.insert("things", [{"_id": "a"}], counts={"a": ONE})
    with contextlib.closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("UPDATE counters SET value = value + 100")
    await store.insert("things", [{"_id": "b"}], counts={"b": ONE})
    assert await count(store) == 102
    await store.close()
