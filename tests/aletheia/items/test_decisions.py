"""What is kept of every decision, and how one is undone."""

import itertools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.documents import Change, Document, Update
from aletheia.errors import InvalidTask
from aletheia.gather.batches import drop_duplicates
from aletheia.gather.generation import Batch
from aletheia.gather.progress import Run, RunOrder
from aletheia.gather.runs import GatherRuns
from aletheia.items.calibration import DUPLICATE_AT
from aletheia.items.content import Automation, Item, SavedItem, item_id, make_item
from aletheia.items.decisions import (
    DECISIONS,
    DISTINCT,
    DropRefused,
    KeptDecision,
    ProjectDecisions,
    UndoRefused,
    name_decision,
)
from aletheia.items.dedup import Decision, Deduplicator
from aletheia.store.clock import Clock
from aletheia.text.normalisation import content_hash
from tests.aletheia.gather.gather_runner import (
    MODEL,
    PROJECT,
    holder_ended,
    make_deps,
    three_departments,
)
from tests.aletheia.items.scales import make_scale
from tests.fakes.documents import InTurnDocuments

NOW = 1_767_225_600.123
WORDS = "Answer every complaint about a late delivery with a new date on the same day."
CLOSE = "Answer every complaint about a late delivery with another date on the same day."
SAME = "Answers every complaint about a late delivery with a new date on the same day."


@dataclass
class Books:
    """A project with a run, seen from below."""

    documents: EmbeddedDocuments
    content: EmbeddedContent
    ledger: ProjectDecisions
    run: Run

    async def saved(self) -> list[SavedItem]:
        """Read all items of the project."""
        ids = [id_ async for page in self.content.list_ids() for id_ in page]
        return list((await self.content.read_items(ids)).values())

    async def drop(
        self, text: str = WORDS, match: str = CLOSE, number: int = 1, **parts: Any
    ) -> str:
        """Keep that a text was dropped as another's duplicate; give the decision's id."""
        decision = replace(decide(text, match), **parts)
        await self.ledger.save(
            self.run.id,
            1,
            self.run.progress.departments[1].department,
            [make(text, self.run.id, number)],
            [decision],
            iteration=number,
        )
        return name_decision(self.run.id, 1, number, 0)


def make(text: str, run_id: str, number: int = 1) -> SavedItem:
    automation = Automation(
        run_id=run_id,
        iteration=number,
        department="support",
        department_number=2,
        model="mock-llm",
        quality_at_creation=41.5,
        content_hash=content_hash(text),
        mock=True,
    )
    item = Item(content=text, summary="A gist.", context="For whoever answers.")
    return make_item(item, automation, "user-1", datetime(2026, 1, 1, tzinfo=UTC))


def decide(text: str, match: str | None, *, is_kept: bool = False) -> Decision:
    return Decision(
        item_id=item_id(text),
        is_kept=is_kept,
        tier="judge",
        match_id=None if match is None else item_id(match),
        is_match_saved=True,
        score=0.913,
        cosine=0.801,
        model="some/embedder",
        judge="some/judge",
        difference=None,
        reason="Both ask for a date on the same day.",
    )


@pytest.fixture
async def books(tmp_path: Path) -> AsyncGenerator[Books]:
    documents, content = EmbeddedDocuments(tmp_path), EmbeddedContent(tmp_path, PROJECT)
    await documents.open()
    await content.open()
    yield await open_books(documents, content)
    await content.close()
    await documents.close()


async def open_books(documents: EmbeddedDocuments, content: EmbeddedContent) -> Books:
    ledger = ProjectDecisions(documents, PROJECT, clock=Clock(lambda: NOW))
    await ledger.prepare()
    order = RunOrder("run-1", PROJECT, "user-1", 6)
    run = await GatherRuns(documents).open(order, three_departments(), holder_ended)
    return Books(documents, content, ledger, run)


async def test_what_was_dropped_is_kept_in_full(books: Books):
    short = await books.drop(difference="number", reason="Both say\x00 so.\ud800")
    (kept,) = await books.ledger.list_dropped()
    expected = replace(decide(WORDS, CLOSE), difference="number", reason="Both say so.")
    assert kept == KeptDecision(
        id=short,
        run_id="run-1",
        position=1,
        department="support",
        department_name="Support",
        department_number=2,
        iteration=1,
        place=0,
        at=datetime.fromtimestamp(NOW, UTC),
        decision=expected,
        item=replace(make(WORDS, "run-1"), created_at=None),
    )
    assert len(short) == 12
    assert short.isalnum()


async def test_what_was_saved_is_in_the_ledger_and_not_in_the_list(books: Books):
    items = [make(text, "run-1") for text in (WORDS, CLOSE)]
    decisions = [decide(WORDS, CLOSE), decide(CLOSE, None, is_kept=True)]
    await books.ledger.save(
        books.run.id,
        1,
        books.run.progress.departments[1].department,
        items,
        decisions,
        iteration=1,
    )
    assert [drop.item.content for drop in await books.ledger.list_dropped()] == [WORDS]
    kept = await books.documents.find(DECISIONS, {"is_kept": True}, with_payload=True)
    assert [(decision["item_id"], decision["place"], decision["reason"]) for decision in kept] == [
        (item_id(CLOSE), 1, "Both ask for a date on the same day.")
    ]
    assert "payload" not in kept[0], "it is saved, and so there already"


async def test_a_batch_that_is_kept_twice_changes_nothing(books: Books):
    short = await books.drop()
    await books.ledger.undo(short, "anna", books.content)
    before = await books.documents.find(DECISIONS, {}, with_payload=True)
    assert await books.drop(reason="Said otherwise the second time.") == short
    assert await books.documents.find(DECISIONS, {}, with_payload=True) == before


async def test_an_empty_batch_is_no_decision(books: Books):
    await books.ledger.save(
        books.run.id,
        1,
        books.run.progress.departments[1].department,
        [],
        [],
        iteration=1,
    )
    assert await books.documents.count(DECISIONS, {}) == 0


async def test_ids_differ_by_run_department_iteration_and_place():
    places = itertools.product(("r", "r1", "1r"), range(12), range(12), range(10))
    names = [name_decision(*place) for place in places]
    assert len(set(names)) == len(names)


async def test_what_was_dropped_is_listed_newest_first_and_by_run(books: Books):
    times = itertools.count(NOW)
    books.ledger = ProjectDecisions(books.documents, PROJECT, clock=Clock(lambda: next(times)))
    texts = [f"{WORDS} Number {n} of some." for n in range(4)]
    for number, text in enumerate(texts[:3], start=1):
        await books.drop(text, number=number)
    books.run = replace(books.run, id="run-2")
    await books.drop(texts[3])
    listed = [drop.item.content for drop in await books.ledger.list_dropped()]
    assert listed == texts[::-1]
    assert [drop.item.content for drop in await books.ledger.list_dropped(limit=2)] == listed[:2]
    of_first = await books.ledger.list_dropped(run_id="run-1")
    assert [drop.iteration for drop in of_first] == [3, 2, 1]
    assert await ProjectDecisions(books.documents, "another").list_dropped() == []


async def test_of_one_batch_the_last_is_listed_first(books: Books):
    texts = [f"{WORDS} Number {n} of some." for n in range(10)]
    items = [make(text, "run-1") for text in texts]
    await books.ledger.save(
        books.run.id,
        1,
        books.run.progress.departments[1].department,
        items,
        [decide(text, CLOSE) for text in texts],
        iteration=1,
    )
    listed = [drop.item.content for drop in await books.ledger.list_dropped(limit=3)]
    assert listed == texts[:-4:-1]


async def test_undo_saves_the_item_where_it_came_from_and_tells_the_pair_apart(books: Books):
    short = await books.drop()
    undone = await books.ledger.undo(f" {short.upper()}\n", "anna", books.content)
    assert (undone.id, undone.undone_by) == (short, "anna")
    at = datetime.fromtimestamp(NOW, UTC)
    assert undone.undone_at == at
    assert await books.saved() == [replace(make(WORDS, "run-1"), created_at=at)]
    assert await books.content.count_created("run-1") == {"support": 1}
    pair = frozenset({item_id(WORDS), item_id(CLOSE)})
    assert await books.ledger.distinct_pairs() == {pair}
    assert await ProjectDecisions(books.documents, PROJECT).distinct_pairs() == {pair}
    assert await ProjectDecisions(books.documents, "another").distinct_pairs() == set()
    assert await books.ledger.list_dropped() == [undone]


async def test_undone_twice_is_undone_once_by_whoever_came_first(books: Books):
    short = await books.drop()
    first = await books.ledger.undo(short, "anna", books.content)
    books.ledger = ProjectDecisions(books.documents, PROJECT, clock=Clock(lambda: NOW + 60))
    assert await books.ledger.undo(short, "ben", books.content) == first
    assert len(await books.saved()) == 1
    assert await books.documents.count(DISTINCT, {}) == 1


async def test_an_item_that_was_deleted_after_it_was_undone_stays_deleted(books: Books):
    short = await books.drop()
    await books.ledger.undo(short, "anna", books.content)
    await books.content.delete("gather", {})
    await books.ledger.undo(short, "anna", books.content)
    assert await books.saved() == []


async def test_an_item_that_somebody_saved_meanwhile_stays_theirs(books: Books):
    short = await books.drop()
    theirs = replace(make(WORDS, "run-2"), user_id="user-2")
    await books.content.insert_items([theirs])
    await books.ledger.undo(short, "anna", books.content)
    assert await books.saved() == [theirs]
    assert len(await books.ledger.distinct_pairs()) == 1


@pytest.mark.parametrize("match_id", [item_id(WORDS), "theirs"])
async def test_an_exact_duplicate_of_what_is_there_cannot_be_saved(books: Books, match_id: str):
    await books.content.insert_items([replace(make(WORDS, "run-0"), id=match_id)])
    short = await books.drop(tier="exact", match_id=match_id)
    with pytest.raises(UndoRefused, match=f"saved already, as '{match_id}'") as refused:
        await books.ledger.undo(short, "anna", books.content)
    assert refused.value.code == "exact_duplicate"
    assert [item.id for item in await books.saved()] == [match_id]
    assert await books.ledger.distinct_pairs() == set()
    assert [drop.undone_by for drop in await books.ledger.list_dropped()] == [None]


async def test_an_exact_duplicate_of_what_is_gone_can_be_saved(books: Books):
    short = await books.drop(WORDS, WORDS, tier="exact")
    await books.ledger.undo(short, "anna", books.content)
    assert [item.content for item in await books.saved()] == [WORDS]
    assert await books.ledger.distinct_pairs() == set()


async def test_what_cannot_be_undone_is_said(books: Books):
    items, decisions = [make(WORDS, "run-1")], [decide(WORDS, CLOSE, is_kept=True)]
    await books.ledger.save(
        books.run.id,
        1,
        books.run.progress.departments[1].department,
        items,
        decisions,
        iteration=1,
    )
    kept = name_decision("run-1", 1, 1, 0)
    codes: dict[str, str] = {}
    for short in (kept, name_decision("run-1", 1, 1, 1), "", "shop:" + kept, "x" * 2000):
        with pytest.raises(UndoRefused) as refused:
            await books.ledger.undo(short, "anna", books.content)
        codes[short] = refused.value.code
    assert codes.pop(kept) == "item_was_kept"
    assert set(codes.values()) == {"unknown_decision"}
    assert await books.saved() == []


async def test_a_decision_belongs_to_its_project(books: Books):
    short = await books.drop()
    with pytest.raises(UndoRefused, match="project 'another' has none"):
        await ProjectDecisions(books.documents, "another").undo(short, "anna", books.content)
    with pytest.raises(InvalidTask):
        ProjectDecisions(books.documents, "../another")


# Kills


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Fuse:
    """Ends the process at one of the moments before and after its writes; 0: at none."""

    at: int = 0
    passed: int = field(default=0)

    async def around(self, write: Callable[[], Awaitable[Any]]) -> Any:
        """Write, unless it ends before."""
        self._pass()
        answer = await write()
        self._pass()
        return answer

    def _pass(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            raise Killed


class FusedDocuments(InTurnDocuments):
    """The embedded store with a fuse."""

    fuse: Fuse

    async def insert(
        self, collection: str, documents: Sequence[Document], **counts: Any
    ) -> set[str]:
        return await self.fuse.around(
            lambda: EmbeddedDocuments.insert(self, collection, documents, **counts)
        )

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        return await self.fuse.around(lambda: EmbeddedDocuments.update(self, collection, updates))


class FusedContent(EmbeddedContent):
    """The project's store with a fuse."""

    fuse: Fuse

    async def insert(
        self, collection: str, documents: Sequence[Document], **counts: Any
    ) -> set[str]:
        return await self.fuse.around(
            lambda: EmbeddedContent.insert(self, collection, documents, **counts)
        )

    async def delete_item(self, item: SavedItem) -> bool:
        return await self.fuse.around(lambda: EmbeddedContent.delete_item(self, item))


MOMENTS = 8
"""Before and after each of four writes."""


@pytest.mark.parametrize("moment", [*range(1, MOMENTS + 1), 0])
@pytest.mark.parametrize("tier", ["judge", "exact"])
async def test_a_kill_anywhere_is_mended_by_undoing_again(tmp_path: Path, moment: int, tier: str):
    documents, content = FusedDocuments(tmp_path), FusedContent(tmp_path, PROJECT)
    documents.fuse = content.fuse = Fuse()
    await documents.open()
    await content.open()
    books = await open_books(documents, content)
    short = await books.drop(tier=tier)
    fuse = documents.fuse = content.fuse = Fuse(moment)
    try:
        await books.ledger.undo(short, "anna", content)
    except Killed:
        assert moment
    else:
        assert (moment, fuse.passed) == (0, MOMENTS)
    pairs = await ProjectDecisions(documents, PROJECT).distinct_pairs()
    assert len(pairs) >= len(await books.saved()), "never an item without its pair"

    after = ProjectDecisions(documents, PROJECT, clock=Clock(lambda: NOW + 60))
    undone = await after.undo(short, "ben", content)
    is_begun = moment != 1
    assert undone.undone_by == ("anna" if is_begun else "ben")
    assert [item.created_at for item in await books.saved()] == [undone.undone_at]
    assert await after.distinct_pairs() == {frozenset({item_id(WORDS), item_id(CLOSE)})}
    assert await documents.count(DISTINCT, {}) == 1
    assert await after.undo(short, "carla", content) == undone
    await content.close()
    await documents.close()


# Possible repetitions


async def keep(books: Books, text: str = WORDS, match: str | None = CLOSE, **parts: Any) -> str:
    """Save an item that may repeat another saved one; return the id of the pair."""
    kept = replace(decide(text, match, is_kept=True), is_possible=True, **parts)
    item = make(text, books.run.id)
    department = books.run.progress.departments[1].department
    await books.ledger.save(books.run.id, 1, department, [item], [kept], iteration=1)
    others = [] if match is None else [make(match, "run-0")]
    await books.content.insert_items([item, *others])
    return name_decision(books.run.id, 1, 1, 0)


async def contents(books: Books) -> set[str]:
    return {item.content for item in await books.saved()}


async def test_what_may_repeat_another_item_is_listed_with_it(books: Books):
    pair = await keep(books)
    (possible,) = await books.ledger.list_possible(books.content)
    assert (possible.kept.id, possible.kept.item.content) == (pair, WORDS)
    assert possible.match.content == CLOSE
    assert await books.ledger.list_possible(books.content, run_id="run-0") == []
    assert await books.ledger.list_dropped() == []


async def test_a_possible_repetition_is_dropped_and_its_match_stays(books: Books):
    pair = await keep(books)
    dropped = await books.ledger.drop(f" {pair.upper()}\n", "anna", books.content)
    assert (dropped.decision.tier, dropped.decision.is_kept) == ("operator", False)
    assert (dropped.dropped_by, dropped.item.content) == ("anna", WORDS)
    assert await contents(books) == {CLOSE}
    assert await books.ledger.list_dropped() == [dropped]
    assert await books.ledger.list_possible(books.content) == []
    assert await books.ledger.drop(pair, "ben", books.content) == dropped


async def test_what_an_operator_dropped_is_undone_as_the_rest(books: Books):
    pair = await keep(books)
    await books.ledger.drop(pair, "anna", books.content)
    undone = await books.ledger.undo(pair, "ben", books.content)
    assert await contents(books) == {WORDS, CLOSE}
    assert undone.undone_by == "ben"
    assert await books.ledger.distinct_pairs() == {frozenset({item_id(WORDS), item_id(CLOSE)})}
    with pytest.raises(DropRefused, match="the two are distinct") as refused:
        await books.ledger.drop(pair, "carla", books.content)
    assert refused.value.code == "was_undone"
    assert await contents(books) == {WORDS, CLOSE}


async def test_an_item_is_never_dropped_for_one_that_is_gone(books: Books):
    pair = await keep(books)
    await books.content.delete("gather", {"_id": item_id(CLOSE)})
    with pytest.raises(DropRefused) as refused:
        await books.ledger.drop(pair, "anna", books.content)
    assert refused.value.code == "match_gone"
    assert await contents(books) == {WORDS}
    assert await books.ledger.list_possible(books.content) == []


async def test_an_item_that_is_not_ours_is_never_dropped(books: Books):
    pair = await keep(books)
    await books.content.delete("gather", {"_id": item_id(WORDS)})
    await books.content.insert_items([replace(make(WORDS, "run-1"), automation=None)])
    with pytest.raises(DropRefused) as refused:
        await books.ledger.drop(pair, "anna", books.content)
    assert refused.value.code == "foreign_item"
    assert await contents(books) == {WORDS, CLOSE}


async def test_an_item_that_was_written_again_since_is_left_alone(books: Books):
    pair = await keep(books)
    await books.ledger.drop(pair, "anna", books.content)
    await books.content.insert_items([make(WORDS, "run-7")])
    await books.ledger.drop(pair, "anna", books.content)
    assert await contents(books) == {WORDS, CLOSE}


async def test_what_cannot_be_dropped_is_said(books: Books):
    short = await books.drop()
    codes: dict[str, str] = {}
    for pair in (short, name_decision("run-1", 1, 9, 9), "", "x" * 2000):
        with pytest.raises(DropRefused) as refused:
            await books.ledger.drop(pair, "anna", books.content)
        codes[pair] = refused.value.code
    assert codes.pop(short) == "not_possible"
    assert set(codes.values()) == {"unknown_pair"}


async def test_a_decision_of_before_is_still_read(books: Books):
    short = await books.drop()
    where = {"short": short}
    (document,) = await books.documents.find(DECISIONS, where)
    old = Change(unset=["is_possible"])
    await books.documents.update(DECISIONS, [Update(document["_id"], old)])
    (kept,) = await books.ledger.list_dropped()
    assert (kept.id, kept.decision.is_possible) == (short, False)
    assert await books.ledger.list_possible(books.content) == []


DROP_MOMENTS = 8
"""Before and after each of four writes."""


@pytest.mark.parametrize("moment", [*range(1, DROP_MOMENTS + 1), 0])
async def test_a_kill_anywhere_in_dropping_loses_nothing(tmp_path: Path, moment: int):
    documents, content = FusedDocuments(tmp_path), FusedContent(tmp_path, PROJECT)
    documents.fuse = content.fuse = Fuse()
    await documents.open()
    await content.open()
    books = await open_books(documents, content)
    pair = await keep(books)
    fuse = documents.fuse = content.fuse = Fuse(moment)
    try:
        await books.ledger.drop(pair, "anna", content)
    except Killed:
        assert moment
    else:
        assert (moment, fuse.passed) == (0, DROP_MOMENTS)
    documents.fuse = content.fuse = Fuse()
    if WORDS not in await contents(books):
        (drop,) = await books.ledger.list_dropped()
        assert drop.item.content == WORDS, "what is gone can be undone"
    after = ProjectDecisions(documents, PROJECT, clock=Clock(lambda: NOW + 60))
    dropped = await after.drop(pair, "ben", content)
    assert dropped.dropped_by == ("ben" if moment == 1 else "anna")
    assert await contents(books) == {CLOSE}
    await after.undo(pair, "carla", content)
    assert await contents(books) == {WORDS, CLOSE}
    await content.close()
    await documents.close()


# In the loop


def batch_of(*texts: str) -> Batch:
    items = tuple(Item(content=text, summary="A gist.", context="") for text in texts)
    return Batch(
        items=items,
        faults=(),
        model="mock-llm",
        is_mock=True,
        rounds=1,
    )


async def test_a_pair_that_was_told_apart_is_not_dropped_again(books: Books):
    scale = Deduplicator(make_scale(MODEL))
    deps = make_deps(books.documents, books.content, MockChat())
    deps = replace(deps, decisions=books.ledger, deduplicator=scale)
    batch = batch_of(WORDS, SAME)
    answers = deps.runs.answers(books.run, 1, 1)
    first = await drop_duplicates(deps, books.run, 1, batch, answers)
    assert [item.content for item in first] == [SAME]
    (kept,) = await books.ledger.list_dropped()
    assert not kept.decision.is_kept
    assert kept.decision.score is not None
    assert kept.decision.score >= DUPLICATE_AT
    # A second pass finds what is decided.
    assert await drop_duplicates(deps, books.run, 1, batch, answers) == first
    assert len(await books.ledger.list_dropped()) == 1

    await books.ledger.undo(kept.id, "anna", books.content)
    (item,) = await books.saved()
    assert item.automation is not None
    assert (item.automation.department, item.automation.iteration) == ("support", 1)
    await deps.items.refresh()
    assert [item.content for item in deps.items.of_department("support")] == [WORDS]
    later = await drop_duplicates(
        deps, books.run, 2, batch_of(WORDS, SAME), deps.runs.answers(books.run, 2, 1)
    )
    assert [item.content for item in later] == [SAME]
    again, *_ = await books.ledger.list_dropped()
    assert again.decision.tier == "exact", "it repeats itself, being saved"


async def test_an_iteration_is_kept_and_asked_about_in_little_time(books: Books):
    items = [make(f"{WORDS} Number {n} of some.", "run-1") for n in range(8)]
    decisions = [decide(item.content, CLOSE) for item in items]
    pairs = [
        {"_id": f"{PROJECT}:{n}", "project_id": PROJECT, "pair": [f"{n}", f"{n + 1}"]}
        for n in range(1000)
    ]
    await books.documents.insert(DISTINCT, pairs)
    assert len(await books.ledger.distinct_pairs()) == len(pairs)
    took: list[float] = []
    for number in range(1, 21):
        began = time.perf_counter()
        await books.ledger.distinct_pairs()
        await books.ledger.save(
            books.run.id,
            1,
            books.run.progress.departments[1].department,
            items,
            decisions,
            iteration=number,
        )
        took.append(time.perf_counter() - began)
    # Some milliseconds, the least of which a busy machine does not change.
    assert min(took) < 0.02
