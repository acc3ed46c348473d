"""A store that is locked, full or gone is waited for."""

import asyncio
import errno
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import NetworkTimeout, OperationFailure, ServerSelectionTimeoutError

from aletheia.adapters.documents import statements, worker
from aletheia.adapters.documents.embedded import FILE, EmbeddedDocuments
from aletheia.adapters.documents.mongodb_errors import translating
from aletheia.documents import Change, Document, Documents, Take, Update, Upsert
from aletheia.errors import Unavailable
from aletheia.store import patience as patience_module
from aletheia.store.patience import Patience
from tests.fakes.documents import InTurnDocuments, LosableDocuments

DOCUMENT = {"_id": "a", "n": 1}


@pytest.fixture
async def embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[EmbeddedDocuments]:
    monkeypatch.setattr(worker, "LOCK_TIMEOUT_S", 0.05)
    store = EmbeddedDocuments(tmp_path)
    await store.open()
    await store.insert("rows", [])
    yield store
    await store.close()


async def test_a_file_that_is_locked_is_waited_for(
    embedded: EmbeddedDocuments, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    patience = Patience(pause_s=0.02)
    store = patience.wrap(embedded)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.WARNING):
        inserting = asyncio.create_task(store.insert("rows", [DOCUMENT]))
        while patience.waited_s is None:
            await asyncio.sleep(0.01)
        assert "locked" in patience.reason
        assert not inserting.done()
        other.execute("ROLLBACK")
        assert await inserting == {"a"}
    other.close()
    assert patience.waited_s is None
    assert "nothing is claimed until it is back" in caplog.text
    assert await store.get("rows", ["a"]) == {"a": DOCUMENT}


def full() -> Exception:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
    return error


FAULTS: list[Callable[[], Exception]] = [
    full,
    lambda: sqlite3.OperationalError("disk I/O error"),
    lambda: sqlite3.OperationalError("attempt to write a readonly database"),
    lambda: OSError(errno.ENOSPC, "No space left on device"),
    lambda: OSError(errno.EDQUOT, "Disk quota exceeded"),
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_file_that_cannot_be_written_is_waited_for(
    embedded: EmbeddedDocuments, monkeypatch: pytest.MonkeyPatch, fault: Callable[[], Exception]
):
    left = [fault() for _ in range(3)]
    insert = statements.insert_rows

    def refuse(*args: object) -> set[str]:
        if left:
            raise left.pop()
        return insert(*args)  # pyright: ignore[reportArgumentType] - as they came

    monkeypatch.setattr("aletheia.adapters.documents.statements.insert_rows", refuse)
    assert await Patience(pause_s=0).wrap(embedded).insert("rows", [DOCUMENT]) == {"a"}
    assert left == []


@pytest.mark.parametrize(
    "fault",
    [
        OperationFailure("you are over your space quota", 8000),
        OperationFailure("Request rate is large", 16500),
        OperationFailure("disk full", 14031),
        OperationFailure("not primary", 10107),
        NetworkTimeout("timed out"),
        ServerSelectionTimeoutError("no servers"),
    ],
)
async def test_a_server_that_is_full_or_gone_is_waited_for(fault: Exception):
    left = [fault] * 3

    async def call() -> str:
        with translating("mongodb://localhost"):
            if left:
                raise left.pop()
        return "done"

    assert await Patience(pause_s=0).repeat(call) == "done"


@pytest.fixture
def lost(losable: LosableDocuments) -> LosableDocuments:
    losable.is_lost = True
    return losable


async def read(store: Documents) -> object:
    return await store.get("rows", ["a"])


async def test_it_is_waited_for_only_so_long(lost: LosableDocuments):
    with pytest.raises(Unavailable):
        await read(Patience(max_wait_s=0.05, pause_s=0.01).wrap(lost))


async def test_whoever_ends_waits_no_more(lost: LosableDocuments):
    patience = Patience()
    reading = asyncio.create_task(read(patience.wrap(lost)))
    await asyncio.sleep(0.01)
    patience.end()
    async with asyncio.timeout(1):
        with pytest.raises(Unavailable):
            await reading
        with pytest.raises(Unavailable):
            await read(patience.wrap(lost))


async def test_after_the_end_only_one_call_waits_for_a_lock_and_the_file_is_closed_at_once(
    embedded: EmbeddedDocuments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker, "LOCK_TIMEOUT_S", 60)
    monkeypatch.setattr(patience_module, "LAST_CALL_S", 0.1)
    patience = Patience()
    store = patience.wrap(embedded)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    inserting = asyncio.create_task(store.insert("rows", [DOCUMENT]))
    await asyncio.sleep(0.01)
    inserting.cancel()
    patience.end()
    async with asyncio.timeout(5):
        for _ in range(20):
            with pytest.raises(Unavailable, match="no answer"):
                await store.insert("rows", [DOCUMENT])
        await embedded.close()
    other.close()


async def test_a_call_under_way_at_the_end_takes_no_longer_than_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(patience_module, "LAST_CALL_S", 0.05)
    patience = Patience(max_wait_s=0)
    calling = asyncio.create_task(patience.repeat(lambda: asyncio.sleep(60)))
    await asyncio.sleep(0.1)
    assert not calling.done()
    patience.end()
    patience.end()
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="no answer"):
            await calling


async def test_whoever_waits_for_nothing_hears_of_the_first_failure(
    lost: LosableDocuments, caplog: pytest.LogCaptureFixture
):
    with pytest.raises(Unavailable):
        await read(Patience(max_wait_s=0).wrap(lost))
    assert caplog.text == ""


async def test_a_call_that_waits_can_be_cancelled(lost: LosableDocuments):
    patience = Patience()
    reading = asyncio.create_task(read(patience.wrap(lost)))
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert patience.waited_s is None


@pytest.mark.parametrize("fault", [Unavailable("upstream", "down"), ValueError("too large")])
async def test_what_is_no_fault_of_the_store_is_raised_at_once(fault: Exception):
    async def call() -> None:
        raise fault

    with pytest.raises(type(fault)):
        await Patience().repeat(call)


class LosesOneWrite(InTurnDocuments):
    """Has no transactions, and is lost once: right before the second write of a group."""

    is_lost = True

    async def take(self, *args: Any, **options: Any) -> Document | None:
        if self.is_lost:
            self.is_lost = False
            raise Unavailable("store", "lost for a moment")
        return await super().take(*args, **options)


async def test_what_is_written_of_a_group_is_not_written_again(tmp_path: Path):
    store = LosesOneWrite(tmp_path)
    await store.open()
    patient = Patience(pause_s=0.01).wrap(store)
    one_more = Upsert("rows", [Update("a", Change(increase={"n": 1}))])
    taking = Take("rows", {"_id": "a"}, Change(set={"is_taken": True}))
    _, taken = await patient.write([one_more, taking])
    assert taken == {"_id": "a", "n": 1, "is_taken": True}
    assert not store.is_lost
    await store.close()
