from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Documents
from aletheia.llm import usage_days
from aletheia.llm.usage_days import USAGE_DAYS, Dimension, add_to_day, purge_days, read_usage


async def add(documents: Documents, day: str, calls: int = 1, **labels: Any) -> None:
    known = {
        "provider": "openai",
        "model": "a/model",
        "kind": "chat",
        "is_mock": False,
        "project_id": None,
        "department": None,
    }
    figures = {"calls": calls, "tokens_in": 10, "tokens_out": 1, "nanousd": 7}
    await documents.upsert(USAGE_DAYS, [add_to_day(day, known | labels, figures)])


async def read(documents: Documents, *by: Dimension, **where: str) -> dict[tuple[str, ...], int]:
    groups = await read_usage(
        documents, by, first_day="2026-11-01", last_day="2026-11-30", where=where
    )
    return {group.key: group.calls for group in groups}


async def test_calls_add_up_by_any_dimensions(documents: EmbeddedDocuments):
    await add(documents, "2026-11-01", project_id="shop", department="legal")
    await add(documents, "2026-11-01", project_id="shop", department="legal")
    await add(documents, "2026-11-02", project_id="shop", department="hr", provider="anthropic")
    await add(documents, "2026-11-02")
    assert await documents.count(USAGE_DAYS, {}) == 3
    assert await read(documents, "project_id") == {("",): 1, ("shop",): 3}
    assert await read(documents, "day", "provider") == {
        ("2026-11-01", "openai"): 2,
        ("2026-11-02", "anthropic"): 1,
        ("2026-11-02", "openai"): 1,
    }
    assert await read(documents, "department", project_id="shop") == {("hr",): 1, ("legal",): 2}


async def test_both_days_are_included_and_others_are_not(documents: EmbeddedDocuments):
    for day in ("2026-10-31", "2026-11-01", "2026-11-30", "2026-12-01"):
        await add(documents, day)
    assert await read(documents, "day") == {("2026-11-01",): 1, ("2026-11-30",): 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"model": "a/chat", "kind": "chat"}, {"model": "a", "kind": "chat"}),
        ({"project_id": "p", "department": "q"}, {"project_id": "", "department": "p/q"}),
        ({"is_mock": True}, {"is_mock": False}),
        ({"department": "mock"}, {"is_mock": True}),
    ],
    ids=str,
)
async def test_what_differs_is_counted_apart(
    documents: EmbeddedDocuments, first: dict[str, Any], second: dict[str, Any]
):
    await add(documents, "2026-11-01", **first)
    await add(documents, "2026-11-01", **second)
    assert await documents.count(USAGE_DAYS, {}) == 2


async def test_a_question_that_reads_too_much_is_an_error(
    documents: EmbeddedDocuments, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(usage_days, "MAX_ROWS", 2)
    for number in range(3):
        await add(documents, "2026-11-01", project_id=f"p{number}")
    with pytest.raises(ValueError, match="more than 2 rows"):
        await read(documents, "day")


async def test_old_days_are_purged(documents: EmbeddedDocuments):
    for day in ("2026-11-01", "2026-11-02"):
        await add(documents, day)
    assert await purge_days(documents, before="2026-11-02") == 1
    assert await read(documents, "day") == {("2026-11-02",): 1}
