"""Reading pages in three dialects, and what is wrong with their entries."""

from typing import Any

import pytest

from aletheia.errors import InvalidTask
from aletheia.intake.models import Page, Task
from aletheia.intake.parsing import parse_entry, parse_page

HEX_ID = "65f1c0ffee65f1c0ffee65f1"
UUID_ID = "3d594650-3436-4c0e-8d0f-0b1f1f1f1f1f"

S0 = {"id": "t1", "type": "TEXT_EMBEDDING", "state": "PENDING", "data": {"text": "hello"}}
S1 = {
    "_id": HEX_ID,
    "type": "text_embedding",
    "state": "pending",
    "content": {"text": "hello", "model": "m"},
    "callbackRoute": "/cb/{id}",
    "callbackParams": {"a": [1, None]},
    "createdAt": "2026-01-01T00:00:00Z",
}
S2 = {
    "id": UUID_ID,
    "task_type": "Text_Embedding",
    "status": "Pending",
    "input_data": {"text": "hello"},
    "parameters": {"model": "m", "text": "not this one"},
    "job_id": "j",
    "created_at": 1,
    "retry_count": 1,
    "max_retries": 3,
}


def read(*entries: Any, max_entry_bytes: int = 10_000) -> Page:
    return parse_page(entries, max_entry_bytes=max_entry_bytes)


def only_task(entry: object) -> Task:
    (found,) = read(entry).entries
    assert isinstance(found.task, Task), found.task
    return found.task


def only_problem(entry: object, **options: int) -> InvalidTask:
    (found,) = read(entry, **options).entries
    assert isinstance(found.task, InvalidTask), found.task
    return found.task


def test_the_first_dialect_is_read():
    task = only_task(S0)
    assert (task.id, task.type, task.input) == ("t1", "text_embedding", {"text": "hello"})
    assert (task.retry_count, task.max_retries) == (0, None)


def test_the_second_dialect_is_read_with_its_routing_data():
    task = only_task(S1)
    assert (task.id, task.type, task.input) == (HEX_ID, "text_embedding", S1["content"])
    assert (task.callback_route, task.callback_params) == ("/cb/{id}", {"a": [1, None]})


def test_the_third_dialect_is_read_and_its_parameters_yield_to_its_input():
    task = only_task(S2)
    assert (task.id, task.type) == (UUID_ID, "text_embedding")
    assert task.input == {"model": "m", "text": "hello"}
    assert (task.retry_count, task.max_retries) == (1, 3)


def test_dialects_may_be_mixed_in_one_entry():
    task = only_task({"_id": "x", "task_type": "a", "status": "PENDING", "data": {"text": "t"}})
    assert (task.id, task.type, task.input) == ("x", "a", {"text": "t"})


@pytest.mark.parametrize("empty", [{}, None, "", " ", {"text": ""}, {"text": " \n", "model": None}])
def test_an_empty_input_gives_way_to_a_filled_one(empty: object):
    entry = {"id": "x", "type": "a", "data": empty, "content": {"text": "t"}, "input_data": {}}
    assert only_task(entry).input == {"text": "t"}


@pytest.mark.parametrize("empty", ["", None, "  "])
def test_an_empty_type_or_state_gives_way_to_a_filled_one(empty: object):
    entry = {"id": "x", "type": empty, "task_type": "A", "state": empty, "data": {"text": "t"}}
    assert only_task({**entry, "status": "PENDING"}).type == "a"
    assert read({**entry, "status": "done"}).not_pending == ("x",)


@pytest.mark.parametrize("empty", [[], {}, None, "", " \n"])
def test_parameters_that_are_empty_are_none(empty: object):
    assert only_task({**S0, "parameters": empty}).input == S0["data"]


@pytest.mark.parametrize("name", ["max_retries", "retry_count"])
@pytest.mark.parametrize("empty", [None, "", "  ", [], {}])
def test_a_number_of_tries_that_is_empty_is_none(name: str, empty: object):
    task = only_task({**S0, name: empty})
    assert (task.retry_count, task.max_retries) == (0, None)
    assert only_task({**S0, "max_retries": 0}).max_retries == 0


def test_an_empty_input_alone_is_the_input():
    assert only_task({"id": "x", "type": "a", "data": {}, "content": None}).input == {}


@pytest.mark.parametrize("useless", ["", "  ", {}, [], True, "a\nb", "x" * 300])
def test_an_id_that_is_none_gives_way_to_a_good_one(useless: object):
    entry = {**S0, "id": useless, "_id": HEX_ID}
    assert only_task(entry).id == HEX_ID
    assert parse_entry(read(entry).entries[0].json).id == HEX_ID


def test_a_task_without_a_state_is_pending():
    assert only_task({"id": "x", "type": "a", "data": {}}).id == "x"


@pytest.mark.parametrize("state", ["processing", "SUCCEEDED", "failed", ""])
def test_a_task_in_another_state_is_left_alone(state: object):
    page = read({**S0, "state": state})
    assert (page.entries, page.not_pending) == ((), ("t1",))


def test_of_two_entries_with_one_id_the_first_counts():
    page = read(S0, {**S0, "data": {"text": "other"}})
    assert [entry.task.input for entry in page.entries if isinstance(entry.task, Task)] == [
        {"text": "hello"}
    ]
    assert page.size == 2


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        "t1",
        [],
        {},
        {"id": None, "_id": None},
        {"id": ""},
        {"id": "  "},
        {"id": True},
        {"id": 1.5},
        {"id": {"$oid": HEX_ID}},
        {"id": "."},
        {"id": ".."},
        {"id": "a\x00b"},
        {"id": "a\nb"},
        {"id": "\ud800"},
        {"id": "x" * 257},
    ],
)
def test_an_entry_without_a_usable_id_is_rejected_and_costs_its_neighbours_nothing(entry: object):
    page = read(entry, S0)
    assert [entry.id for entry in page.entries] == ["t1"]
    assert len(page.rejected) == 1
    assert page.rejected[0].reason


def test_equal_entries_without_an_id_have_one_hash():
    one, other, different = read({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}).rejected
    assert one.content_hash == other.content_hash != different.content_hash


@pytest.mark.parametrize("task_id", ["a/b", "a b", "%2e%2e", "ü", "#?&", "x" * 256])
def test_odd_ids_are_ids(task_id: str):
    assert only_task({**S0, "id": task_id}).id == task_id


def test_a_number_is_an_id():
    assert only_task({**S0, "id": 17}).id == "17"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"type": None}, "missing_type"),
        ({"type": "  "}, "missing_type"),
        ({"type": 3}, "missing_type"),
        ({"data": None}, "missing_input"),
        ({"data": "hello"}, "invalid_input"),
        ({"data": ["hello"]}, "invalid_input"),
        ({"parameters": "x"}, "invalid_input"),
        ({"parameters": ["x"]}, "invalid_input"),
        ({"parameters": 0}, "invalid_input"),
        ({"data": {"text": "\ud800"}}, "invalid_text"),
        ({"data": {"\udfff": "x"}}, "invalid_text"),
        ({"data": {"text": "x", "n": float("nan")}}, "invalid_input"),
        ({"state": 1}, "invalid_state"),
        ({"state": ["pending"]}, "invalid_state"),
        ({"max_retries": -1}, "invalid_task"),
        ({"retry_count": "many"}, "invalid_task"),
        ({"data": {"text": "x" * 10_001}}, "task_too_large"),
    ],
)
def test_what_is_wrong_with_a_task_has_a_code(change: dict[str, object], code: str):
    problem = only_problem({**S0, **change})
    assert problem.code == code
    assert str(problem)
    assert not problem.retryable


@pytest.mark.parametrize("depth", [200, 5_000, 200_000])
def test_input_nested_too_deep_fails_alone(depth: int):
    deep: object = "x"
    for _ in range(depth):
        deep = [deep]
    page = read({**S0, "id": "deep", "data": {"text": deep}}, S0, max_entry_bytes=10**9)
    by_id = {entry.id: entry.task for entry in page.entries}
    assert isinstance(by_id["deep"], InvalidTask)
    assert isinstance(by_id["t1"], Task)


def test_integers_beyond_64_bits_do_not_break_a_page():
    assert only_task({**S0, "data": {"text": "x", "n": 2**70}}).input["n"] == 2**70


def test_content_is_type_and_input_and_nothing_else():
    one = read(S1).entries[0]
    same = read({**S1, "createdAt": "later", "retry_count": 2, "state": "PENDING"}).entries[0]
    other = read({**S1, "content": {"text": "hello", "model": "n"}}).entries[0]
    assert one.row_id == same.row_id != other.row_id


@pytest.mark.parametrize("entry", [S0, S1, S2, {**S0, "data": {"text": "\ud800"}}])
def test_an_entry_reads_back_as_it_was_kept(entry: dict[str, object]):
    (first,) = read(entry).entries
    again = parse_entry(first.json)
    assert (again.row_id, again.json) == (first.row_id, first.json)
    assert str(again.task) == str(first.task)
