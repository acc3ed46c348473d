"""What operators read, and what they do."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aletheia.intake.rows import ROWS
from aletheia.intake.workers import WORKERS
from aletheia.llm.attribution import spending_on
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.usage import Call, Spending
from aletheia.settings import BudgetSettings
from tests.aletheia.service.test_projects import read_all
from tests.fakes.orchestrator import FakeWorker
from tests.fakes.service import Client, FakeService


def dead_row(number: int, code: str = "empty_text") -> dict[str, Any]:
    return {
        "_id": f"row-{number}",
        "task_id": f"task {number}/ü",
        "type": "text_embedding",
        "state": "dead",
        "dead_code": code,
        "dead_message": "It is empty.",
        "dead_at": 1_800_000_000.0 + number // 2,
        "claimed_at": 1_800_000_000.0,
        "attempts": 3,
    }


async def test_dead_letters_are_listed_newest_first(service: FakeService, client: Client):
    rows = [dead_row(number, "empty_text" if number % 3 else "other") for number in range(9)]
    await service.store.insert(ROWS, [*rows, {"_id": "alive", "task_id": "t", "state": "claimed"}])
    listed = await read_all(client, "/api/v1/dead-letters", "dead_letters")
    assert [row["id"] for row in listed] == [f"task {n}/ü" for n in range(8, -1, -1)]
    others = await read_all(client, "/api/v1/dead-letters?code=other", "dead_letters")
    assert {row["code"] for row in others} == {"other"}
    assert len(others) == 3


async def test_workers_are_listed_by_pool_and_name(service: FakeService, client: Client):
    names = (("b", "one"), ("a", "two"), ("a", "one"))
    service.orchestrator.seen = [FakeWorker(name, pool) for pool, name in names]
    listed = await read_all(client, "/api/v1/workers", "workers")
    assert [(worker["pool"], worker["name"]) for worker in listed] == sorted(names)
    service.orchestrator.is_away = True
    assert (await client.get("/api/v1/workers"))[0] == 503


async def test_what_computes_tasks_is_listed_beside_them(service: FakeService, client: Client):
    row = {
        "_id": "host/1/run",
        "lane": "media",
        "types": ["audio_analysis"],
        "is_over": False,
        "tasks": ["t1"],
        "succeeded": 3,
        "failed": 1,
        "since": 1.0,
        "seen_at": 2.0,
        "expected_by": time.time() + 60,
    }
    await service.store.insert(WORKERS, [row])
    _, page = await client.get("/api/v1/workers")
    (worker,) = page["lane_workers"]
    assert (worker["id"], worker["lane"], worker["state"]) == ("host/1/run", "media", "working")
    assert (worker["tasks"], worker["succeeded"], worker["failed"]) == (["t1"], 3, 1)


async def spend(service: FakeService) -> None:
    spending = Spending(service.store, PriceTable.from_settings(BudgetSettings()), BudgetSettings())
    await spending.prepare()
    for project, department, count in (("shop", "legal", 2), ("shop", "hr", 1), ("other", "hr", 1)):
        for number in range(count):
            with spending_on(project, department):
                call = Call(f"{project}-{department}-{number}", "openai", "gpt-4.1-mini", "chat")
            reservation = await spending.reserve(call, Tokens(1_000, 1_000))
            await spending.settle(reservation, Tokens(100, 10))
    await spending.record(Call("local", "local", "a/model", "embedding"), Tokens(7))


async def test_usage_is_told_by_what_is_asked_for(service: FakeService, client: Client):
    await spend(service)
    _, page = await client.get("/api/v1/usage")
    groups = {(row["project_id"], row["department"], row["provider"]): row for row in page["usage"]}
    assert groups.keys() == {
        ("", "", "local"),
        ("other", "hr", "openai"),
        ("shop", "hr", "openai"),
        ("shop", "legal", "openai"),
    }
    legal = groups["shop", "legal", "openai"]
    assert (legal["calls"], legal["tokens_in"], legal["tokens_out"]) == (2, 200, 20)
    assert float(legal["usd"]) > 0
    assert legal["day"] == datetime.fromtimestamp(time.time(), UTC).date().isoformat()
    _, page = await client.get("/api/v1/usage?by=provider")
    assert [(row["provider"], row["calls"]) for row in page["usage"]] == [
        ("local", 1),
        ("openai", 4),
    ]
    _, page = await client.get("/api/v1/usage?by=project_id&by=project_id&project_id=shop")
    assert [(row["project_id"], row["calls"]) for row in page["usage"]] == [("shop", 3)]
    old = (datetime.now(UTC) - timedelta(days=40)).date().isoformat()
    assert (await client.get(f"/api/v1/usage?last_day={old}"))[1]["usage"] == []
    listed = await read_all(client, "/api/v1/usage?by=project_id&by=department", "usage", limit=1)
    assert [row["calls"] for row in listed] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    "query",
    ["by=password", "first_day=yesterday", "last_day=2026-13-01", "last_day=0", "project_id=a%20b"],
)
async def test_usage_that_cannot_be_asked_for_is_refused(client: Client, query: str):
    assert (await client.get(f"/api/v1/usage?{query}"))[0] == 422


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
async def test_usage_of_the_first_and_the_last_day_is_none(client: Client, day: str):
    assert (await client.get(f"/api/v1/usage?last_day={day}"))[0] == 200
    assert (await client.get(f"/api/v1/usage?first_day={day}"))[0] == 200
