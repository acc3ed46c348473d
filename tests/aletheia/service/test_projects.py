"""What front ends read of a project."""

from typing import Any

import pytest

from aletheia.quality.evaluation_store import EVALUATIONS
from tests.fakes.projects import (
    PROJECT,
    add_events,
    begin_run,
    decide,
    finish_run,
    item_of,
    purge_events,
    save_items,
)
from tests.fakes.service import Client, FakeService

ROOT = f"/api/v1/projects/{PROJECT}"


async def read_all(client: Client, path: str, name: str, limit: int = 2) -> list[dict[str, Any]]:
    """Read a list page by page."""
    entries: list[dict[str, Any]] = []
    joint = "&" if "?" in path else "?"
    query = f"{joint}limit={limit}"
    while True:
        status, page = await client.get(f"{path}{query}")
        assert status == 200, page
        assert len(page[name]) <= limit
        entries += page[name]
        if page["next_cursor"] is None:
            return entries
        query = f"{joint}limit={limit}&cursor={page['next_cursor']}"


async def test_a_project_is_shown_as_it_is(service: FakeService, client: Client):
    run = await begin_run(service.store)
    await add_events(service.store, 3)
    status, state = await client.get(ROOT)
    assert (status, state["last_seq"], state["run"]["status"]) == (200, 3, "open")
    legal, hr = state["run"]["departments"]
    assert (legal["department"], legal["qualities"], legal["items_kept"]) == (
        "legal",
        [40.0, 55.0],
        7,
    )
    assert (hr["quality_score"], hr["iterations"], hr["reason"]) == (None, 0, None)
    await finish_run(service.store, run)
    _, state = await client.get(ROOT)
    assert (state["run"]["status"], state["run"]["items_created"]) == ("completed", 7)
    _, departments = await client.get(f"{ROOT}/departments")
    assert (departments["run_id"], len(departments["departments"])) == ("run-a", 2)


async def test_runs_are_listed_newest_first_and_read_by_id(service: FakeService, client: Client):
    for number in range(5):
        run = await begin_run(service.store, f"run-{number}")
        await finish_run(service.store, run)
    listed = await read_all(client, f"{ROOT}/runs", "runs")
    assert [run["run_id"] for run in listed] == [f"run-{number}" for number in (4, 3, 2, 1, 0)]
    assert (await client.get(f"{ROOT}/runs/run-3"))[1] == listed[1]


async def test_a_run_of_another_project_is_unknown(service: FakeService, client: Client):
    await begin_run(service.store, "run-x", "another")
    for path in (f"{ROOT}/runs/run-x", f"{ROOT}/runs/none", ROOT, f"{ROOT}/departments"):
        status, answer = await client.get(path)
        assert (status, answer["error"]["code"]) == (404, "not_found")
    assert (await client.get(f"{ROOT}/runs"))[1]["runs"] == []


async def test_items_are_listed_by_id_and_by_department(service: FakeService, client: Client):
    await begin_run(service.store)
    items = [item_of(f"This is item {n} of a batch.", "legal" if n % 2 else "hr") for n in range(7)]
    await save_items(service.directory, items)
    listed = await read_all(client, f"{ROOT}/items", "items", limit=3)
    assert [item["id"] for item in listed] == sorted(item.id for item in items)
    legal = await read_all(client, f"{ROOT}/items?department=legal", "items")
    assert {item["department"] for item in legal} == {"legal"}
    assert len(legal) == 3
    assert listed[0]["mock"] is True


async def test_asking_for_items_of_a_project_that_nobody_made_makes_none(
    service: FakeService, client: Client
):
    before = sorted(service.directory.rglob("*"))
    for name in ("made-up-1", "made-up-2"):
        assert (await client.get(f"/api/v1/projects/{name}/items"))[0] == 404
    assert sorted(service.directory.rglob("*")) == before


async def test_decisions_are_listed_with_what_was_dropped(service: FakeService, client: Client):
    await decide(service.store, 7)
    await decide(service.store, 3, project_id="another")
    dropped = await read_all(client, f"{ROOT}/decisions", "decisions")
    assert [decision["content"] for decision in dropped] == [
        f"Item {number} of a batch." for number in (5, 3, 1)
    ]
    assert {(decision["is_kept"], decision["undone_by"]) for decision in dropped} == {(False, None)}
    kept = await read_all(client, f"{ROOT}/decisions?is_kept=true", "decisions")
    assert [decision["content"] for decision in kept] == [None] * 4


async def test_evaluations_are_listed_newest_first(service: FakeService, client: Client):
    documents: list[dict[str, Any]] = [
        {
            "_id": f"{PROJECT}:legal:v{number}",
            "project_id": PROJECT,
            "department": "legal" if number % 2 else "hr",
            "department_name": "Legal",
            "department_number": 1,
            "threshold": 80.0,
            "items": 12,
            "version": f"v{number}",
            "mock": True,
            "score": 70.0 + number,
            "parts": {"coverage": {"score": 70.0, "evidence": {}}},
            "findings": [],
            "attempt": 1,
            "user_id": "user-1",
            "auto": False,
            "evaluated_at": f"2026-11-30T10:0{number}:00+00:00",
        }
        for number in range(5)
    ]
    await service.store.insert(EVALUATIONS, documents)
    listed = await read_all(client, f"{ROOT}/evaluations", "evaluations")
    assert [evaluation["version"] for evaluation in listed] == ["v4", "v3", "v2", "v1", "v0"]
    assert listed[0]["details"]["parts"]["coverage"]["score"] == 70.0
    legal = await read_all(client, f"{ROOT}/evaluations?department=legal", "evaluations")
    assert [evaluation["version"] for evaluation in legal] == ["v3", "v1"]


async def test_events_are_read_after_a_number(service: FakeService, client: Client):
    await add_events(service.store, 5)
    _, page = await client.get(f"{ROOT}/events?limit=2")
    assert [event["seq"] for event in page["events"]] == [1, 2]
    assert (page["next_after"], page["is_last"], page["purged_through"]) == (2, False, 0)
    _, page = await client.get(f"{ROOT}/events?after=2")
    assert ([event["seq"] for event in page["events"]], page["is_last"]) == ([3, 4, 5], True)
    await purge_events(service.store)
    _, page = await client.get(f"{ROOT}/events")
    assert ([event["seq"] for event in page["events"]], page["purged_through"]) == ([5], 4)
    _, page = await client.get(f"{ROOT}/events?after=99")
    assert (page["events"], page["next_after"]) == ([], 99)


LISTS = ("", "/runs", "/departments", "/items", "/decisions", "/evaluations", "/events")


@pytest.mark.parametrize("path", LISTS)
async def test_a_project_that_cannot_be_is_refused(client: Client, path: str):
    for project in ("a%20b", "a" * 49, "%C3%A9", "a:b", "$ne", "a%00"):
        status, answer = await client.get(f"/api/v1/projects/{project}{path}")
        assert (status, answer["error"]["code"]) == (422, "invalid_project_id")


@pytest.mark.parametrize("path", LISTS)
async def test_nobody_reads_without_a_token(client: Client, path: str):
    client.headers = {}
    assert (await client.get(f"{ROOT}{path}"))[0] == 401
    assert (await client.as_role("guest").get(f"{ROOT}{path}"))[0] == 403


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=x", "cursor=WzEsMl0"])
async def test_a_page_that_cannot_be_is_refused(client: Client, query: str):
    for path in ("/runs", "/decisions", "/evaluations"):
        assert (await client.get(f"{ROOT}{path}?{query}"))[0] == 422
