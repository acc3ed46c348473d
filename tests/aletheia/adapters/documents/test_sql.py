"""Documents and conditions as SQLite takes them; what conditions choose is in the contract."""

import sqlite3
from collections.abc import Generator
from contextlib import closing

import pytest

from aletheia.adapters.documents.sql import (
    body_of,
    document_of,
    escape,
    filter_of,
    order_of,
    unescape,
)
from aletheia.documents import Document, Where

ODD_TEXTS = ["", "plain", "\0", "\1", "\2", "\0\1\2\1\0", "\1\1\0\0\2", "a\0b", "\\u0000", "\\\1"]


@pytest.fixture
def connection() -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_escaped_text_reads_back(text: str):
    assert "\0" not in escape(text)
    assert unescape(escape(text)) == text


def test_escaped_text_sorts_as_before():
    assert sorted(ODD_TEXTS) == sorted(ODD_TEXTS, key=escape)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_document_reads_back_with_whatever_text(text: str):
    document: Document = {"_id": text, "v": text, "list": [{"w": text}], "\1": 1}
    assert document_of(escape(text), body_of(document)) == document


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_sqlite_sees_the_whole_text(connection: sqlite3.Connection, text: str):
    body = body_of({"_id": "1", "v": text})
    ((seen,),) = connection.execute("SELECT json_extract(?, '$.v')", (body,))
    assert unescape(seen) == text


def test_a_body_has_neither_id_nor_payload():
    assert body_of({"_id": "1", "payload": b"x", "v": 1}) == '{"v":1}'


@pytest.mark.parametrize(
    ("where", "sql", "parameters"),
    [
        ({}, "1", []),
        ({"a": "x"}, "(json_extract(body, '$.a') = ?)", ["x"]),
        ({"a.b": None}, "(json_extract(body, '$.a.b') IS NULL)", []),
        ({"_id": {"$gt": "x"}}, "(id > ?)", ["x"]),
        (
            {"a": {"$in": ["x", "y"]}},
            "((json_extract(body, '$.a') IN (SELECT value FROM json_each(?))))",
            ['["x","y"]'],
        ),
        ({"_id": 5}, "(0)", []),
    ],
)
def test_conditions_become_bound_sql(where: Where, sql: str, parameters: list[str]):
    assert filter_of(where) == (sql, parameters)


@pytest.mark.parametrize("text", ["'", "' OR 1 --", '"; DROP TABLE x', "?", "%s", "a{}"])
def test_operands_never_become_part_of_the_sql(text: str):
    sql, parameters = filter_of({"a": text, "b": {"$in": [text]}, "c": {"$gt": text}})
    plain, _ = filter_of({"a": "x", "b": {"$in": ["x"]}, "c": {"$gt": "x"}})
    assert len(parameters) == 3
    assert sql == plain


def test_a_descending_order_turns_the_id_around_too():
    assert order_of("a", is_descending=True) == "json_extract(body, '$.a') DESC, id DESC"
    assert order_of("_id") == order_of(None) == "id ASC"
