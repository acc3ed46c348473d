"""The document store every domain keeps its state in: one interface, several backends.

A document is a JSON object with a string `_id`. It may carry one `payload` of opaque bytes that
is kept apart, cannot be filtered on, and is read only when asked for. Filters and changes are the
core that SQLite and every MongoDB-compatible service agree on; each change touches one document
and is atomic there. There are no transactions over several documents to rely on; what belongs
together is written as one group all the same, which is one commit on the embedded store.

Beside the documents there are counters: numbers by name, which writes add to
(docs/decisions/0018-counters.md). A write carries what to add if it is made: on the embedded store
both happen or neither does; elsewhere the counters follow at once, and a process that is killed in
between leaves them out. What is only noted goes along with the next write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from aletheia.series import NOTHING, Counts

Document: TypeAlias = dict[str, Any]
"""JSON values by name; `_id` is a string; `payload`, where present, is bytes."""

Where: TypeAlias = Mapping[str, Any]
"""Conditions that must all hold, in MongoDB's notation.

A name, dotted for nested values (`dead.code`), maps to a value it must equal (`None` also matches
a missing one) or to operators: `{"$in": [...]}`, `{"$lt": x}`, `{"$lte": x}`, `{"$gt": x}`,
`{"$gte": x}`, `{"$ne": x}`. An ordering operator matches only values of its operand's own kind
(numbers or strings); `$ne` also matches a missing value.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What to change in one document, by (dotted) names; `payload` stands for the bytes.

    A number to increase that is missing counts as 0.
    """

    set: Mapping[str, Any] = field(default_factory=dict[str, Any])
    unset: Sequence[str] = ()
    increase: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Update:
    """A change of the document `id`, made only if `where` holds for it at that moment.

    `counts` is what to add to counters if it is made.
    """

    id: str
    change: Change
    where: Where = field(default_factory=dict[str, Any])
    counts: Counts = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Insert:
    """`Documents.insert`, as one of a group of writes.

    With `is_condition`, what follows in its group is written only if this inserts something.
    """

    collection: str
    documents: Sequence[Document]
    counts: Mapping[str, Counts] = field(default_factory=dict[str, Counts])
    is_condition: bool = False


@dataclass(frozen=True, slots=True)
class Upsert:
    """`Documents.upsert`, as one of a group of writes."""

    collection: str
    updates: Sequence[Update]


@dataclass(frozen=True, slots=True)
class Take:
    """`Documents.take`, as one of a group of writes.

    With `is_condition`, what follows in its group is written only if this takes a document.
    """

    collection: str
    where: Where
    change: Change
    counts: Counts = field(default_factory=dict[str, float])
    is_condition: bool = False


Write: TypeAlias = Insert | Upsert | Take


class Documents(Protocol):
    """A document store. Every method raises `Unavailable("store", …)` when it cannot be reached.

    An answer to a write means it is durable. Collection names match `[a-z][a-z0-9_]{0,62}`; a
    collection exists as soon as it is used.
    """

    has_transactions: bool
    """Whether `write` makes all of its writes or none."""

    async def open(self) -> None:
        """Connect, and create what the store needs. Idempotent."""
        ...

    async def close(self) -> None:
        """Finish what is under way and release every resource. Idempotent."""
        ...

    async def ensure_index(self, collection: str, names: Sequence[str]) -> None:
        """Make lookups by these (dotted) names fast. Idempotent."""
        ...

    async def insert(
        self,
        collection: str,
        documents: Sequence[Document],
        *,
        counts: Mapping[str, Counts] | None = None,
    ) -> set[str]:
        """Insert what is not there yet, and return the ids of that.

        What is there stays as it is. Of two documents with one id in a call the first counts.
        `counts`, by id, is what to add to counters for a document that is new.
        """
        ...

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        """Change documents, each on its own.

        Returns:
            For each update, in order, whether its document was there and its condition held.

        Raises:
            ValueError: a change does not fit its document; the others have been made.
        """
        ...

    async def upsert(self, collection: str, updates: Sequence[Update]) -> None:
        """Change documents by id, creating those that are missing; `where` must be empty.

        Raises:
            ValueError: as `update`.
        """
        ...

    async def get(
        self, collection: str, ids: Sequence[str], *, with_payload: bool = False
    ) -> dict[str, Document]:
        """Read documents by id; those that are not there are not in the answer."""
        ...

    async def find(
        self,
        collection: str,
        where: Where,
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        with_payload: bool = False,
    ) -> list[Document]:
        """Read the documents for which `where` holds, in the order of one name, then of `_id`."""
        ...

    async def take(
        self,
        collection: str,
        where: Where,
        change: Change,
        *,
        sort: str | None = None,
        counts: Counts = NOTHING,
    ) -> Document | None:
        """Change the first document for which `where` holds and return it as it is afterwards.

        Two callers at once never take the same document if the change makes `where` false.
        `counts` is what to add to counters if there is one.
        """
        ...

    async def write(self, writes: Sequence[Write]) -> list[Any]:
        """Make writes in their order, up to a condition that does not hold.

        Where the store has transactions they are one. Elsewhere they are made one after the other:
        a failure, or a process that is killed in between, leaves out the later ones.

        Returns:
            For each write that was made what the method of its name returns.

        Raises:
            ValueError: as the method of its name.
        """
        ...

    async def delete(
        self,
        collection: str,
        where: Where,
        *,
        limit: int | None = None,
        counts: Counts = NOTHING,
    ) -> int:
        """Delete the documents for which `where` holds; return how many there were.

        `counts` is what to add to counters for each of them.
        """
        ...

    async def count(self, collection: str, where: Where) -> int:
        """Count the documents for which `where` holds."""
        ...

    async def count_by(self, collection: str, name: str, where: Where) -> dict[str, int]:
        """Count the documents for which `where` holds by the string value of one top-level name.

        Documents without it, or with something else there, are not counted.
        """
        ...

    async def clock_skew_s(self) -> float | None:
        """Return how far the server's clock, if it has one, is ahead of ours, seconds."""
        ...

    def note(self, counts: Counts) -> None:
        """Add to counters with the next write, or when the store is closed."""
        ...

    async def counters(self) -> dict[str, float]:
        """Read all counters, what was noted here among them."""
        ...


async def write_in_turn(documents: Documents, writes: Sequence[Write]) -> list[Any]:
    """Make writes one after the other, as `Documents.write` does where nothing is a transaction."""
    answers: list[Any] = []
    for write in writes:
        answers.append(await _make(documents, write))
        if is_unmet(write, answers[-1]):
            break
    return answers


def is_unmet(write: Write, answer: object) -> bool:
    """Return whether a write that was made is a condition that does not hold."""
    return not isinstance(write, Upsert) and write.is_condition and not answer


async def _make(documents: Documents, write: Write) -> Any:
    match write:
        case Insert():
            return await documents.insert(write.collection, write.documents, counts=write.counts)
        case Upsert():
            return await documents.upsert(write.collection, write.updates)
        case Take():
            return await documents.take(
                write.collection, write.where, write.change, counts=write.counts
            )
