import base64
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.documents import Documents
from aletheia.service.paging import MAX_NUMBER, Order, Place, read_cursor, read_page
from aletheia.service.refusals import ServiceError


def encode(value: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


async def read_all(documents: Documents, order: Order, limit: int) -> list[str]:
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = await read_page(
            documents, "things", {"kind": "a"}, order, limit=limit, cursor=cursor
        )
        assert len(page) <= limit
        ids += [document["_id"] for document in page]
        if cursor is None:
            return ids


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_hold_everything_once_and_in_order(
    documents: Documents, descending: bool, limit: int
):
    # Many have the same value, so that pages end in the middle of them.
    things = [
        {"_id": f"t{number:02}", "at": number // 3, "kind": "b" if number % 5 == 0 else "a"}
        for number in range(20)
    ]
    await documents.insert("things", things)
    expected = sorted(
        (thing for thing in things if thing["kind"] == "a"),
        key=lambda thing: (thing["at"], thing["_id"]),
        reverse=descending,
    )
    found = await read_all(documents, Order("at", descending), limit)
    assert found == [thing["_id"] for thing in expected]


async def test_what_is_added_or_goes_meanwhile_repeats_and_hides_nothing(
    documents: Documents,
):
    await documents.insert("things", [{"_id": f"t{n}", "at": n, "kind": "a"} for n in range(10)])
    order = Order("at")
    first, cursor = await read_page(documents, "things", {"kind": "a"}, order, limit=4, cursor=None)
    await documents.insert("things", [{"_id": "newer", "at": 99, "kind": "a"}])
    await documents.delete("things", {"_id": first[-1]["_id"]})
    rest, cursor = await read_page(
        documents, "things", {"kind": "a"}, order, limit=10, cursor=cursor
    )
    assert [thing["at"] for thing in [*first, *rest]] == list(range(9, -1, -1))
    assert cursor is None


@given(st.one_of(st.text(max_size=50), st.integers(-MAX_NUMBER, MAX_NUMBER)), st.text(max_size=50))
def test_a_cursor_is_read_as_it_was_written(value: str | int, id_: str):
    try:
        written = Place(value, id_).write()
    except TypeError:
        return  # half a surrogate is no text that anybody stores
    assert read_cursor(written) == Place(value, id_)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "ä",
        "AAAA",
        "=" * 10,
        encode([]),
        encode([1]),
        encode([1, 2]),
        encode([1, "a", "b"]),
        encode({"a": 1}),
        encode([None, "a"]),
        encode([True, "a"]),
        encode([{"$gt": ""}, "a"]),
        encode(["a", {"$gt": ""}]),
        encode([["a"], "a"]),
        encode([2**60, "a"]),
        encode([1e300, "a"]),
        encode(["a" * 1_000, "a"]),
        encode(["a", "a" * 1_000]),
    ],
)
def test_a_cursor_that_is_none_is_refused(cursor: str):
    with pytest.raises(ServiceError) as refused:
        read_cursor(cursor)
    assert (refused.value.status_code, refused.value.code) == (422, "invalid_cursor")


@given(st.text(max_size=200))
def test_whatever_comes_as_a_cursor_is_read_or_refused(cursor: str):
    with suppress(ServiceError):
        assert isinstance(read_cursor(cursor), Place)
