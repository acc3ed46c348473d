"""`/ai/global/*` as front ends call it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from aletheia.documents import Documents
from aletheia.reasoning.engine import Reasoner
from aletheia.service.reasoning import make_reasoning_router
from aletheia.service.refusals import install_refusals
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import Sources, make_reasoner


@dataclass(frozen=True)
class Person:
    subject: str = "ada"
    roles: frozenset[str] = frozenset({"manager"})


def identify() -> Person:
    return Person()


@dataclass
class World:
    """A system, what is asked of it, and the plans that were started."""

    client: httpx.AsyncClient
    sources: Sources
    clock: MovableClock
    reasoner: Reasoner
    started: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def get(self, path: str, status: int = HTTPStatus.OK) -> Any:
        answer = await self.client.get(f"/ai/global/{path}")
        assert answer.status_code == status, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, status: int = HTTPStatus.OK) -> Any:
        answer = await self.client.post(f"/ai/global/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
async def world(documents: Documents) -> AsyncGenerator[World]:
    clock, sources = MovableClock(), Sources()
    reasoner = make_reasoner(documents, sources, clock)
    await reasoner.prepare()
    app = FastAPI()
    install_refusals(app)

    async def open_reasoner() -> Reasoner:
        return reasoner

    started: list[tuple[str, str]] = []

    async def start_plan(plan_id: str, approval_id: str) -> str:
        started.append((plan_id, approval_id))
        return f"run-of-{approval_id}"

    app.include_router(make_reasoning_router(APIRouter(), open_reasoner, identify, start_plan))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield World(client, sources, clock, reasoner, started)


@pytest.mark.parametrize(
    "path",
    [
        *("last_run", "snapshot", "recommendations", "summary"),
        *("action-plan", "action-plan/progress"),
    ],
)
async def test_before_the_first_run_there_is_nothing(world: World, path: str):
    answer = await world.get(path, HTTPStatus.NOT_FOUND)
    assert answer["error"]["code"] == "no_reasoning_yet"


async def test_a_run_answers_with_its_outcome_and_is_read_back(world: World):
    world.sources.facts["queue_pending"] = 1200
    done = await world.post("run")
    assert done["success"] is True
    assert done["message"] == "AI reasoning completed successfully. Health: excellent"
    assert set(done) == {"success", "reasoning_id", "message", "execution_time_ms"}
    last = await world.get("last_run")
    assert last["reasoning_id"] == done["reasoning_id"]
    assert (await world.get("snapshot"))["queue_pending"] == 1200
    assert await world.get("summary") == last["summary"]
    assert await world.get("recommendations") == last["recommendations"]
    assert await world.get("action-plan") == last["action_plan"]


async def test_history_is_read_page_by_page(world: World):
    ids: list[str] = []
    for _ in range(3):
        ids.append((await world.post("run"))["reasoning_id"])
        world.clock.move(seconds=30)
    first = await world.get("history?limit=2")
    second = await world.get(f"history?limit=2&before={first['next_before']}")
    assert [it["reasoning_id"] for it in first["runs"] + second["runs"]] == ids[::-1]
    assert second["next_before"] is None


async def test_a_recommendation_is_dismissed_with_a_reason(world: World):
    world.sources.facts["queue_pending"] = 1200
    await world.post("run")
    (shown,) = await world.get("recommendations")
    path = f"recommendations/{shown['id']}"
    refused = await world.post(path, {"decision": "dismissed"}, HTTPStatus.UNPROCESSABLE_ENTITY)
    assert refused["error"]["code"] == "reason_required"
    decided = await world.post(path, {"decision": "dismissed", "reason": "a campaign"})
    assert (decided["decided_by"], decided["decision"]) == ("ada", "dismissed")
    # Whoever looks next sees it, though the run had it open.
    assert await world.get("recommendations") == [{**shown, "decision": "dismissed"}]
    world.clock.move(seconds=30)
    await world.post("run")
    assert await world.get("recommendations") == []


async def test_what_is_not_recommended_is_not_found(world: World):
    path = "recommendations/rec-000000000000"
    answer = await world.post(path, {"decision": "accepted"}, HTTPStatus.NOT_FOUND)
    assert answer["error"]["code"] == "unknown_recommendation"


async def test_a_plan_is_approved_by_its_digest_and_started_once(world: World):
    world.sources.facts["queue_pending"] = 1200
    await world.post("run")
    plan = await world.get("action-plan")
    path, body = f"action-plan/{plan['plan_id']}/approve", {"digest": plan["digest"]}
    first, second = await world.post(path, body), await world.post(path, body)
    assert first == second
    assert first["state"] == "started"
    assert set(world.started) == {(plan["plan_id"], first["approval_id"])}
    approval = await world.reasoner.deps.approvals.find(first["approval_id"])
    assert approval is not None
    assert (approval.who, approval.role) == ("ada", "manager")


async def test_how_far_a_plan_is_can_be_read(world: World):
    world.sources.facts["queue_pending"] = 1200
    await world.post("run")
    plan = await world.get("action-plan")
    before = await world.get("action-plan/progress")
    assert (before["plan_id"], before["state"], before["is_open"]) == (
        plan["plan_id"],
        "open",
        True,
    )
    path = f"action-plan/{plan['plan_id']}/approve"
    approved = await world.post(path, {"digest": plan["digest"]})
    approvals, id_ = world.reasoner.deps.approvals, approved["approval_id"]
    seen = await world.get("action-plan/progress")
    assert (seen["state"], seen["is_open"], seen["approved_by"]) == ("unused", False, "ada")
    current = await world.reasoner.current_plan(plan["plan_id"])
    await approvals.consume(id_, current.plan, current.findings, run_id="run-1")
    await approvals.begin(id_, run_id="run-1")
    world.clock.move(seconds=1)
    await approvals.note(id_, "1:started", "step_started", {"step": 1, "action": "sweep"})
    await approvals.note(id_, "1:done", "step_done", {"step": 1, "message": "2 were sent."})
    await approvals.end(id_, run_id="run-1", state="done")
    seen = await world.get("action-plan/progress")
    assert (seen["state"], seen["is_open"], seen["run_id"]) == ("done", False, "run-1")
    assert [(step["event"], step["message"]) for step in seen["steps"]] == [
        ("step_started", ""),
        ("step_done", "2 were sent."),
    ]
    world.clock.move(seconds=30)
    await world.post("run")
    assert (await world.get("action-plan/progress"))["is_open"]


async def test_a_plan_whose_approval_was_not_used_in_time_is_open_again(world: World):
    world.sources.facts["queue_pending"] = 1200
    await world.post("run")
    plan = await world.get("action-plan")
    await world.post(f"action-plan/{plan['plan_id']}/approve", {"digest": plan["digest"]})
    world.clock.move(seconds=3601)
    seen = await world.get("action-plan/progress")
    assert (seen["state"], seen["is_open"]) == ("unused", True)


async def test_another_digest_approves_nothing(world: World):
    world.sources.facts["queue_pending"] = 1200
    await world.post("run")
    plan = await world.get("action-plan")
    path = f"action-plan/{plan['plan_id']}/approve"
    answer = await world.post(path, {"digest": "0" * 64}, HTTPStatus.CONFLICT)
    assert answer["error"]["code"] == "plan_changed"
    assert world.started == []


async def test_a_plan_whose_findings_have_changed_since_is_not_approved(world: World):
    world.sources.facts["queue_pending"] = 1200
    await world.post("run")
    plan = await world.get("action-plan")
    world.sources.facts["queue_pending"] = 20_000
    path = f"action-plan/{plan['plan_id']}/approve"
    answer = await world.post(path, {"digest": plan["digest"]}, HTTPStatus.CONFLICT)
    assert answer["error"]["code"] == "plan_changed"


async def test_a_plan_of_another_run_is_unknown(world: World):
    await world.post("run")
    path = "action-plan/plan-0000000000000000/approve"
    answer = await world.post(path, {"digest": "0" * 64}, HTTPStatus.NOT_FOUND)
    assert answer["error"]["code"] == "unknown_plan"
