"""A service with something on each of its pages, and programs that open them."""

import time
from dataclasses import dataclass
from typing import Any

from aletheia.gather.runs import GatherRuns
from aletheia.intake.rows import ROWS
from aletheia.items.decisions import ProjectDecisions
from aletheia.items.dedup import Decision
from aletheia.llm.attribution import spending_on
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.usage import Call, Spending
from aletheia.reasoning.engine import Reasoner
from aletheia.settings import BudgetSettings
from tests.fakes.clock import MovableClock
from tests.fakes.orchestrator import FakeWorker
from tests.fakes.projects import DEPARTMENTS, PROJECT, begin_run, item_of, save_items
from tests.fakes.reasoning import make_reasoner
from tests.fakes.service import FakeService

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
    """

    service: FakeService
    reasoner: Reasoner

    @property
    def plans(self) -> list[dict[str, Any]]:
        """The parameters of the runs that carry out plans."""
        runs = self.service.orchestrator.runs.values()
        return [parameters for name, parameters in runs if name.startswith("carry_out_plan/")]


async def fill(service: FakeService) -> PagesWorld:
    """Fill the store of a service, and let it reason."""
    clock = MovableClock()
    clock.set(minutes=-5)  # before the service itself reasons
    reasoner = make_reasoner(service.store, service.sources, clock)
    await reasoner.prepare()
    await fill_project(service)
    await service.store.insert(ROWS, [dead_row(number) for number in range(3)])
    service.orchestrator.seen = [FakeWorker("worker-1"), FakeWorker("worker-2", is_online=False)]
    await use_models(service)
    for pending in (12, 400, 1200):
        service.sources.facts["queue_pending"] = pending
        await reasoner.run()
        clock.move(seconds=30)
    return PagesWorld(service, reasoner)


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
