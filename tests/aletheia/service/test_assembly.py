"""The service as it is put together: its page of metrics, and reasoning behind its roles."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aletheia.service import upkeep
from tests.fakes.service import Client, FakeService, calling, open_service

TOKEN = "the-token-of-these-tests-is-long-enough"

PLAN = "/ai/global/action-plan"


async def read_page(client: Client, token: str | None = None) -> tuple[int, str]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with client.session.get("/metrics", headers=headers) as response:
        return response.status, await response.text()


async def test_the_page_shows_who_was_let_in_and_who_was_not(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upkeep, "SAVE_EVERY_S", 0.05)
    async with calling(service) as client, asyncio.timeout(10):
        stranger = client.as_role("viewer")
        stranger.headers = {}
        assert (await client.get("/api/v1/usage"))[0] == 200
        assert (await stranger.get("/api/v1/usage"))[0] == 401
        assert (await client.call("POST", "/api/v1/intake/pause"))[0] == 403
        expected = {
            f'aletheia_authentications_total{{outcome="{outcome}"}} 1.0'
            for outcome in ("succeeded", "missing", "forbidden")
        }
        while not expected <= set((await read_page(client))[1].splitlines()):
            await asyncio.sleep(0.05)


async def test_every_source_of_the_page_is_there(client: Client):
    status, page = await read_page(client)
    assert status == 200
    for name in ("counters", "breakers", "limits", "budgets", "models", "ages", "reasoning"):
        assert f'aletheia_source_up{{source="{name}"}} 1.0' in page


@pytest.mark.parametrize(
    ("token", "status"),
    [(None, 401), ("another", 401), (TOKEN, 200)],
    ids=str,
)
async def test_the_page_asks_for_its_token_where_one_is_set(
    tmp_path: Path, token: str | None, status: int
):
    async with (
        open_service(tmp_path, metrics_token=TOKEN) as service,
        calling(service) as client,
    ):
        assert (await read_page(client, token))[0] == status
        assert (await client.get("/health"))[0] == 200


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("operator", 403), ("manager", 404)])
async def test_reasoning_is_the_managers(client: Client, role: str, status: int):
    assert (await client.as_role(role).get("/ai/global/last_run"))[0] == status


async def approve(client: Client) -> tuple[int, Any]:
    """Approve the plan of the newest run."""
    _, plan = await client.get(PLAN)
    path = f"{PLAN}/{plan['plan_id']}/approve"
    return await client.call("POST", path, {"digest": plan["digest"]})


async def test_an_approved_plan_starts_one_run_however_often_it_is_approved(service: FakeService):
    service.sources.facts["queue_pending"] = 1200
    async with calling(service) as client:
        manager, admin = client.as_role("manager"), client.as_role("admin", sub="ada")
        assert (await manager.call("POST", "/ai/global/run"))[0] == 200
        answers = await asyncio.gather(*(approve(who) for who in (manager, admin) * 5))
    assert {status for status, _ in answers} == {200}
    approvals = {answer["approval_id"] for _, answer in answers}
    assert len(approvals) == 1
    (key,) = service.orchestrator.runs
    assert key == f"plan:{approvals.pop()}"
    deployment, parameters = service.orchestrator.runs[key]
    assert deployment == "carry_out_plan/carry_out_plan"
    assert set(parameters) == {"plan_id", "approval_id"}


async def test_an_approval_outlives_an_orchestrator_that_is_away(service: FakeService):
    service.sources.facts["queue_pending"] = 1200
    async with calling(service) as client:
        manager = client.as_role("manager")
        await manager.call("POST", "/ai/global/run")
        service.orchestrator.is_away = True
        assert (await approve(manager))[0] == 503
        service.orchestrator.is_away = False
        status, answer = await approve(manager)
    assert (status, answer["state"], answer["run_id"]) == (200, "started", "run-1")
