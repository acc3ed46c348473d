"""A service with something on each of its pages, and programs that look at them."""

import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from aletheia.gather.runs import GatherRuns
from aletheia.intake.rows import ROWS
from aletheia.items.decisions import ProjectDecisions
from aletheia.items.dedup import Decision
from aletheia.llm.attribution import spending_on
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.usage import Call, Spending
from aletheia.reasoning.engine import Reasoner
from aletheia.service.authentication import Authenticator, caller_of
from aletheia.service.guarding import Slots
from aletheia.service.keys import SecretKey, VerificationKeys
from aletheia.service.parts import fixed
from aletheia.service.reasoning import PREFIX, make_reasoning_router
from aletheia.service.refusal_counts import RefusalCounts
from aletheia.service.roles import MANAGERS
from aletheia.service.token_routes import TokenRoutes
from aletheia.settings import BudgetSettings
from tests.fakes.clock import MovableClock
from tests.fakes.orchestrator import FakeWorker
from tests.fakes.projects import DEPARTMENTS, PROJECT, begin_run, item_of, save_items
from tests.fakes.reasoning import Sources, make_reasoner
from tests.fakes.service import AUDIENCE, ISSUER, SECRET, FakeService

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> **bold** {{ 7*7 }} ${7*7} </script>"
"""An item that is markup for everybody who would believe it."""

DROPPED_TEXT = "Write down who signs contracts, and up to which sum."
MATCH_TEXT = "Lay down in writing who may sign contracts and for how much."


@dataclass
class PagesWorld:
    """A service with something on each page.

    Attributes:
        service: the service.
        reasoner: what reasons about the system.
        sources: what it finds.
        approved: the plans that were started, with their approvals.
    """

    service: FakeService
    reasoner: Reasoner
    sources: Sources
    approved: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


async def fill(service: FakeService) -> PagesWorld:
    """Fill the store of a service, and let it reason."""
    clock, sources = MovableClock(), Sources()
    reasoner = make_reasoner(service.store, sources, clock)
    await reasoner.prepare()
    world = PagesWorld(service, reasoner, sources)
    add_reasoning_routes(service.app, world)
    await fill_project(service)
    await service.store.insert(ROWS, [dead_row(number) for number in range(3)])
    service.orchestrator.seen = [FakeWorker("worker-1"), FakeWorker("worker-2", is_online=False)]
    await use_models(service)
    for pending in (12, 400, 1200):
        sources.facts["queue_pending"] = pending
        await reasoner.run()
        clock.move(seconds=30)
    return world


def add_reasoning_routes(app: FastAPI, world: PagesWorld) -> None:
    """Add `/ai/global`, unless the service has it."""
    if f"{PREFIX}/run" in app.openapi()["paths"]:
        return
    app.openapi_schema = None
    verification: VerificationKeys = SecretKey(SECRET)
    authenticator = Authenticator(
        fixed(verification),
        issuer=ISSUER,
        audience=AUDIENCE,
        roles_claim="roles",
        refusals=RefusalCounts(),
    )

    async def open_reasoner() -> Reasoner:
        return world.reasoner

    async def start_plan(plan_id: str, approval_id: str) -> str:
        world.approved.append((plan_id, approval_id))
        return "run-of-the-plan"

    router = TokenRoutes(authenticator, Slots()).make_router("reasoning", MANAGERS)
    app.include_router(make_reasoning_router(router, open_reasoner, caller_of, start_plan))


async def fill_project(service: FakeService) -> None:
    """Fill a project: a run, items, a dropped repetition and a possible one."""
    run = await begin_run(service.store)
    await GatherRuns(service.store).start_department(run, 1, 30.0, {})
    match, kept = item_of(MATCH_TEXT), item_of("Keep a list of all contracts.")
    dropped, hostile = item_of(DROPPED_TEXT), item_of(HOSTILE)
    await save_items(service.directory, [match, kept, hostile])
    decisions = [
        _decide(match.id, is_kept=True),
        _decide(dropped.id, is_kept=False, match_id=match.id),
        _decide(hostile.id, is_kept=False, match_id=match.id, reason=HOSTILE),
        _decide(kept.id, is_kept=True, match_id=match.id, is_possible=True),
    ]
    known = ProjectDecisions(service.store, PROJECT)
    department = DEPARTMENTS.departments[0]
    items = [match, dropped, hostile, kept]
    await known.save("run-a", 0, department, items, decisions, iteration=1)


def _decide(item_id: str, *, is_kept: bool, match_id: str | None = None, **values: Any) -> Decision:
    reason = values.pop("reason", "It says the same in other words.")
    return Decision(
        item_id, is_kept, "embedding", "a/model", reason, match_id, score=0.93, **values
    )


def dead_row(number: int) -> dict[str, Any]:
    """Return the row of a dead letter."""
    return {
        "_id": f"row-{number}",
        "task_id": f"task {number}/ü" if number else HOSTILE[:60],
        "type": "text_embedding",
        "state": "dead",
        "dead_code": "empty_text",
        "dead_message": "Its text is empty.",
        "dead_at": time.time() - 600 * number,
        "claimed_at": time.time() - 7200,
        "attempts": 3,
    }


async def use_models(service: FakeService) -> None:
    """Settle a call of a model for the project."""
    settings = BudgetSettings(budget_usd_per_day=5.0)
    spending = Spending(service.store, PriceTable.from_settings(settings), settings)
    await spending.prepare()
    with spending_on(PROJECT, "legal"):
        call = Call("call-1", "openai", "gpt-4.1-mini", "chat")
    reservation = await spending.reserve(call, Tokens(120_000, 9_000))
    await spending.settle(reservation, Tokens(120_000, 8_500))
