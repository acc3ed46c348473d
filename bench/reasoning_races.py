"""A thousand races for approvals: how often is what was approved carried out?

Each race is one of six: two approvers at once, a start that is tried again, a process that dies
between approval and first step, a plan that was edited, findings that changed, an approval that is
over. Starters really contend for the rows of one store; a simulated clock makes hours pass.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.errors import InvalidTask
from aletheia.reasoning.approvals import RESUMABLE_AFTER_S, Approval, Approvals
from aletheia.reasoning.findings import Finding
from aletheia.reasoning.models import AIActionPlan, PlanStep
from aletheia.reasoning.plans import digest_plan
from aletheia.store.clock import Clock, microseconds_of

RACES: Final = 1_000
STARTERS: Final = 4
"""Runs that want one approval at the same time."""

TTL_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class RaceFigures:
    """What came of the races.

    Attributes:
        races: how many there were.
        approval_executions_per_approval: executions of approvals that could be used, for each.
        stale_executions: executions of what was edited, changed, or over.
        twice: approvals that were executed more than once.
    """

    races: int
    approval_executions_per_approval: float
    stale_executions: int
    twice: int


@dataclass(slots=True)
class _Time:
    """A clock that stands still until it is moved."""

    now: datetime = datetime(2026, 11, 30, 10, tzinfo=UTC)

    def clock(self) -> Clock:
        return Clock(lambda: microseconds_of(self.now) / 1e6)


class _Race:
    """One plan, and who wants to carry it out."""

    def __init__(self, number: int, documents: EmbeddedDocuments, time: _Time) -> None:
        self.number, self.time = number, time
        self.approvals = Approvals(documents, ttl_s=TTL_S, clock=time.clock())
        self.findings = [Finding("queue_backlog", "medium", "many", {"queue_pending": 1200})]
        self.plan = _make_plan(number, self.findings)
        self.executions = Counter[str]()

    async def approve(self, who: str) -> Approval:
        return await self.approvals.approve(
            self.plan,
            self.findings,
            self.plan.digest,
            planned_at=self.time.now,
            who=who,
            role="admin",
        )

    async def start(
        self,
        run_id: str,
        approval_id: str,
        *,
        plan: AIActionPlan | None = None,
        findings: Sequence[Finding] | None = None,
        dies: bool = False,
    ) -> None:
        """Carry out an approved plan as a run does; one that dies does so before its first step."""
        try:
            await self.approvals.consume(
                approval_id, plan or self.plan, findings or self.findings, run_id=run_id
            )
            if dies:
                return
            await self.approvals.begin(approval_id, run_id=run_id)
        except InvalidTask:
            return
        # A run that is started anew goes on with what it began; its step is done once by its key.
        self.executions[f"{approval_id}:{run_id}"] += 1
        await self.approvals.end(approval_id, run_id=run_id, state="done")

    @property
    def runs(self) -> int:
        """How many runs carried the plan out."""
        return len(self.executions)


async def _two_approvers(race: _Race) -> int:
    first, second = await asyncio.gather(race.approve("ada"), race.approve("bob"))
    ids = [first.id, second.id] * (STARTERS // 2)
    await asyncio.gather(*(race.start(f"run-{i}", id_) for i, id_ in enumerate(ids)))
    return 1


async def _retry(race: _Race) -> int:
    approval = await race.approve("ada")
    await asyncio.gather(*(race.start("run-0", approval.id) for _ in range(STARTERS)))
    await race.start("run-0", approval.id)
    await race.start("run-1", approval.id)
    return 1


async def _death(race: _Race) -> int:
    approval = await race.approve("ada")
    await race.start("run-0", approval.id, dies=True)
    await asyncio.gather(*(race.start(f"early-{i}", approval.id) for i in range(STARTERS)))
    race.time.now += timedelta(seconds=RESUMABLE_AFTER_S + 1)
    await asyncio.gather(*(race.start(f"late-{i}", approval.id) for i in range(STARTERS)))
    await race.start("run-0", approval.id)
    return 1


async def _edited(race: _Race) -> int:
    approval = await race.approve("ada")
    step = race.plan.steps[0].model_copy(update={"action": "sweep"})
    edited = race.plan.model_copy(update={"steps": (step,)})
    honest = edited.model_copy(update={"digest": digest_plan(edited, race.findings)})
    for plan in (edited, honest):
        await asyncio.gather(*(race.start(f"run-{i}", approval.id, plan=plan) for i in range(2)))
    return 0


async def _changed(race: _Race) -> int:
    approval = await race.approve("ada")
    worse = [replace(race.findings[0], severity="high")]
    await asyncio.gather(
        *(race.start(f"run-{i}", approval.id, findings=worse) for i in range(STARTERS))
    )
    return 0


async def _expired(race: _Race) -> int:
    approval = await race.approve("ada")
    race.time.now += timedelta(seconds=TTL_S + 1)
    await asyncio.gather(*(race.start(f"run-{i}", approval.id) for i in range(STARTERS)))
    return 0


KINDS: Final[Sequence[Callable[[_Race], Awaitable[int]]]] = (
    _two_approvers,
    _retry,
    _death,
    _edited,
    _changed,
    _expired,
)


async def run_races(directory: Path, races: int = RACES) -> RaceFigures:
    """Run so many races in a store of their own."""
    documents = EmbeddedDocuments(directory, is_durable=False)
    await documents.open()
    allowed = executed = stale = twice = 0
    try:
        time = _Time()
        await Approvals(documents, ttl_s=TTL_S, clock=time.clock()).prepare()
        for number in range(races):
            race = _Race(number, documents, time)
            may = await KINDS[number % len(KINDS)](race)
            allowed += may
            executed += race.runs if may else 0
            stale += 0 if may else race.runs
            twice += race.runs > 1
    finally:
        await documents.close()
    return RaceFigures(races, executed / allowed, stale, twice)


def _make_plan(number: int, findings: Sequence[Finding]) -> AIActionPlan:
    step = PlanStep(
        step=1,
        action="process_queue",
        description=f"Work off the queue, race {number}",
        automated=True,
        estimated_duration="10 minutes",
    )
    plan = AIActionPlan(
        plan_id="",
        title="Improve",
        objective="Answer what was found.",
        steps=(step,),
        estimated_duration="10 minutes",
        risk_level="low",
        automated=True,
    )
    digest = digest_plan(plan, findings)
    return plan.model_copy(update={"plan_id": f"plan-{digest[:16]}", "digest": digest})
