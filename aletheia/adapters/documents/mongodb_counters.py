"""Counters on MongoDB: a document for each number and shard, so that writers rarely meet."""

import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from aletheia.documents import Change, Document, Update
from aletheia.errors import Unavailable
from aletheia.metrics import bound_name
from aletheia.series import Counts

COUNTERS: Final = "aletheia_counters"

SHARDS: Final = 4
"""Documents of one number: writers that add to it at once mostly have one each."""

MAX_REMEMBERED: Final = 10_000
"""Names whose way into the store is remembered."""

log = logging.getLogger(__name__)


class MongoCounters:
    """What one client adds to counters; `upsert` and `read` write and read their documents.

    What could not be added is added with the next write: only a process that ends before loses it.
    """

    def __init__(
        self,
        upsert: Callable[[Sequence[Update]], Awaitable[None]],
        read: Callable[[], Awaitable[Sequence[Document]]],
    ) -> None:
        self._upsert, self._read = upsert, read
        self._shard = uuid.uuid4().int % SHARDS
        self._noted: dict[str, float] = {}
        self._names: dict[str, str] = {}

    def note(self, counts: Counts) -> None:
        """Add something with the next write."""
        for name, amount in counts.items():
            self._noted[name] = self._noted.get(name, 0) + amount

    async def add(self, many: Iterable[Counts] = ()) -> None:
        """Add something, and what was noted, right after the write that makes it true."""
        for counts in many:
            self.note(counts)
        if not self._noted:
            return
        adding, self._noted = self._noted, {}
        try:
            await self._write(adding)
        except (Unavailable, ValueError) as error:
            self.note(adding)
            log.warning("counters are added to with the next write: %s", error)
        except BaseException:
            # Cancelled: what became of it nobody knows, and too little is better than twice.
            log.warning("what was counted last may be missing")
            raise

    async def numbers(self) -> dict[str, float]:
        """Read all counters, the sum of their shards."""
        sums: dict[str, float] = {}
        for document in await self._read():
            name = _name_in(document["_id"])
            sums[name] = sums.get(name, 0) + document.get("value", 0)
        return sums

    async def _write(self, adding: Mapping[str, float]) -> None:
        if not adding.keys() <= self._names.keys():
            await self._find_names(adding)
        sums: dict[str, float] = {}
        for name, amount in adding.items():
            written = self._names[name]
            sums[written] = sums.get(written, 0) + amount
        await self._upsert(
            [
                Update(f"{self._shard}:{name}", Change(increase={"value": amount}))
                for name, amount in sums.items()
            ]
        )

    async def _find_names(self, names: Iterable[str]) -> None:
        """Find where the amounts of names go; two clients at once may exceed a bound by one."""
        known = {_name_in(document["_id"]) for document in await self._read()}
        if len(self._names) > MAX_REMEMBERED:
            self._names.clear()
        for name in names:
            if name not in self._names:
                self._names[name] = name if name in known else bound_name(name, known)
                known.add(self._names[name])


def _name_in(id_: Any) -> str:
    return str(id_).partition(":")[2]
