"""What a client of MongoDB adds to counters while they cannot be written, and after that."""

import asyncio
import contextlib
from collections.abc import Sequence

from aletheia.adapters.documents.mongodb_counters import SHARDS, MongoCounters
from aletheia.documents import Document, Update
from aletheia.errors import Unavailable
from aletheia.series import Counts

ONE = {"aletheia_of_a_test_total": 1.0}


class AwayCounters:
    """Documents of counters that cannot be written for a while."""

    def __init__(self) -> None:
        self.is_away = True
        self.written: list[Counts] = []
        self.rows: list[Document] = []

    async def upsert(self, updates: Sequence[Update]) -> None:
        if self.is_away:
            raise Unavailable("store", "away")
        self.written += [update.change.increase for update in updates]

    async def read(self) -> list[Document]:
        return self.rows


async def test_what_cannot_be_counted_is_counted_with_the_next_write():
    away = AwayCounters()
    counters = MongoCounters(away.upsert, away.read)
    await counters.add([ONE, ONE])
    away.is_away = False
    await counters.add([ONE])
    assert away.written == [{"value": 3}]


async def test_a_write_that_is_cancelled_is_never_counted_twice():
    entered = asyncio.Event()

    async def hang(_: Sequence[Update]) -> None:
        entered.set()
        await asyncio.Event().wait()

    away = AwayCounters()
    counters = MongoCounters(hang, away.read)
    adding = asyncio.create_task(counters.add([ONE]))
    await entered.wait()
    adding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await adding
    assert await counters.numbers() == {}
    later = MongoCounters(away.upsert, away.read)
    away.is_away = False
    await later.add()
    assert away.written == []


async def test_a_number_is_the_sum_of_its_shards():
    away = AwayCounters()
    away.rows = [{"_id": f"{shard}:a|b:c", "value": shard} for shard in range(SHARDS)]
    assert await MongoCounters(away.upsert, away.read).numbers() == {"a|b:c": sum(range(SHARDS))}
