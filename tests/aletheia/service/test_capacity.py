"""Lanes and budgets."""

import pytest

from aletheia.metrics import LANE_WAITING
from tests.fakes.pages import use_models
from tests.fakes.service import Client, FakeService


async def test_lanes_are_counted_where_tasks_come_and_go(service: FakeService, client: Client):
    service.store.note(LANE_WAITING.add("media", by=3))
    await service.store.insert("something", [{"_id": "1"}])
    _, found = await client.get("/api/v1/lanes")
    waiting = {row["lane"]: row["waiting"] for row in found["lanes"]}
    # Shifts and the bulk lane have no workers that anything would wait for.
    assert waiting == {"llm": 0, "media": 3}


async def test_budgets_of_today_say_what_is_spent(
    service: FakeService, client: Client, monkeypatch: pytest.MonkeyPatch
):
    await use_models(service)
    monkeypatch.setenv("BUDGET_TOKENS_PER_DAY", "128500")
    _, found = await client.get("/api/v1/budgets")
    usd, tokens = found["budgets"]
    assert (usd["name"], usd["limit"], usd["is_spent"]) == ("BUDGET_USD_PER_DAY", None, False)
    assert float(usd["spent"]) > 0
    assert (tokens["spent"], tokens["limit"], tokens["is_spent"]) == ("128500", "128500", True)


@pytest.mark.parametrize("path", ["/api/v1/lanes", "/api/v1/budgets"])
async def test_a_stranger_hears_of_neither(client: Client, path: str):
    client.headers = {}
    assert (await client.get(path))[0] == 401
