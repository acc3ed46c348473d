"""What every backend of the document store does, exactly as `aletheia.documents` says."""

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from aletheia.documents import Change, Document, Documents, Update, Where

ODD_IDS = [
    "a/b?c=d&e=%20#f",
    "dots.and$dollars",
    "quote ' double \" back \\ tick `",
    "новое 任务 🎈",
    "  spaces  ",
    "",
    "line\nbreak\ttab",
    "x" * 900,
]

PAYLOAD = bytes(range(256)) * 20


class State(enum.StrEnum):
    OPEN = "open"


async def ids(documents: Documents, where: Where, **options: Any) -> list[str]:
    return [document["_id"] for document in await documents.find("things", where, **options)]


async def fill(documents: Documents, values: dict[str, Any]) -> None:
    """Insert a document `{"v": value}` by id; `...` leaves the value out."""
    await documents.insert(
        "things",
        [{"_id": id_} | ({} if v is ... else {"v": v}) for id_, v in values.items()],
    )


async def read(documents: Documents, id_: str) -> Document:
    return (await documents.get("things", [id_], with_payload=True))[id_]


# Inserting and reading.


async def test_what_is_inserted_is_read_back_equal(documents: Documents):
    document: Document = {
        "_id": "1",
        "text": 'naïve "quoted" \\ 任务 🎈 \u2028',
        "whole": 2**63 - 1,
        "negative": -(2**63),
        "fraction": 0.1,
        "tiny": 5e-324,
        "yes": True,
        "no": False,
        "nothing": None,
        "list": [1, "two", None, {"three": [3.5]}],
        "nested": {"a": {"b": {}}, "": "empty name", "dotted.name": 1, "$dollar": {"$ref": "x"}},
        "payload": PAYLOAD,
    }
    assert await documents.insert("things", [document]) == {"1"}
    read_back = await read(documents, "1")
    assert read_back == document
    assert [type(value) for value in read_back.values()] == [type(v) for v in document.values()]


async def test_an_object_with_the_keys_of_a_reference_stays_an_object(
    strict_documents: Documents,
):
    reference = {"$ref": "a", "$id": {"$ref": "b", "$id": 1}, "more": 2}
    await fill(strict_documents, {"1": reference, "2": [reference]})
    assert [d["v"] for d in await strict_documents.find("things", {})] == [reference, [reference]]


async def test_a_float_that_is_whole_stays_a_float(documents: Documents):
    await fill(documents, {"a": 1.0, "b": 1})
    found = await documents.get("things", ["a", "b"])
    assert [type(found[id_]["v"]) for id_ in "ab"] == [float, int]


async def test_values_that_only_look_like_plain_json_are_stored_as_it(documents: Documents):
    await fill(documents, {"a": State.OPEN, "b": np.float64(0.5), "c": (1, 2)})
    found = await documents.find("things", {})
    assert [(type(d["v"]), d["v"]) for d in found] == [(str, "open"), (float, 0.5), (list, [1, 2])]
    assert await ids(documents, {"v": State.OPEN}) == ["a"]


async def test_ids_may_hold_odd_characters(documents: Documents):
    await documents.insert("things", [{"_id": id_, "n": n} for n, id_ in enumerate(ODD_IDS)])
    assert list(await documents.get("things", ODD_IDS)) == ODD_IDS
    change = Change(increase={"n": 1})
    assert await documents.update("things", [Update(id_, change) for id_ in ODD_IDS]) == [True] * 8
    found = await documents.get("things", ODD_IDS)
    assert [found[id_]["n"] for id_ in ODD_IDS] == list(range(1, 9))
    assert await documents.delete("things", {"_id": {"$in": ODD_IDS}}) == 8


async def test_an_insert_leaves_what_is_there_as_it_is(documents: Documents):
    await documents.insert("things", [{"_id": "1", "v": "old", "payload": b"old"}])
    inserted = await documents.insert(
        "things",
        [
            {"_id": "1", "v": "new", "payload": b"new"},
            {"_id": "2", "v": "first"},
            {"_id": "2", "v": "second"},
        ],
    )
    assert inserted == {"2"}
    assert await read(documents, "1") == {"_id": "1", "v": "old", "payload": b"old"}
    assert await read(documents, "2") == {"_id": "2", "v": "first"}


async def test_a_document_may_be_nothing_but_its_id(documents: Documents):
    await documents.insert("things", [{"_id": "1"}])
    assert await documents.find("things", {}) == [{"_id": "1"}]


async def test_a_missing_id_is_not_in_the_answer(documents: Documents):
    await fill(documents, {"1": 1})
    assert await documents.get("things", ["2", "1", "1"]) == {"1": {"_id": "1", "v": 1}}


async def test_many_documents_are_read_by_id_at_once(documents: Documents):
    await fill(documents, {str(n): n for n in range(1200)})
    wanted = [str(n) for n in range(0, 2400, 2)]
    assert list(await documents.get("things", wanted)) == wanted[:600]


async def test_a_payload_is_read_only_when_asked_for(documents: Documents):
    await documents.insert("things", [{"_id": "1", "v": 1, "payload": PAYLOAD}, {"_id": "2"}])
    plain = [{"_id": "1", "v": 1}, {"_id": "2"}]
    full = [{"_id": "1", "v": 1, "payload": PAYLOAD}, {"_id": "2"}]
    assert await documents.find("things", {}) == plain
    assert await documents.find("things", {}, with_payload=True) == full
    assert list((await documents.get("things", ["1", "2"])).values()) == plain
    assert list((await documents.get("things", ["1", "2"], with_payload=True)).values()) == full
    assert await documents.take("things", {"v": 1}, Change(set={"v": 2})) == {"_id": "1", "v": 2}


async def test_an_empty_payload_is_a_payload(documents: Documents):
    await documents.insert("things", [{"_id": "1", "payload": b""}])
    assert await read(documents, "1") == {"_id": "1", "payload": b""}


async def test_collections_do_not_share_documents(documents: Documents):
    await documents.insert("things", [{"_id": "1", "payload": b"a"}])
    await documents.insert("others", [{"_id": "1", "payload": b"b"}, {"_id": "2"}])
    assert await documents.delete("others", {}) == 2
    assert await documents.find("things", {}, with_payload=True) == [{"_id": "1", "payload": b"a"}]


async def test_a_collection_nobody_wrote_to_is_empty(documents: Documents):
    assert await documents.get("things", ["1"]) == {}
    assert await documents.find("things", {}) == []
    assert await documents.take("things", {}, Change(set={"v": 1})) is None
    assert await documents.update("things", [Update("1", Change(set={"v": 1}))]) == [False]
    assert await documents.delete("things", {}) == 0
    assert await documents.count("things", {}) == 0
    assert await documents.count_by("things", "v", {}) == {}


async def test_empty_calls_do_nothing(documents: Documents):
    await fill(documents, {"1": 1})
    assert await documents.insert("things", []) == set()
    assert await documents.update("things", []) == []
    await documents.upsert("things", [])
    assert await documents.get("things", []) == {}
    assert await documents.find("things", {}) == [{"_id": "1", "v": 1}]


# Conditions.


VALUES = {
    "text": "x",
    "brackets": "[1]",
    "int": 7,
    "whole": 7.0,
    "float": 7.5,
    "null": None,
    "missing": ...,
}

CONDITIONS: dict[str, tuple[object, list[str]]] = {
    "a string": ("x", ["text"]),
    "case counts": ("X", []),
    "a string that looks like a list": ("[1]", ["brackets"]),
    "an integer equals the float": (7, ["int", "whole"]),
    "a float equals the integer": (7.0, ["int", "whole"]),
    "a fraction": (7.5, ["float"]),
    "None, also where it is missing": (None, ["missing", "null"]),
    "among": ({"$in": ["x", 7, "nowhere"]}, ["int", "text", "whole"]),
    "among, with None": ({"$in": [None]}, ["missing", "null"]),
    "among nothing": ({"$in": []}, []),
    "not equal, also where it is missing": (
        {"$ne": "x"},
        ["brackets", "float", "int", "missing", "null", "whole"],
    ),
    "less, numbers only": ({"$lt": 7.5}, ["int", "whole"]),
    "at most": ({"$lte": 7.5}, ["float", "int", "whole"]),
    "greater, numbers only": ({"$gt": 7}, ["float"]),
    "at least": ({"$gte": 7}, ["float", "int", "whole"]),
    "greater, strings only": ({"$gt": "a"}, ["text"]),
    "any string": ({"$gte": ""}, ["brackets", "text"]),
    "less, strings only": ({"$lt": "x"}, ["brackets"]),
    "between": ({"$gt": 7, "$lt": 8}, ["float"]),
    "no value is of two kinds": ({"$gte": 0, "$lte": "z"}, []),
    "both must hold": ({"$gt": 7, "$ne": 7.5}, []),
}

STRICT_CONDITIONS = CONDITIONS | {
    "there": ({"$ne": None}, ["brackets", "float", "int", "text", "whole"]),
}


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS.values(), ids=CONDITIONS)
async def test_a_condition_chooses_by_value_and_kind(
    documents: Documents, condition: object, expected: list[str]
):
    await fill(documents, VALUES)
    assert await ids(documents, {"v": condition}) == expected


@pytest.mark.parametrize(
    ("condition", "expected"), STRICT_CONDITIONS.values(), ids=STRICT_CONDITIONS
)
async def test_every_method_understands_a_condition_alike(
    strict_documents: Documents, condition: object, expected: list[str]
):
    await fill(strict_documents, VALUES)
    where = {"v": condition}
    marks = [Update(id_, Change(increase={"seen": 1}), where) for id_ in sorted(VALUES)]
    answers = await strict_documents.update("things", marks)
    assert answers == [id_ in expected for id_ in sorted(VALUES)]
    assert await ids(strict_documents, where) == expected
    assert await ids(strict_documents, {"seen": 1}) == expected
    assert await strict_documents.count("things", where) == len(expected)
    taken = await strict_documents.take("things", where, Change(set={"taken": "x"}), sort="_id")
    assert (taken and taken["_id"]) == next(iter(expected), None)
    assert await strict_documents.delete("things", where) == len(expected)
    assert await strict_documents.count("things", {}) == len(VALUES) - len(expected)


async def test_counts_and_deletes_go_by_condition(documents: Documents):
    await fill(documents, VALUES)
    assert await documents.count("things", {"v": "x"}) == 1
    assert await documents.count("things", {"v": {"$gte": 7}}) == 3
    assert await documents.delete("things", {"v": {"$lt": 7.5}}) == 2
    assert await documents.delete("things", {"v": {"$in": ["x", "[1]"]}}) == 2
    assert await documents.count("things", {}) == 3


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (True, ["true"]),
        (False, ["false"]),
        (1, ["one"]),
        (0, ["zero"]),
        ({"$in": [1, False]}, ["false", "one"]),
        ({"$gte": 0}, ["one", "zero"]),
        ({"$ne": 1}, ["false", "object", "true", "zero"]),
        ({"$ne": True}, ["false", "object", "one", "zero"]),
        ('{"a":1}', []),
        ({"$gt": ""}, []),
    ],
)
async def test_booleans_and_objects_are_kinds_of_their_own(
    strict_documents: Documents, condition: object, expected: list[str]
):
    await fill(
        strict_documents, {"true": True, "false": False, "one": 1, "zero": 0, "object": {"a": 1}}
    )
    assert await ids(strict_documents, {"v": condition}) == expected


async def test_strings_are_ordered_by_code_point(documents: Documents):
    values = ["", "Z", "a", "a\u0301", "b", "é", "任", "\uffee", "🎈"]
    await fill(documents, {str(n): value for n, value in enumerate(values)})
    assert await ids(documents, {}, sort="v") == [str(n) for n in range(9)]
    assert await ids(documents, {"v": {"$gt": "b", "$lte": "\uffee"}}, sort="v") == ["5", "6", "7"]


async def test_text_with_nul_characters_is_told_apart(documents: Documents):
    values = ["a", "a\0", "a\0b", "a\1", "a\1\1", "a\1\2", "a\2", "ab"]
    await fill(documents, {value: value for value in values})
    assert await ids(documents, {}, sort="v") == values
    for value in values:
        assert await ids(documents, {"v": value}) == [value]
        assert await ids(documents, {"_id": {"$in": [value]}}) == [value]
    assert await documents.count_by("things", "v", {}) == dict.fromkeys(values, 1)
    assert await ids(documents, {"v": {"$lt": "a\1"}}) == ["a", "a\0", "a\0b"]
    await documents.update("things", [Update(v, Change(set={"w": [v]})) for v in values])
    found = await documents.get("things", values)
    assert found == {value: {"_id": value, "v": value, "w": [value]} for value in values}


async def test_dotted_names_reach_into_objects(documents: Documents):
    await documents.insert(
        "things",
        [
            {"_id": "1", "dead": {"code": "bad_vector", "at": {"second": 5}}},
            {"_id": "2", "dead": {"code": None}},
            {"_id": "3", "dead": "code"},
            {"_id": "4"},
        ],
    )
    assert await ids(documents, {"dead.code": "bad_vector"}) == ["1"]
    assert await ids(documents, {"dead.code": None}) == ["2", "3", "4"]
    assert await ids(documents, {"dead.at.second": {"$gte": 5}}) == ["1"]
    assert await ids(documents, {"dead.code": {"$ne": "bad_vector"}}) == ["2", "3", "4"]


async def test_all_conditions_must_hold(documents: Documents):
    await documents.insert(
        "things", [{"_id": str(n), "even": n % 2 == 0, "n": n, "s": "abc"[n % 3]} for n in range(9)]
    )
    assert await ids(documents, {"n": {"$gt": 2}, "s": "a"}) == ["3", "6"]
    assert await ids(documents, {"_id": {"$gt": "2"}, "n": {"$lt": 6}, "s": {"$ne": "b"}}) == [
        "3",
        "5",
    ]


async def test_the_id_can_be_filtered_like_any_string(strict_documents: Documents):
    documents = strict_documents
    await fill(documents, {"1": 1, "2": 2, "10": 3})
    assert await ids(documents, {"_id": "10"}) == ["10"]
    assert await ids(documents, {"_id": {"$gte": "10", "$lt": "2"}}) == ["10"]
    assert await ids(documents, {"_id": {"$ne": "1"}}) == ["10", "2"]
    assert await ids(documents, {"_id": 10}) == []
    assert await ids(documents, {"_id": {"$in": [10, "2"]}}) == ["2"]
    assert await ids(documents, {"_id": {"$gt": 0}}) == []
    assert await ids(documents, {"_id": None}) == []


async def test_indexes_change_no_answer(documents: Documents):
    await documents.ensure_index("things", ["state", "until"])
    await documents.ensure_index("things", ["state", "until"])
    await documents.ensure_index("things", ["dead.code"])
    rows = [
        {"_id": f"{n:02}", "state": "ab"[n % 2], "until": float(n), "dead": {"code": f"c{n % 3}"}}
        for n in range(12)
    ]
    await documents.insert("things", rows)
    await documents.ensure_index("things", ["until"])
    assert await ids(documents, {"state": "a", "until": {"$lt": 5}}, sort="until") == [
        "00",
        "02",
        "04",
    ]
    assert await ids(documents, {"state": {"$in": ["a", "b"]}}, sort="until", limit=2) == [
        "00",
        "01",
    ]
    assert await ids(documents, {"dead.code": "c1"}, sort="until", descending=True) == [
        "10",
        "07",
        "04",
        "01",
    ]


# Order and limit.


async def test_documents_come_in_the_order_of_their_ids(documents: Documents):
    await fill(documents, {"b": 1, "a": 2, "C": 3, "ä": 4})
    assert await ids(documents, {}) == ["C", "a", "b", "ä"]
    assert await ids(documents, {}, descending=True) == ["ä", "b", "a", "C"]


async def test_sorted_documents_come_with_missing_values_first_and_ties_by_id(
    documents: Documents,
):
    await fill(
        documents,
        {"f": "b", "e": 2, "d": 1.5, "c": 2, "b": None, "a": "B", "g": ..., "h": -1},
    )
    order = ["b", "g", "h", "d", "c", "e", "a", "f"]
    assert await ids(documents, {}, sort="v") == order
    assert await ids(documents, {}, sort="v", descending=True) == order[::-1]
    assert await ids(documents, {}, sort="_id") == sorted(order)


async def test_a_limit_takes_the_first(documents: Documents):
    await fill(documents, {str(n): -n for n in range(5)})
    assert await ids(documents, {}, limit=2) == ["0", "1"]
    assert await ids(documents, {}, sort="v", limit=2) == ["4", "3"]
    assert await ids(documents, {}, limit=0) == []
    assert await ids(documents, {}, limit=9) == ["0", "1", "2", "3", "4"]


# Changing.


async def test_a_change_sets_unsets_and_increases(documents: Documents):
    await documents.insert(
        "things",
        [{"_id": "1", "a": 1, "b": {"c": 1, "d": 2}, "n": 1, "f": 0.5, "gone": "x"}],
    )
    change = Change(
        set={"a": "new", "b.c": [1, {"x": None}], "p.q.r": 5, "empty": {}},
        unset=["gone", "b.d", "never", "not.there"],
        increase={"n": 2, "f": 0.25, "fresh": 3, "p.count": -1},
    )
    assert await documents.update("things", [Update("1", change)]) == [True]
    assert await read(documents, "1") == {
        "_id": "1",
        "a": "new",
        "b": {"c": [1, {"x": None}]},
        "p": {"q": {"r": 5}, "count": -1},
        "empty": {},
        "n": 3,
        "f": 0.75,
        "fresh": 3,
    }


async def test_an_integer_increased_by_a_fraction_is_a_float(documents: Documents):
    await fill(documents, {"1": 1})
    await documents.update("things", [Update("1", Change(increase={"v": 0.5}))])
    assert (await read(documents, "1"))["v"] == 1.5


async def test_a_payload_is_set_replaced_kept_and_removed(documents: Documents):
    await fill(documents, {"1": 1})
    seen: list[bytes | None] = []
    for change in (
        Change(set={"payload": PAYLOAD}),
        Change(set={"v": 2}),
        Change(set={"payload": b"other", "v": 3}),
        Change(unset=["payload"]),
        Change(unset=["payload"]),
    ):
        assert await documents.update("things", [Update("1", change)]) == [True]
        seen.append((await read(documents, "1")).get("payload"))
    assert seen == [PAYLOAD, PAYLOAD, b"other", None, None]


async def test_each_update_says_whether_its_condition_held(documents: Documents):
    await fill(documents, {"1": "a", "2": "b", "3": ...})
    change = Change(set={"v": "c"})
    updates = [
        Update("1", change, {"v": "a"}),
        Update("2", change, {"v": "a"}),
        Update("3", change, {"v": None}),
        Update("4", change),
        Update("1", change, {"v": "a"}),
        Update("1", Change(set={"v": "d"}), {"v": "c", "_id": "1"}),
        Update("2", change, {"_id": "1"}),
    ]
    answers = await documents.update("things", updates)
    assert answers == [True, False, True, False, False, True, False]
    assert [d["v"] for d in await documents.find("things", {})] == ["d", "b", "c"]


async def test_a_change_that_changes_nothing_still_matches(documents: Documents):
    await fill(documents, {"1": "a"})
    for change in (Change(set={"v": "a"}), Change(unset=["w"]), Change()):
        assert await documents.update("things", [Update("1", change, {"v": "a"})]) == [True]
    assert await documents.find("things", {}) == [{"_id": "1", "v": "a"}]


async def test_an_upsert_creates_what_is_missing(documents: Documents):
    await documents.insert("things", [{"_id": "1", "n": 1, "keep": True}])
    change = Change(set={"a.b": "x", "payload": b"p"}, increase={"n": 1}, unset=["z"])
    await documents.upsert("things", [Update("1", change), Update("2", change)])
    await documents.upsert("things", [Update("2", Change(increase={"n": 1}))] * 3)
    await documents.upsert("things", [Update("3", Change())])
    assert await documents.find("things", {}, with_payload=True) == [
        {"_id": "1", "n": 2, "keep": True, "a": {"b": "x"}, "payload": b"p"},
        {"_id": "2", "n": 4, "a": {"b": "x"}, "payload": b"p"},
        {"_id": "3"},
    ]


async def test_upserts_of_one_new_id_at_once_all_count(documents: Documents):
    change = Change(increase={"n": 1})
    await asyncio.gather(*(documents.upsert("things", [Update("1", change)]) for _ in range(20)))
    assert await documents.find("things", {}) == [{"_id": "1", "n": 20}]


async def test_updates_of_one_document_at_once_all_count(documents: Documents):
    await fill(documents, {"1": 0})
    update = Update("1", Change(increase={"v": 1}))
    await asyncio.gather(*(documents.update("things", [update]) for _ in range(20)))
    assert (await read(documents, "1"))["v"] == 20


async def test_of_two_conditional_updates_at_once_one_wins(documents: Documents):
    await fill(documents, {"1": "free"})
    answers = await asyncio.gather(
        *(
            documents.update("things", [Update("1", Change(set={"v": str(n)}), {"v": "free"})])
            for n in range(10)
        )
    )
    assert sorted(answers) == [[False]] * 9 + [[True]]
    assert (await read(documents, "1"))["v"] == str(answers.index([True]))


async def test_a_change_that_does_not_fit_spares_its_neighbours(strict_documents: Documents):
    await fill(strict_documents, {"1": 1, "2": "text", "3": {"x": 3}, "4": 4, "5": None})
    updates = [
        Update("1", Change(increase={"v": 1})),
        Update("2", Change(increase={"v": 1}, set={"w": 1})),
        Update("3", Change(set={"v.x.y": 1})),
        Update("4", Change(increase={"v": 1})),
        Update("5", Change(set={"v.x": 1})),
    ]
    with pytest.raises(ValueError, match="v"):
        await strict_documents.update("things", updates)
    values = [(d["v"], d.get("w")) for d in await strict_documents.find("things", {})]
    assert values == [(2, None), ("text", None), ({"x": 3}, None), (5, None), (None, None)]


async def test_an_unset_through_a_scalar_changes_nothing(strict_documents: Documents):
    await fill(strict_documents, {"1": 1})
    assert await strict_documents.update("things", [Update("1", Change(unset=["v.x"]))]) == [True]
    assert await strict_documents.find("things", {}) == [{"_id": "1", "v": 1}]


async def test_an_update_can_set_any_kind_of_value(strict_documents: Documents):
    await fill(strict_documents, {"1": 1})
    values: list[object] = [True, None, 0.5, "x", [], {"a": [False]}]
    for value in values:
        await strict_documents.update("things", [Update("1", Change(set={"v": value}))])
        read_back = (await read(strict_documents, "1"))["v"]
        assert (type(read_back), read_back) == (type(value), value)


# Taking.


async def test_take_changes_the_first_in_order_and_returns_it_changed(documents: Documents):
    await documents.insert(
        "things", [{"_id": str(n), "state": "free", "rank": -n, "payload": b"p"} for n in range(3)]
    )
    change = Change(set={"state": "held"}, increase={"attempts": 1})
    taken = await documents.take("things", {"state": "free"}, change, sort="rank")
    assert taken == {"_id": "2", "state": "held", "rank": -2, "attempts": 1}
    rest = [await documents.take("things", {"state": "free"}, change, sort="rank") for _ in "abc"]
    assert [document and document["_id"] for document in rest] == ["1", "0", None]
    assert (await read(documents, "2"))["payload"] == b"p"


async def test_takers_at_once_never_get_the_same_document(documents: Documents):
    await fill(documents, {f"{n:03}": "free" for n in range(60)})
    taken: list[str] = []

    async def taker(name: str) -> None:
        while document := await documents.take("things", {"v": "free"}, Change(set={"v": name})):
            assert document["v"] == name
            taken.append(document["_id"])

    await asyncio.gather(*(taker(f"taker {n}") for n in range(6)))
    assert sorted(taken) == [f"{n:03}" for n in range(60)]


# Deleting and counting.


async def test_a_delete_with_a_limit_takes_the_first_ids(documents: Documents):
    await fill(documents, {f"a{n}": "old" for n in range(5)} | {"a00": "new"})
    assert await documents.delete("things", {"v": "old"}, limit=0) == 0
    assert await documents.delete("things", {"v": "old"}, limit=2) == 2
    assert await ids(documents, {}) == ["a00", "a2", "a3", "a4"]
    assert await documents.delete("things", {"v": "old"}, limit=9) == 3
    assert await documents.delete("things", {}, limit=9) == 1


async def test_a_deleted_payload_does_not_come_back(documents: Documents):
    await documents.insert("things", [{"_id": "1", "payload": PAYLOAD}])
    await documents.delete("things", {"_id": "1"})
    await documents.insert("things", [{"_id": "1"}, {"_id": "2"}])
    assert await documents.find("things", {}, with_payload=True) == [{"_id": "1"}, {"_id": "2"}]


async def test_counts_go_by_string_value(documents: Documents):
    values = ["a", "b", "a", "[x]", "{", "", 1, None, ["a"], {"a": 1}, ...]
    await fill(documents, {f"{n:02}": value for n, value in enumerate(values)})
    assert await documents.count_by("things", "v", {}) == {"a": 2, "b": 1, "[x]": 1, "{": 1, "": 1}
    assert await documents.count_by("things", "v", {"_id": {"$gte": "02"}}) == {
        "a": 1,
        "[x]": 1,
        "{": 1,
        "": 1,
    }
    assert await documents.count("things", {}) == len(values)


async def test_the_clocks_of_one_machine_agree(documents: Documents):
    skew_s = await documents.clock_skew_s()
    assert skew_s is None or abs(skew_s) < 1


# Refusing.

BAD_VALUES = {
    "a lone surrogate": "\ud800",
    "a lone surrogate inside": [{"a": ["x\udfff"]}],
    "a lone surrogate in a name": {"\ud800": 1},
    "not a number": float("nan"),
    "infinity": [float("-inf")],
    "65 bits": 2**63,
    "65 bits inside": {"a": [-(2**63) - 1]},
    "bytes that are no payload": b"x",
    "a set": {1},
    "a name that is no string": {1: "x"},
    "a name with a NUL": {"a\0b": 1},
    "an object": object(),
}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
async def test_a_value_not_every_backend_holds_is_refused_with_its_call(
    documents: Documents, value: object
):
    await fill(documents, {"1": 1})
    with pytest.raises(ValueError, match="'v'"):
        await documents.insert("things", [{"_id": "2"}, {"_id": "3", "v": value}])
    change = Change(set={"v": value})
    with pytest.raises(ValueError, match="'v'"):
        await documents.update("things", [Update("1", Change(set={"w": 1})), Update("1", change)])
    with pytest.raises(ValueError, match="'v'"):
        await documents.upsert("things", [Update("4", change)])
    with pytest.raises(ValueError, match="'v'"):
        await documents.take("things", {}, change)
    with pytest.raises(ValueError, match="'v'"):
        await documents.find("things", {"v": value})
    assert await documents.find("things", {}) == [{"_id": "1", "v": 1}]


async def test_a_value_nested_too_deeply_is_refused(documents: Documents):
    value: Any = "x"
    for _ in range(88):
        value = [value]
    await fill(documents, {"1": [value]})
    assert (await read(documents, "1"))["v"] == [value]
    with pytest.raises(ValueError, match="deep"):
        await fill(documents, {"2": [[value]]})


Call = Callable[[Documents], Awaitable[object]]

BAD_CALLS: dict[str, Call] = {
    "a collection in capitals": lambda d: d.count("Things", {}),
    "a collection with a quote": lambda d: d.insert('things"; DROP TABLE x', [{"_id": "1"}]),
    "a collection that is too long": lambda d: d.find("x" * 64, {}),
    "no id": lambda d: d.insert("things", [{"v": 1}]),
    "an id that is a number": lambda d: d.insert("things", [{"_id": 1}]),
    "an id with a lone surrogate": lambda d: d.get("things", ["\ud800"]),
    "one string for ids": lambda d: d.get("things", "abc"),
    "a document with a dotted name": lambda d: d.insert("things", [{"_id": "1", "a.b": 1}]),
    "a document with an operator": lambda d: d.insert("things", [{"_id": "1", "$set": 1}]),
    "a payload that is text": lambda d: d.insert("things", [{"_id": "1", "payload": "x"}]),
    "a payload in a condition": lambda d: d.find("things", {"payload": "x"}),
    "a sort by payload": lambda d: d.find("things", {}, sort="payload"),
    "an index on payload": lambda d: d.ensure_index("things", ["payload"]),
    "an index on nothing": lambda d: d.ensure_index("things", []),
    "an index on a string": lambda d: d.ensure_index("things", "abc"),
    "a name with a quote": lambda d: d.find("things", {"a') OR 1 --": 1}),
    "an empty name": lambda d: d.find("things", {"": 1}),
    "a name with an empty segment": lambda d: d.find("things", {"a..b": 1}),
    "an unknown operator": lambda d: d.find("things", {"a": {"$regex": "x"}}),
    "no operator": lambda d: d.find("things", {"a": {}}),
    "a list as operand": lambda d: d.find("things", {"a": [1]}),
    "an object in a list of operands": lambda d: d.find("things", {"a": {"$in": [{}]}}),
    "a string where a list belongs": lambda d: d.find("things", {"a": {"$in": "abc"}}),
    "an order against None": lambda d: d.find("things", {"a": {"$lt": None}}),
    "an order against a boolean": lambda d: d.find("things", {"a": {"$gte": True}}),
    "a negative limit": lambda d: d.find("things", {}, limit=-1),
    "a negative limit of a delete": lambda d: d.delete("things", {}, limit=-1),
    "a count by a dotted name": lambda d: d.count_by("things", "a.b", {}),
    "a change of the id": lambda d: d.update("things", [Update("1", Change(set={"_id": "2"}))]),
    "an unset of the id": lambda d: d.update("things", [Update("1", Change(unset=["_id"]))]),
    "an increase of the id": lambda d: d.take("things", {}, Change(increase={"_id": 1})),
    "an increase of the payload": lambda d: d.take("things", {}, Change(increase={"payload": 1})),
    "an increase by a string": lambda d: d.take(
        "things",
        {},
        Change(increase={"a": "1"}),  # pyright: ignore[reportArgumentType] - the wrong type is the case
    ),
    "an increase by a boolean": lambda d: d.take("things", {}, Change(increase={"a": True})),
    "an increase by infinity": lambda d: d.take("things", {}, Change(increase={"a": np.inf})),
    "a value changed twice": lambda d: d.take("things", {}, Change(set={"a": 1}, unset=["a"])),
    "a value and its inside": lambda d: d.take(
        "things", {}, Change(set={"a": {}}, increase={"a.b": 1})
    ),
    "one string to unset": lambda d: d.take("things", {}, Change(unset="abc")),
    "an upsert with a condition": lambda d: d.upsert(
        "things", [Update("1", Change(set={"a": 1}), {"a": 2})]
    ),
}


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
async def test_a_call_outside_the_notation_is_refused(documents: Documents, call: Call):
    await documents.insert("things", [{"_id": "1", "a": 1}])
    with pytest.raises(ValueError, match=r"\w"):
        await call(documents)
    assert await documents.find("things", {}) == [{"_id": "1", "a": 1}]


# Opening and closing.


async def test_opening_and_closing_twice_does_no_harm(documents: Documents):
    await documents.open()
    await fill(documents, {"1": 1})
    await documents.close()
    await documents.close()
    await documents.open()
    assert await documents.find("things", {}) == [{"_id": "1", "v": 1}]
