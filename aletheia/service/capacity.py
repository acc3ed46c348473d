"""How much there is to do, and how much may be spent: lanes and budgets, for operators."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from aletheia.documents import Documents
from aletheia.intake.counting import LANES_WITH_WORKERS
from aletheia.llm.usage import Budgets, BudgetUsage
from aletheia.metrics import LANE_WAITING
from aletheia.series import Counters
from aletheia.service.parts import Part
from aletheia.service.roles import READERS
from aletheia.service.token_routes import TokenRoutes
from aletheia.settings import BudgetSettings
from aletheia.store.clock import SYSTEM_CLOCK


class LaneRow(BaseModel):
    """A lane: tasks of one kind of work, which runs of its own work off."""

    lane: str = Field(description="Its name.", examples=["media"])
    waiting: int = Field(description="Tasks that wait in it.")


class Lanes(BaseModel):
    """All lanes, by name."""

    lanes: list[LaneRow] = Field(description="The lanes.")


class BudgetRow(BaseModel):
    """The use of a budget of today; amounts are decimal numbers, USD or tokens by its name."""

    name: str = Field(description="Its setting.", examples=["BUDGET_USD_PER_DAY"])
    limit: str | None = Field(description="How much may be spent; null: any amount.")
    spent: str = Field(description="How much is spent.")
    is_spent: bool = Field(description="Whether nothing is left.")
    until: datetime | None = Field(description="When it begins anew, in UTC.")


class BudgetsToday(BaseModel):
    """The budgets of today."""

    budgets: list[BudgetRow] = Field(description="The budgets.")


def make_capacity_router(routes: TokenRoutes, store: Part[Documents]) -> APIRouter:
    """Build the routes that lanes and budgets are read by."""
    router = routes.make_router("operations", READERS)

    @router.get("/api/v1/lanes")
    async def list_lanes() -> Lanes:
        """Return how many tasks wait in each lane, as counted where they come and go."""
        return Lanes(lanes=_to_lanes(await (await store.get()).counters()))

    @router.get("/api/v1/budgets")
    async def list_budgets() -> BudgetsToday:
        """Return what was spent today, and how much may be."""
        budgets = Budgets(await store.get(), BudgetSettings(), SYSTEM_CLOCK.unix_s)
        return BudgetsToday(budgets=list(map(_to_budget, await budgets.list_usage(None))))

    return router


def _to_lanes(numbers: Mapping[str, float]) -> list[LaneRow]:
    counted = Counters(numbers)
    return [
        LaneRow(lane=lane, waiting=max(0, round(counted.value(LANE_WAITING, lane))))
        for lane in sorted(LANES_WITH_WORKERS)
    ]


def _to_budget(usage: BudgetUsage) -> BudgetRow:
    return BudgetRow(
        name=usage.name,
        limit=None if usage.limit is None else f"{Decimal(usage.limit):f}",
        spent=f"{Decimal(usage.spent):f}",
        is_spent=usage.is_spent,
        until=usage.until,
    )
