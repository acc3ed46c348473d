"""Decisions about every item of every batch, stored for good, and undoing them (SPEC §4, Dedup).

A decision has a short id, which follows from its run, department, iteration and place, so saving a
batch a second time changes nothing. A dropped item is stored in full.

To undo a decision takes four writes: who undoes it and when; that the pair is distinct; the item;
that it is done. After a crash, doing it again does the rest and returns the same. The pair comes
before the item, so that the item is never dropped again.

To drop a possible repetition takes four: who drops it and when, with the whole item; that it is
dropped, from where it can be undone; only then the item is deleted; that it is done. Doing it again
does the rest.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from aletheia.documents import Change, Document, Documents, Insert, Update
from aletheia.errors import AletheiaError
from aletheia.items.content import ContentStore, SavedItem, read_document, to_document
from aletheia.items.dedup import Decision, DistinctPairs
from aletheia.items.departments import Department
from aletheia.llm.messages import clean_text
from aletheia.store.clock import SYSTEM_CLOCK, Clock
from aletheia.store.project_id import check_project_id

DECISIONS: Final = "aletheia_gather_decisions"
DISTINCT: Final = "aletheia_gather_distinct"

ID_DIGITS: Final = 12
"""Hexadecimal digits of a decision's id; 100,000 differ but for a chance of 2 in 100,000."""


@dataclass(eq=False)
class UndoRefused(AletheiaError):
    """A decision cannot be undone."""

    sentence = "decision {decision_id!r} cannot be undone: {reason}"

    code: str = field()  # `unknown_decision`, `item_was_kept` or `exact_duplicate`
    decision_id: str  # what was asked for
    reason: str  # one sentence for whoever asked


@dataclass(eq=False)
class DropRefused(AletheiaError):
    """A possible repetition cannot be dropped."""

    sentence = "pair {pair_id!r} cannot be dropped: {reason}"

    code: str = field()  # `unknown_pair`, `not_possible`, `was_undone`, `item_gone` …
    pair_id: str  # what was asked for
    reason: str  # one sentence for whoever asked


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """A decision about an item that was dropped, or may be, in a department's batch."""

    id: str  # to undo it with; stable, `ID_DIGITS` hexadecimal digits
    run_id: str
    position: int  # of the department in its run, from 0
    department: str
    department_name: str
    department_number: int | None
    iteration: int
    place: int  # of the item in its batch, from 0
    at: datetime  # when it was taken, in UTC
    decision: Decision
    item: SavedItem  # what was dropped, as it would have been or was saved
    undone_by: str | None = None  # who undid it, or began to; `None` if nobody did
    undone_at: datetime | None = None
    dropped_by: str | None = None  # the operator who dropped it; `None` if it was no operator
    dropped_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PossibleRepetition:
    """An item that was kept although it may repeat another one, and that one."""

    kept: KeptDecision
    match: SavedItem


class ProjectDecisions:
    """The decisions of one project."""

    def __init__(
        self, documents: Documents, project_id: str, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._documents, self._clock = documents, clock
        self._project_id = check_project_id(project_id)
        self._pairs: frozenset[frozenset[str]] = frozenset()

    async def prepare(self) -> None:
        """Create the indices."""
        await self._documents.ensure_index(DECISIONS, ["project_id", "is_kept", "order"])
        await self._documents.ensure_index(DECISIONS, ["run_id"])
        await self._documents.ensure_index(DISTINCT, ["project_id"])

    async def distinct_pairs(self) -> DistinctPairs:
        """Return the pairs of ids that an operator has declared distinct.

        They are counted each time, and read when there are more: none is ever deleted.
        """
        ours = {"project_id": self._project_id}
        if await self._documents.count(DISTINCT, ours) != len(self._pairs):
            found = await self._documents.find(DISTINCT, ours)
            self._pairs = frozenset(frozenset(document["pair"]) for document in found)
        return self._pairs

    def describe(
        self,
        run_id: str,
        position: int,
        department: Department,
        items: Sequence[SavedItem],
        decisions: Sequence[Decision],
        *,
        iteration: int,
    ) -> Insert:
        """Return what `save` writes."""
        at = self._now()
        shared: Document = {
            "project_id": self._project_id,
            "run_id": run_id,
            "position": position,
            "department": department.slug,
            "department_name": department.name,
            "department_number": department.code_dep_number,
            "iteration": iteration,
            "at": at,
            "undone_by": None,
            "undone_at": None,
            "is_undone": False,
        }
        documents: list[Document] = []
        for place, (item, decision) in enumerate(zip(items, decisions, strict=True)):
            short = name_decision(run_id, position, iteration, place)
            document = shared | asdict(decision) | {"place": place, "short": short}
            document["order"] = f"{at:015.3f} {position:04} {place:03}"
            # A judge's words may hold what no store takes, such as half a surrogate.
            said = {"reason": clean_text(decision.reason), "judge": clean_text(decision.judge)}
            document |= said | {"_id": self._key(short)}
            if not decision.is_kept:
                document["payload"] = orjson.dumps(to_document(item))
            documents.append(document)
        return Insert(DECISIONS, documents)

    async def save(
        self,
        run_id: str,
        position: int,
        department: Department,
        items: Sequence[SavedItem],
        decisions: Sequence[Decision],
        *,
        iteration: int,
    ) -> None:
        """Store the decisions about a batch and its items; a second time changes nothing."""
        write = self.describe(run_id, position, department, items, decisions, iteration=iteration)
        await self._documents.insert(write.collection, write.documents)

    async def list_dropped(
        self, *, run_id: str | None = None, limit: int | None = None
    ) -> list[KeptDecision]:
        """List what was dropped in the project, or by one run, newest first."""
        where = {"project_id": self._project_id, "is_kept": False}
        where |= {} if run_id is None else {"run_id": run_id}
        found = await self._documents.find(
            DECISIONS, where, sort="order", descending=True, limit=limit, with_payload=True
        )
        return [_read(document) for document in found]

    async def list_possible(
        self, content: ContentStore, *, run_id: str | None = None, limit: int | None = None
    ) -> list[PossibleRepetition]:
        """List items of the project, or of one run, that may repeat others, newest first.

        Pairs of which either item is gone, or that an operator declared distinct, are left out.
        """
        where = {"project_id": self._project_id, "is_kept": True, "is_possible": True}
        where |= {} if run_id is None else {"run_id": run_id}
        found = await self._documents.find(
            DECISIONS, where, sort="order", descending=True, limit=limit
        )
        ids = {row[name] for row in found for name in ("item_id", "match_id")}
        items = await content.read_items(sorted(ids)) if ids else {}
        distinct = await self.distinct_pairs()
        return [
            PossibleRepetition(_read(row, items[row["item_id"]]), items[row["match_id"]])
            for row in found
            if row["item_id"] in items and row["match_id"] in items
            if frozenset({row["item_id"], row["match_id"]}) not in distinct
        ]

    async def drop(self, pair_id: str, user_id: str, content: ContentStore) -> KeptDecision:
        """Delete an item that was kept as a possible repetition; `undo` saves it again.

        A second time it changes nothing and returns the same. Case of the id and blanks around it
        do not matter.

        Raises:
            DropRefused: there is no such pair, it was undone or dropped already by a decision,
                either item is gone, or somebody else has changed it.
        """
        short = pair_id.strip().lower()
        found = await self._document(short)
        if found is None:
            reason = f"project {self._project_id!r} has none of this id"
            raise DropRefused("unknown_pair", short, reason)
        _check_possible(found, short)
        if found.get("is_deleted"):
            return _read(found)
        if found.get("dropped_at") is None:
            item = await _read_droppable(found, short, content)
            claim = {"dropped_by": user_id, "dropped_at": self._now()}
            change = Change(set=claim | {"payload": orjson.dumps(to_document(item))})
            where = {"dropped_at": None}
            await self._documents.update(DECISIONS, [Update(self._key(short), change, where)])
        change = Change(set={"is_kept": False, "tier": "operator"})
        await self._documents.update(
            DECISIONS, [Update(self._key(short), change, {"undone_at": None})]
        )
        found = await self._document(short)
        assert found is not None, "decisions are never deleted"
        _check_possible(found, short)
        kept = _read(found)
        if not await content.delete_item(_read_saved(found)):
            await self._take_back(short)
            reason = "somebody has changed it, or added to it, since it was saved"
            raise DropRefused("item_changed", short, reason)
        done = Update(self._key(short), Change(set={"is_deleted": True}))
        await self._documents.update(DECISIONS, [done])
        return kept

    async def _take_back(self, short: str) -> None:
        """Make a pair possible again whose item stays."""
        change = Change(
            set={"is_kept": True, "tier": "embedding", "dropped_by": None, "dropped_at": None}
        )
        await self._documents.update(DECISIONS, [Update(self._key(short), change)])

    async def undo(self, decision_id: str, user_id: str, content: ContentStore) -> KeptDecision:
        """Save an item that was dropped, and store that it and its match are distinct.

        A second time it changes nothing and returns the same. Case of the id and blanks around it
        do not matter.

        Raises:
            UndoRefused: there is none, the item was kept, or the same text is saved already.
        """
        short = decision_id.strip().lower()
        found = await self._document(short)
        if found is None:
            reason = f"project {self._project_id!r} has none of this id"
            raise UndoRefused("unknown_decision", short, reason)
        if found["is_kept"]:
            raise UndoRefused("item_was_kept", short, "its item was not dropped, but saved")
        if found["undone_at"] is None:
            await _refuse_copy(_read(found), content)
            claim = Change(set={"undone_by": user_id, "undone_at": self._now()})
            update = Update(self._key(short), claim, {"undone_at": None})
            await self._documents.update(DECISIONS, [update])
            found = await self._document(short)
            assert found is not None, "decisions are never deleted"
        kept = _read(found)
        if not found["is_undone"]:
            await self._save_distinct(kept)
            await content.insert_items([replace(kept.item, created_at=kept.undone_at)])
            if not await content.read_items([kept.item.id]):
                reason = "a unique index of the application refuses its item (E11000)"
                raise UndoRefused("item_refused", short, reason)
            done = Update(self._key(short), Change(set={"is_undone": True}))
            await self._documents.update(DECISIONS, [done])
        return kept

    async def _save_distinct(self, kept: KeptDecision) -> None:
        """Store that an item and its match are distinct, unless they are the same item."""
        pair = sorted({kept.item.id, kept.decision.match_id or kept.item.id})
        if len(pair) == 1:
            return
        name = hashlib.sha256(orjson.dumps(pair)).hexdigest()
        document: Document = {
            "_id": self._key(name),
            "project_id": self._project_id,
            "pair": pair,
            "decision": kept.id,
            "by": kept.undone_by,
            "at": self._now(),
        }
        await self._documents.insert(DISTINCT, [document])

    async def _document(self, short: str) -> Document | None:
        if len(short) != ID_DIGITS:
            return None
        key = self._key(short)
        return (await self._documents.get(DECISIONS, [key], with_payload=True)).get(key)

    def _now(self) -> float:
        """Return the Unix time to the millisecond, as items have it."""
        return round(self._clock.unix_s(), 3)

    def _key(self, name: str) -> str:
        return name_document(self._project_id, name)


def name_document(project_id: str, name: str) -> str:
    """Return the id of the document of a decision, or a pair, of a project."""
    return f"{project_id}:{name}"


def name_decision(run_id: str, position: int, number: int, place: int) -> str:
    """Return the id of a decision, `ID_DIGITS` hexadecimal digits."""
    whole = f"{run_id}:{position}:{number}:{place}"
    return hashlib.sha256(whole.encode()).hexdigest()[:ID_DIGITS]


async def _refuse_copy(kept: KeptDecision, content: ContentStore) -> None:
    """Check that an exact duplicate repeats nothing any more."""
    if kept.decision.tier != "exact" or kept.decision.match_id is None:
        return
    there = await content.read_items([kept.item.id, kept.decision.match_id])
    if there:
        saved = " and ".join(map(repr, there))
        reason = f"the same text is saved already, as {saved}"
        raise UndoRefused("exact_duplicate", kept.id, reason)


def _check_possible(found: Document, short: str) -> None:
    """Check that a decision is about a possible repetition that nobody has undone."""
    if found["undone_at"] is not None:
        reason = "it was dropped and undone: the two are distinct"
        raise DropRefused("was_undone", short, reason)
    if not found.get("is_possible"):
        reason = "it is not kept as a possible repetition"
        raise DropRefused("not_possible", short, reason)


async def _read_droppable(found: Document, short: str, content: ContentStore) -> SavedItem:
    """Return the item that may be dropped, as it is saved now."""
    items = await content.read_items([found["item_id"], found["match_id"]])
    item = items.get(found["item_id"])
    if item is None:
        raise DropRefused("item_gone", short, "its item is not saved any more")
    if found["match_id"] not in items:
        reason = "what it may repeat is not saved any more, so it would be lost"
        raise DropRefused("match_gone", short, reason)
    if item.automation is None:
        raise DropRefused("foreign_item", short, "its item is the application's, not ours")
    return item


def _read(found: Document, item: SavedItem | None = None) -> KeptDecision:
    """Read a decision; what it does not have yet, since it is of before, has its default."""
    names = [value.name for value in fields(Decision) if value.name in found]
    decision = Decision(**{name: found[name] for name in names})
    item = item or read_document(decision.item_id, orjson.loads(found["payload"]))
    assert item is not None, "what was dropped has a text"
    undone_at, dropped_at = found["undone_at"], found.get("dropped_at")
    values: dict[str, Any] = {value.name: found.get(value.name) for value in fields(KeptDecision)}
    values |= {
        "id": found["short"],
        "at": datetime.fromtimestamp(found["at"], UTC),
        "decision": decision,
        "item": item,
        "undone_at": None if undone_at is None else datetime.fromtimestamp(undone_at, UTC),
        "dropped_at": None if dropped_at is None else datetime.fromtimestamp(dropped_at, UTC),
    }
    return KeptDecision(**values)


def _read_saved(found: Document) -> SavedItem:
    """Read the item of a decision as it was when it was dropped, with the time it was saved."""
    document: Document = orjson.loads(found["payload"])
    if isinstance(document.get("created_at"), str):
        document["created_at"] = datetime.fromisoformat(document["created_at"])
    item = read_document(found["item_id"], document)
    assert item is not None, "what was dropped has a text"
    return item
