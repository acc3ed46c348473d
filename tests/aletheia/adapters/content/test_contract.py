"""What both stores of a project's items promise (SPEC §4, MongoDB)."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from numpy.typing import NDArray
from pymongo.asynchronous.collection import AsyncCollection

from aletheia.adapters.content.embedded import EmbeddedContent, directory_of
from aletheia.adapters.content.mongodb import MongoContent, database_of, read_id, write_id
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask, Refused, Unavailable
from aletheia.items.content import Automation, Item, SavedItem, item_id, make_item
from aletheia.items.project_items import LISTED_EVERY_S, ProjectItems
from aletheia.items.vector_cache import MAX_RECENT, VectorCache, name_vectors
from aletheia.store.clock import SYSTEM_CLOCK, Clock
from aletheia.text.normalisation import content_hash
from tests.aletheia.adapters.content.conftest import AnyContent

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, UTC)


def make(
    content: str, *, run_id: str = "r1", department: str = "legal", iteration: int = 1
) -> SavedItem:
    automation = Automation(
        run_id=run_id,
        iteration=iteration,
        department=department,
        department_number=3,
        model="m-2026",
        quality_at_creation=41.5,
        content_hash=content_hash(content),
        mock=True,
    )
    item = Item(content=content, summary="A gist.", context="Where it belongs.")
    return make_item(item, automation, "user-1", NOON)


def raw_of(content: MongoContent) -> AsyncCollection[dict[str, Any]]:
    """The collection as the application sees it."""
    return content._gather()  # pyright: ignore[reportPrivateUsage] - there is no public way


async def delete(content: AnyContent, item: str) -> None:
    if isinstance(content, MongoContent):
        await raw_of(content).delete_one({"_id": read_id(item)})
    else:
        await content.delete("gather", {"_id": item})


async def ids_of(content: AnyContent) -> list[str]:
    return [id_ async for page in content.list_ids() for id_ in page]


class CountingEmbed:
    """Embeds a text by its characters, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Unavailable | None = None

    async def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        assert texts, "nothing to embed"
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.asked += texts
        rows = [[text.count(char) + 0.01 for char in "abcdefghijklmnop"] for text in texts]
        return np.array(rows, np.float32)


def count(items: ProjectItems) -> int:
    return 0 if items.index is None else len(items.index)


def items_of(
    content: AnyContent, embed: CountingEmbed, clock: Clock = SYSTEM_CLOCK
) -> ProjectItems:
    return ProjectItems(content, VectorCache(content, "model/A"), embed, "model/A", clock=clock)


class SteadyTime:
    """A steady clock that is set by hand, seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_an_item_is_read_as_it_was_saved(content: AnyContent):
    one = make("Contracts over 10,000 € need two signatures.")
    assert await content.insert_items([one]) == {one.id}
    read = await content.read_items([one.id, "0" * 24])
    assert read == {one.id: one}
    assert read[one.id].created_at == NOON.replace(microsecond=123000)


async def test_the_id_is_the_beginning_of_the_hash_of_the_normalised_content():
    one = make("The  Contract, once signed, binds!")
    assert one.id == item_id("the contract once signed binds") == content_hash(one.content)[:24]
    assert str(ObjectId(one.id)) == one.id


async def test_a_moment_in_another_time_zone_is_saved_in_utc(content: AnyContent):
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    made = make("A contract needs a signature.")
    assert made.automation
    again = make_item(
        Item(content=made.content, summary="s", context=""), made.automation, "u", elsewhere
    )
    await content.insert_items([again])
    read = (await content.read_items([again.id]))[again.id]
    assert read.created_at == made.created_at


async def test_what_is_there_is_neither_replaced_nor_counted_twice(content: AnyContent):
    first = make("Contracts are reviewed within five days.")
    second = make("CONTRACTS are reviewed, within five days", run_id="r2")
    assert second.id == first.id
    assert await content.insert_items([first, second]) == {first.id}
    assert await content.insert_items([second]) == set()
    assert await content.read_items([first.id]) == {first.id: first}
    assert await content.count_created("r1") == {"legal": 1}
    assert await content.count_created("r2") == {}


async def test_of_many_that_save_the_same_items_at_once_each_item_is_one_s(content: AnyContent):
    made = [make(f"What everybody says, in its form {n}.") for n in range(20)]
    claimed = await asyncio.gather(*(content.insert_items(made) for _ in range(4)))
    assert sorted(id_ for ids in claimed for id_ in ids) == sorted(item.id for item in made)
    assert sorted(await ids_of(content)) == sorted(item.id for item in made)


async def test_items_are_counted_by_run_and_department(content: AnyContent):
    made = [
        make("The first thing to say of it.", department="legal"),
        make("The second thing to say of it.", department="legal", iteration=2),
        make("The third thing to say of it.", department="hr.europe"),
        make("The fourth thing to say of it.", run_id="r2"),
    ]
    await content.insert_items(made)
    assert await content.count_created("r1") == {"legal": 2, "hr.europe": 1}


async def test_a_department_s_own_items_are_listed(content: AnyContent):
    made = [
        make("The first thing to say of it.", department="legal"),
        make("The second thing to say of it.", department="legal", run_id="r2"),
        make("The third thing to say of it.", department="hr.europe"),
    ]
    await content.insert_items(made)
    listed = await content.list_department("legal")
    assert sorted(listed) == sorted(item.id for item in made[:2])
    assert await content.list_department("none") == []


async def walk(content: AnyContent, limit: int, department: str | None = None) -> list[str]:
    """Return all ids, a page at a time."""
    seen: list[str] = []
    while page := await content.list_page(seen[-1] if seen else "", limit, department=department):
        assert len(page) <= limit
        seen += page
    return seen


@pytest.mark.parametrize("limit", [1, 3, 20, 50])
async def test_pages_of_ids_have_each_of_them_once(content: AnyContent, limit: int):
    made = [
        make(f"What is said for the time number {n}.", department="legal" if n % 3 else "hr")
        for n in range(20)
    ]
    await content.insert_items(made)
    assert await walk(content, limit) == sorted(item.id for item in made)
    legal = sorted(item.id for item in made if item.department == "legal")
    assert await walk(content, limit, "legal") == legal
    assert await walk(content, limit, "none") == []


@pytest.mark.parametrize("after", ["f" * 24, "~", "é", "{", '{"$oid": 7}', "0" * 23, "\0"])
async def test_a_page_after_what_is_no_id_is_empty_or_one_of_all(content: AnyContent, after: str):
    made = [make(f"What is said for the time number {n}.") for n in range(3)]
    await content.insert_items(made)
    found = await content.list_page(after, 10)
    assert set(found) <= {item.id for item in made}


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
async def test_pages_of_ids_have_those_of_the_application_as_well(
    mongo_content: MongoContent, limit: int
):
    made = [make(f"What is said for the time number {n}.") for n in range(5)]
    await mongo_content.insert_items(made)
    foreign = [*FOREIGN_IDS, "a" * 24, ObjectId("f" * 24), ObjectId("0" * 24)]
    await raw_of(mongo_content).insert_many([{"_id": raw, "content": "x"} for raw in foreign])
    expected = [*(item.id for item in made), *map(write_id, foreign)]
    assert sorted(await walk(mongo_content, limit)) == sorted(expected)


async def test_the_mark_goes_up_with_each_new_document(content: AnyContent):
    before = await content.mark()
    made = [make(f"What is said for the time number {n}.") for n in range(3)]
    await content.insert_items(made)
    assert await content.mark() == before + 3
    await content.insert_items(made)
    assert await content.mark() == before + 3
    assert sorted(await ids_of(content)) == sorted(item.id for item in made)


async def test_nothing_is_saved_or_read_of_nothing(content: AnyContent):
    assert await content.insert_items([]) == set()
    assert await content.read_items([]) == {}
    assert await ids_of(content) == []


async def test_more_items_than_a_page_are_read_once_and_embedded_once(content: AnyContent):
    made = [make(f"Thing number {n} of department {n % 7}, said once.") for n in range(2300)]
    for start in range(0, len(made), 500):
        await content.insert_items(made[start : start + 500])
    embed = CountingEmbed()
    items = items_of(content, embed)
    await items.refresh()
    assert items.index is not None
    assert all(item.id in items.index for item in made)
    assert len(items.index) == len(embed.asked) == 2300

    again = CountingEmbed()
    later = items_of(content, again)
    await later.refresh()
    assert (count(later), again.asked) == (2300, [])


async def test_a_second_read_reads_only_what_is_new(content: AnyContent):
    embed = CountingEmbed()
    items = items_of(content, embed)
    await content.insert_items([make("An item that is there from the start.")])
    await items.refresh()
    await items.refresh()
    assert count(items) == len(embed.asked) == 1
    theirs = make("An item that somebody adds meanwhile.", run_id="other")
    await content.insert_items([theirs])
    await items.refresh()
    assert items.index is not None
    assert theirs.id in items.index
    assert count(items) == len(embed.asked) == 2


async def test_own_items_are_known_without_another_look(content: AnyContent):
    embed = CountingEmbed()
    items = items_of(content, embed)
    await items.refresh()
    made = [make("A thing to say."), make("Another thing to say.")]
    assert await items.save(made) == made
    await items.refresh()
    assert len(embed.asked) == 2
    assert items.of_department("legal") == sorted(made, key=lambda item: item.id)
    assert items.index is not None
    assert all(item.id in items.index for item in made)


async def test_a_second_pass_claims_its_own_items_and_nobody_elses(content: AnyContent):
    embed = CountingEmbed()
    theirs = make("What somebody else has saved.", run_id="other")
    await content.insert_items([theirs])
    mine = [make("What is mine."), make(theirs.content), make("What is mine as well.")]
    await content.insert_items(mine[:1])
    items = items_of(content, embed)
    assert await items.save(mine) == [mine[0], mine[2]]
    assert await content.read_items([theirs.id]) == {theirs.id: theirs}
    await items.refresh()
    assert count(items) == 3


async def test_what_could_not_be_embedded_is_embedded_the_next_time(content: AnyContent):
    embed = CountingEmbed()
    embed.error = Unavailable("model", "gone")
    items = items_of(content, embed)
    one = make("An item of somebody else.", run_id="other")
    await content.insert_items([one])
    with pytest.raises(Unavailable):
        await items.refresh()
    assert count(items) == 0
    await items.refresh()
    assert items.index is not None
    assert one.id in items.index
    embed.error = Unavailable("model", "gone")
    with pytest.raises(Unavailable):
        await items.save([make("An item of ours.")])
    assert await content.count_created("r1") == {}


async def test_a_deleted_item_is_forgotten(content: AnyContent):
    items = items_of(content, CountingEmbed())
    made = [make("What stays where it is."), make("What is deleted.")]
    await items.save(made)
    await items.refresh()
    await delete(content, made[1].id)
    await items.refresh()
    assert items.index is not None
    assert count(items) == 1
    assert made[1].id not in items.index
    assert items.of_department("legal") == made[:1]


async def test_a_swap_that_leaves_the_number_is_found_when_all_are_listed_again(
    content: AnyContent,
):
    time = SteadyTime()
    items = items_of(content, CountingEmbed(), Clock(steady_s=time))
    gone, new = make("What is deleted."), make("What is added.")
    await items.save([gone])
    await items.refresh()
    await delete(content, gone.id)
    await content.insert_items([new])
    assert items.index is not None
    await items.refresh()
    assert (gone.id in items.index, new.id in items.index) == (True, False)
    time.now += LISTED_EVERY_S - 1
    await items.refresh()
    assert (gone.id in items.index, new.id in items.index) == (True, False)
    time.now += 1
    await items.refresh()
    assert (gone.id in items.index, new.id in items.index) == (False, True)


async def test_models_have_vectors_of_their_own(content: AnyContent):
    one, other = VectorCache(content, "model/A"), VectorCache(content, "Model_a")
    assert one.collection != other.collection
    vectors = np.array([[1.0, 2.0], [3.0, 4.0]], np.float64)
    await one.save(["x", "y\ud800"], vectors)
    found = await one.find(["y\ud800", "z", "x"])
    assert {at: row.tolist() for at, row in found.items()} == {0: [3.0, 4.0], 2: [1.0, 2.0]}
    assert await other.find(["x"]) == {}


async def test_vectors_that_were_just_saved_or_found_are_not_read_again(content: AnyContent):
    vectors = VectorCache(content, "model/A")
    await vectors.save(["x"], np.array([[1.0, 2.0]]))
    await VectorCache(content, "model/A").save(["y"], np.array([[3.0, 4.0]]))
    first = await vectors.find(["x", "y", "z"])
    await content.delete(vectors.collection, {})
    again = await vectors.find(["z", "y", "x"])
    assert {at: row.tolist() for at, row in first.items()} == {0: [1.0, 2.0], 1: [3.0, 4.0]}
    assert {at: row.tolist() for at, row in again.items()} == {1: [3.0, 4.0], 2: [1.0, 2.0]}


async def test_no_more_vectors_are_remembered_than_a_few_batches_have(content: AnyContent):
    vectors = VectorCache(content, "model/A")
    texts = [f"text {number}" for number in range(MAX_RECENT + 1)]
    rows = np.ones((len(texts), 2))
    await vectors.save(texts, rows)
    for start in range(0, len(texts), 100):
        await vectors.save(texts[start : start + 100], rows[start : start + 100])
    await content.delete(vectors.collection, {})
    assert list(await vectors.find(texts)) == list(range(1, len(texts)))


@pytest.mark.parametrize(
    "model", ["x" * 300, "ünïcode/模型", "sentence-transformers/all-MiniLM-L6-v2", ""]
)
def test_every_model_has_a_collection_that_stores_accept(model: str):
    assert len(name_vectors(model)) <= 63
    assert name_vectors(model).isascii()
    assert name_vectors(model).replace("_", "").isalnum()


HOSTILE = ["", "a" * 49, "a b", "../x", "a/b", "a.b", "a$b", "ä", "a\n", "a\0", "admin\\x", '"']


@pytest.mark.parametrize("project_id", HOSTILE)
def test_a_hostile_project_id_is_refused(project_id: str, tmp_path: Path):
    with pytest.raises(InvalidTask):
        MongoContent("mongodb://127.0.0.1:1", project_id)
    with pytest.raises(InvalidTask):
        EmbeddedContent(tmp_path, project_id)
    assert not list(tmp_path.iterdir())


def test_a_project_has_the_database_that_the_application_uses():
    assert database_of("Shop_1-b") == "aladdin-gather-Shop_1-b"


def test_projects_that_differ_in_case_have_different_directories(tmp_path: Path):
    names = {directory_of(tmp_path, name).name.casefold() for name in ("shop", "Shop", "SHOP")}
    assert len(names) == 3


async def test_projects_share_nothing(tmp_path: Path):
    one, other = EmbeddedContent(tmp_path, "a"), EmbeddedContent(tmp_path, "b")
    for content in (one, other):
        await content.open()
    await one.insert_items([make("Only in the first of them.")])
    assert await ids_of(other) == []
    for content in (one, other):
        await content.close()


async def test_a_store_that_is_not_open_says_so(tmp_path: Path):
    for content in (EmbeddedContent(tmp_path, "a"), MongoContent("mongodb://127.0.0.1:1", "a")):
        with pytest.raises(Unavailable):
            await content.mark()
        with pytest.raises(Unavailable):
            await ids_of(content)


FOREIGN_IDS = [
    ObjectId(),
    "plain",
    "65f0c0ffee",
    7,
    Int64(2**40),
    2.5,
    True,
    {"b": 1, "a": "x"},
    datetime(2020, 1, 1, tzinfo=UTC),
    uuid.UUID(int=5).hex,
]


@pytest.mark.parametrize(
    "raw", [*FOREIGN_IDS, None, Decimal128("1.5"), Binary(b"\0\1", 0), "a" * 24]
)
def test_every_id_is_returned(raw: Any):
    written = write_id(raw)
    read = read_id(written)
    assert write_id(read) == written
    if isinstance(raw, str):
        assert read == raw


def test_ids_of_different_types_are_different():
    alike = [
        ObjectId("a" * 24),
        "a" * 24,
        5,
        "5",
        5.0,
        True,
        "true",
        None,
        "null",
        {"$oid": "a" * 24},
    ]
    assert len({write_id(id_) for id_ in alike[:9]}) == 9


async def test_foreign_documents_are_read_and_never_changed(
    mongo_content: MongoContent,
):
    raw = raw_of(mongo_content)
    foreign: list[dict[str, Any]] = [
        {"_id": id_, "content": f"What the application says, in its place {at}."}
        for at, id_ in enumerate(FOREIGN_IDS)
    ]
    foreign += [
        {"_id": "odd-1", "content": {"rich": "text"}},
        {"_id": "odd-2", "title": "no content"},
        {"_id": "odd-3", "content": "   "},
        {"_id": "odd-4", "content": "Said by the application.", "summary": 5, "automation": "x"},
        {"_id": ObjectId(item_id("Taken by them.")), "content": "taken by them", "owner": {"a": 1}},
    ]
    for document in foreign:
        await raw.insert_one(document)
    items = items_of(mongo_content, CountingEmbed())
    await items.refresh()
    assert count(items) == len(foreign) - 3 == len(FOREIGN_IDS) + 2

    read = await mongo_content.read_items([write_id(id_) for id_ in FOREIGN_IDS])
    assert len(read) == len(FOREIGN_IDS)
    assert all(item.automation is None for item in read.values())
    assert await items.save([make("Taken by them."), make("What is new.")]) == [
        make("What is new.")
    ]
    kept = await raw.find({"automation.run_id": {"$exists": False}}).to_list()
    by_id = {write_id(document["_id"]): document for document in kept}
    for document in foreign:
        assert by_id[write_id(document["_id"])] == document


async def test_what_a_unique_index_of_the_application_refuses_is_left_out(
    mongo_content: MongoContent, caplog: pytest.LogCaptureFixture
):
    fires, rivers = make("Fires need some air."), make("Rivers need some rain.")
    raw = raw_of(mongo_content)
    await raw.create_index("automation.content_hash", unique=True)
    await raw.insert_one({"automation": {"content_hash": content_hash(fires.content)}})
    assert await items_of(mongo_content, CountingEmbed()).save([fires, rivers]) == [rivers]
    assert f"E11000: refused by a unique index of the application: {fires.id}" in caplog.text


async def test_a_document_has_the_fields_that_the_application_reads(
    mongo_content: MongoContent,
):
    one = make("Contracts over 10,000 € need two signatures.")
    await mongo_content.insert_items([one])
    (document,) = await raw_of(mongo_content).find({}).to_list()
    assert document == {
        "_id": ObjectId(one.id),
        "content": one.content,
        "summary": "A gist.",
        "context": "Where it belongs.",
        "user_id": "user-1",
        "created_at": NOON.replace(microsecond=123000),
        "automation": {
            "run_id": "r1",
            "iteration": 1,
            "department": "legal",
            "department_number": 3,
            "model": "m-2026",
            "quality_at_creation": 41.5,
            "content_hash": content_hash(one.content),
            "mock": True,
        },
    }


class PickyEmbed(CountingEmbed):
    """Refuses requests with a text that is too long for it, or that it does not like."""

    def __init__(self, error: AletheiaError, *, max_chars: int = 10_000) -> None:
        super().__init__()
        self.fault, self.max_chars = error, max_chars
        self.requests = 0

    async def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.requests += 1
        if any("poison" in text or len(text) > self.max_chars for text in texts):
            raise self.fault
        return await super().__call__(texts)


@pytest.mark.parametrize(
    "error",
    [
        InvalidTask("refused_input", "no"),
        ComputeFailed("bad_vector", "numbers that are not finite"),
        Refused("openai", 400, "input cannot be processed"),
    ],
)
async def test_a_document_that_cannot_be_embedded_costs_only_itself(
    content: AnyContent, error: AletheiaError
):
    good = [make(f"Thing number {n} is said once.") for n in range(100)]
    bad = make("There is poison in this one.")
    await content.insert_items([*good, bad])
    embed = PickyEmbed(error)
    items = items_of(content, embed)
    await items.refresh()
    assert items.index is not None
    assert len(items.index) == 100
    assert items.passed_over == {bad.id: error}
    assert embed.requests < 30
    assert [item.id for item in items.of_department("legal")].count(bad.id) == 1, "it is scored"
    await items.refresh()
    assert embed.requests < 30, "it is not tried again in this run"
    again = PickyEmbed(error)
    later = items_of(content, again)
    await later.refresh()
    assert later.passed_over == {bad.id: error}
    assert again.asked == ["A few words."]


async def test_a_document_that_is_too_long_is_embedded_in_windows(content: AnyContent):
    text = "Contracts are read, signed and filed by two people. " * 300
    long = replace(make("Contracts are read by two people."), content=text)
    await content.insert_items([long, make("Thing number 1 is said once.")])
    embed = PickyEmbed(InvalidTask("input_too_long", "too long"), max_chars=4000)
    items = items_of(content, embed)
    await items.refresh()
    assert items.passed_over == {}
    assert count(items) == 2
    vector = (await items.embed([long.content]))[0]
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)
    asked = len(embed.asked)
    await items.embed([long.content])
    assert len(embed.asked) == asked, "its vector is cached"


async def test_where_nothing_can_be_embedded_no_document_is_blamed(content: AnyContent):
    await content.insert_items([make(f"Thing number {n} is said once.") for n in range(5)])
    error = InvalidTask("model_not_found", "there is no such model")
    embed = PickyEmbed(error, max_chars=0)
    items = items_of(content, embed)
    with pytest.raises(InvalidTask, match="no such model"):
        await items.refresh()
    assert embed.requests == 2, "they are not tried one by one"
    assert items.passed_over == {}


async def test_an_item_of_ours_is_deleted_once(content: AnyContent):
    item = make("Answer every message on the day it comes in.")
    await content.insert_items([item, make("Ring the bell at noon, every day.")])
    assert await content.delete_item(item)
    assert item.id not in await ids_of(content)
    assert len(await ids_of(content)) == 1
    assert await content.delete_item(item), "it is gone"


async def test_an_item_that_is_not_as_it_was_read_is_not_deleted(content: AnyContent):
    item = make("Answer every message on the day it comes in.")
    await content.insert_items([item])
    assert not await content.delete_item(replace(item, user_id="user-2"))
    assert not await content.delete_item(replace(item, automation=None))
    assert await ids_of(content) == [item.id]


async def test_an_item_to_which_the_application_has_added_is_not_deleted(
    mongo_content: MongoContent,
):
    item = make("Answer every message on the day it comes in.")
    await mongo_content.insert_items([item])
    await raw_of(mongo_content).update_one({"_id": read_id(item.id)}, {"$set": {"votes": 3}})
    assert not await mongo_content.delete_item(item)
    assert await ids_of(mongo_content) == [item.id]
