"""Leases on documents: one holder at a time, and a way on when a holder dies (SPEC §1, Claims).

A document keeps who holds it, until when, and, where it has one, a token that grows each time the
lease is taken. Taking it is one conditional write against what was read, so of any number of
contenders one gets it. Whoever was overtaken changes nothing any more. A lease is over

- when its end, and the skew between clocks, have passed;
- when it ends later than a lease that begins now could, and the skew: whoever wrote it had a clock
  that was ahead, or ours has been set back;
- when we have seen it stand unchanged for its whole length by a clock that nobody sets.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update, Where
from aletheia.errors import Unavailable
from aletheia.store.clock import Clock, TimeUnit, microseconds

log = logging.getLogger(__name__)

DEFAULT_SKEW_S: Final = 5.0
"""How far the clocks of two machines may differ, seconds (SPEC §1, Claims)."""

RENEWALS_PER_LEASE: Final = 3
"""A lease is renewed every third of it (SPEC §1, Claims)."""

MAX_SIGHTINGS: Final = 10_000


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long a lease lasts, and the names of the values in which a document keeps it.

    The methods are for whoever writes many leases at once; `Leases` takes them one by one.
    """

    length_s: float  # how long it lasts without being renewed
    skew_s: float = DEFAULT_SKEW_S  # how far clocks may differ
    owner: str = "holder"  # who holds it
    until: str = "lease_until"  # when it ends
    token: str | None = None  # grows each time it is taken; without one each taking has a new owner
    nobody: str | None = ""  # the owner of what nobody holds
    unit: TimeUnit = TimeUnit.MICROSECONDS  # how `until` is written

    def end(self, now: int) -> float:
        """Return the end of a lease that begins now, as it is stored."""
        return self.unit.write(now + microseconds(self.length_s))

    def values(self, owner: str | None, now: int) -> dict[str, Any]:
        """Return what to set in a document whose lease begins now."""
        return {self.owner: owner, self.until: self.end(now)}

    @property
    def released(self) -> dict[str, Any]:
        """What to set in a document, or to begin it with, that nobody holds."""
        return {self.owner: self.nobody, self.until: 0}

    def ended_where(self, now: int) -> Where:
        """Return the condition that a lease has ended, and the skew has passed."""
        return {self.until: {"$lte": self.unit.write(now - microseconds(self.skew_s))}}

    def is_free(self, document: Document, now: int) -> bool:
        """Return whether nobody holds a document, or its lease is over by the clock."""
        if document.get(self.owner) in (None, self.nobody):
            return True
        left = self.end_of(document) - now
        skew, length = microseconds(self.skew_s), microseconds(self.length_s)
        return not -skew < left <= length + skew

    def end_of(self, document: Document) -> int:
        """Return when a document's lease ends, microseconds; 0 if it never had one."""
        return self.unit.read(document.get(self.until) or 0)

    def seen_where(self, document: Document) -> dict[str, Any]:
        """Return the condition that a document's lease is still as it was read."""
        names = [self.owner, self.until, *([self.token] if self.token else [])]
        return {name: document.get(name) for name in names}


class Sightings:
    """Remembers since when documents have not changed, by a clock that nobody sets."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[object, float]] = {}

    def unchanged_s(self, name: str, mark: object) -> float:
        """Note a document's mark; return for how many seconds it has been the same."""
        now_s = self._clock.steady_s()
        known, since_s = self._seen.get(name, (None, now_s))
        if known == mark:
            return now_s - since_s
        self._seen.pop(name, None)
        while len(self._seen) >= MAX_SIGHTINGS:
            del self._seen[next(iter(self._seen))]
        self._seen[name] = mark, now_s
        return 0.0

    def forget(self, name: str) -> None:
        """Forget that something was seen."""
        self._seen.pop(name, None)


class Leases:
    """The leases on the documents of one collection; taking a lease creates no document."""

    def __init__(
        self, documents: Documents, collection: str, terms: LeaseTerms, *, clock: Clock
    ) -> None:
        self.documents, self.collection = documents, collection
        self.terms, self.clock = terms, clock
        self._sightings = Sightings(clock)

    def is_free(self, document: Document) -> bool:
        """Return whether a document can be taken now; noted, so that a dead holder is found out."""
        if self.terms.is_free(document, self.clock.now()):
            self._sightings.forget(document["_id"])
            return True
        mark = self.terms.seen_where(document)
        return self._sightings.unchanged_s(document["_id"], mark) >= self.terms.length_s

    async def take(
        self,
        id_: str,
        owner: str | None = None,
        *,
        seen: Document | None = None,
        where: Where | None = None,
        change: Change | None = None,
        is_over: bool = False,
    ) -> "Lease | None":
        """Take the lease on a document, or return `None` where another owner has it or was faster.

        Args:
            id_: of the document.
            owner: who takes it; one that has it already takes it again. `None` is a new owner.
            seen: the document as it was just read; `None` reads it.
            where: what else must hold when it is taken.
            change: what else to change then.
            is_over: whether the caller knows that nobody works on it, whatever the lease says.

        After an `Unavailable` the lease may be taken, and runs out then.
        """
        terms = self.terms
        if seen is None:
            seen = (await self.documents.get(self.collection, [id_])).get(id_)
        if seen is None:
            return None
        if not (is_over or seen.get(terms.owner) == owner or self.is_free(seen)):
            return None
        owner = owner or uuid.uuid4().hex
        change = change or Change()
        increase = {terms.token: 1} if terms.token else {}
        taken = await self.documents.take(
            self.collection,
            {"_id": id_, **(where or {}), **terms.seen_where(seen)},
            Change(
                set={**change.set, **terms.values(owner, self.clock.now())},
                unset=change.unset,
                increase={**change.increase, **increase},
            ),
        )
        if taken is None:
            return None
        self._sightings.forget(id_)
        return Lease(self, taken)


class Lease:
    """A lease on one document, as it was then, that we took; `Leases.take` makes it."""

    def __init__(self, leases: Leases, document: Document) -> None:
        self._leases, self._terms, self.document = leases, leases.terms, document

    @property
    def id(self) -> str:
        """Of the document."""
        return self.document["_id"]

    @property
    def owner(self) -> str:
        """Who took it."""
        return self.document[self._terms.owner]

    @property
    def token(self) -> int:
        """How often it was taken, this time included; 0 where that is not counted."""
        return int(self.document[self._terms.token]) if self._terms.token else 0

    async def write(
        self,
        values: Mapping[str, Any],
        *,
        unset: Sequence[str] = (),
        increase: Mapping[str, float] | None = None,
        where: Where | None = None,
        renews: bool = False,
    ) -> bool:
        """Change the document if the lease is still ours, and `where` holds; return whether so.

        `values` are set, `unset` removed, `increase` added; with `renews` the lease begins anew.
        """
        fresh = {self._terms.until: self._terms.end(self._leases.clock.now())} if renews else {}
        change = Change(set={**fresh, **values}, unset=unset, increase=increase or {})
        ours: dict[str, Any] = {**(where or {}), self._terms.owner: self.owner}
        if self._terms.token:
            ours[self._terms.token] = self.token
        update = Update(self.id, change, ours)
        return (await self._leases.documents.update(self._leases.collection, [update]))[0]

    async def renew(self) -> bool:
        """Begin the lease anew; return whether it is still ours, as `write` does."""
        return await self.write({}, renews=True)

    async def release(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        increase: Mapping[str, float] | None = None,
    ) -> bool:
        """Release the document, changed as by `write`; return whether the lease was still ours."""
        return await self.write({**(values or {}), **self._terms.released}, increase=increase)

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncGenerator["Lease"]:
        """Renew the lease every third of it until the end of the context, and release it then."""
        name = f"{self._leases.collection} {self.id!r}"
        try:
            async with renewing(self.renew, length_s=self._terms.length_s, name=name):
                yield self
        finally:
            # A cancelled holder has to release it all the same.
            try:
                await asyncio.shield(self.release())
            except Unavailable as outage:
                log.warning("a lease is not released and has to run out: %s", outage)


@contextlib.asynccontextmanager
async def renewing(
    renew: Callable[[], Awaitable[bool]], *, length_s: float, name: str
) -> AsyncGenerator[None]:
    """Renew leases every third of their length, beside whatever the block does.

    `renew` returns `False` where they are lost. While the store is out of reach it is tried again:
    a lease lasts for two more tries.
    """

    async def renew_for_ever() -> None:
        while True:
            await asyncio.sleep(length_s / RENEWALS_PER_LEASE)
            try:
                if not await renew():
                    log.warning("the lease on %s is somebody else's by now", name)
                    return
            except Unavailable as outage:
                log.warning("the lease on %s was not renewed: %s", name, outage)

    task = asyncio.create_task(renew_for_ever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
