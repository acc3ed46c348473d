"""Groups of writes, on every backend of the document store."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents import statements
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Change, Documents, Insert, Take, Update, Upsert, Write
from tests.fakes.documents import InTurnDocuments

TOTAL = "aletheia_of_a_test_total"
ONE = {TOTAL: 1.0}

ONE_MORE = Upsert("sums", [Update("sum", Change(increase={"n": 1}))])
BROKEN = Upsert("things", [Update("text", Change(increase={"v": 1}))])


async def read_all(documents: Documents) -> dict[str, Any]:
    return {
        row["_id"]: row.get("v", row.get("n"))
        for collection in ("things", "sums")
        for row in await documents.find(collection, {})
    }


async def test_a_group_is_written_in_order_and_each_write_answers_as_alone(documents: Documents):
    await documents.insert("things", [{"_id": "a", "v": 1}])
    change = Change(set={"v": 3})
    answers = await documents.write(
        [
            Insert("things", [{"_id": "a", "v": 9}, {"_id": "b", "v": 2}]),
            ONE_MORE,
            Take("things", {"_id": "b", "v": 2}, change),
            Take("things", {"_id": "b", "v": 2}, change),
        ]
    )
    assert answers == [{"b"}, None, {"_id": "b", "v": 3}, None]
    assert await read_all(documents) == {"a": 1, "b": 3, "sum": 1}


@pytest.mark.parametrize(
    "condition",
    [
        Insert("things", [{"_id": "a"}], is_condition=True),
        Take("things", {"_id": "a", "v": 2}, Change(set={"v": 3}), is_condition=True),
    ],
)
async def test_what_follows_a_condition_that_does_not_hold_is_left_out(
    documents: Documents, condition: Write
):
    await documents.insert("things", [{"_id": "a", "v": 1}])
    answers = await documents.write([ONE_MORE, condition, ONE_MORE])
    assert [bool(answer) for answer in answers] == [False, False]
    assert await read_all(documents) == {"a": 1, "sum": 1}


@pytest.mark.parametrize(
    "condition",
    [
        Insert("things", [{"_id": "b", "v": 1}], is_condition=True),
        Take("things", {"_id": "a", "v": 1}, Change(set={"v": 2}), is_condition=True),
    ],
)
async def test_what_follows_a_condition_that_holds_is_written(
    documents: Documents, condition: Write
):
    await documents.insert("things", [{"_id": "a", "v": 1}])
    assert len(await documents.write([condition, ONE_MORE])) == 2
    assert (await read_all(documents))["sum"] == 1


async def test_each_write_of_a_group_counts_what_it_makes(documents: Documents):
    await documents.insert("things", [{"_id": "a", "v": 1}])
    taking = Take("things", {"_id": "a", "v": 1}, Change(set={"v": 2}), {TOTAL: 100.0})
    adding = Upsert("sums", [Update("sum", Change(increase={"n": 1}), counts={TOTAL: 10.0})])
    inserting = Insert("things", [{"_id": "a"}, {"_id": "b"}], {"a": ONE, "b": ONE})
    await documents.write([taking, adding, inserting])
    await documents.write([taking, inserting])
    assert await documents.counters() == {TOTAL: 111.0}


async def test_a_take_counts_if_there_is_something_to_take(documents: Documents):
    await documents.insert("things", [{"_id": "a", "v": 1}])
    for _ in range(2):
        await documents.take("things", {"v": 1}, Change(set={"v": 2}), counts=ONE)
    assert await documents.counters() == {TOTAL: 1.0}


async def test_of_many_groups_at_once_one_meets_its_condition(documents: Documents):
    await documents.insert("things", [{"_id": "a", "v": 1}])
    taking = Take("things", {"_id": "a", "v": 1}, Change(set={"v": 2}), is_condition=True)
    answers = await asyncio.gather(*(documents.write([taking, ONE_MORE]) for _ in range(20)))
    assert sorted(map(len, answers)) == [1] * 19 + [2]
    assert (await read_all(documents))["sum"] == 1


async def test_a_group_of_nothing_writes_nothing(documents: Documents):
    assert await documents.write([]) == []


@pytest.mark.parametrize(
    "bad",
    [
        Insert("things", [{"_id": "1", "$set": 1}]),
        Upsert("things", [Update("1", Change(set={"a": 1}), {"a": 2})]),
        Take("things", {"a": {"$regex": "x"}}, Change()),
        Take("things", {}, Change(increase={"_id": 1})),
        Insert("No Name", [{"_id": "1"}]),
    ],
)
async def test_a_group_with_a_write_outside_the_notation_writes_nothing(
    documents: Documents, bad: Write
):
    with pytest.raises(ValueError, match=r"\w"):
        await documents.write([ONE_MORE, bad])
    assert await read_all(documents) == {}


async def test_a_change_that_does_not_fit_is_refused(strict_documents: Documents):
    await strict_documents.insert("things", [{"_id": "text", "v": "x"}])
    with pytest.raises(ValueError, match="text"):
        await strict_documents.write([ONE_MORE, BROKEN])
    assert (await read_all(strict_documents)).get("sum") in (None, 1)


async def test_of_a_transaction_all_is_written_or_nothing(tmp_path: Path):
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    assert documents.has_transactions
    await documents.insert("things", [{"_id": "text", "v": "x"}])
    counting = Insert("things", [{"_id": "b"}], {"b": ONE})
    alone = documents.insert("things", [{"_id": "alone", "v": 1}])
    group = documents.write([counting, ONE_MORE, BROKEN])
    # Both wait for the same transaction, of which one part fails.
    inserted, failed = await asyncio.gather(alone, group, return_exceptions=True)
    assert inserted == {"alone"}
    assert isinstance(failed, ValueError)
    assert await read_all(documents) == {"text": "x", "alone": 1}
    assert await documents.counters() == {}
    await documents.close()


async def test_a_transaction_that_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    await documents.insert("sums", [])

    def fail(*_: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(statements, "take_first", fail)
    taking = Take("things", {"_id": "a"}, Change(set={"v": 2}))
    with pytest.raises(Exception, match="the disk is gone"):
        await documents.write([ONE_MORE, taking])
    assert await read_all(documents) == {}
    await documents.close()


async def test_without_transactions_what_was_written_before_a_failure_stays(tmp_path: Path):
    documents = InTurnDocuments(tmp_path)
    await documents.open()
    await documents.insert("things", [{"_id": "text", "v": "x"}])
    with pytest.raises(ValueError, match="text"):
        await documents.write([ONE_MORE, BROKEN, ONE_MORE])
    assert await read_all(documents) == {"text": "x", "sum": 1}
    await documents.close()
