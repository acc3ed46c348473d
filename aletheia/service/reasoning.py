"""What front ends ask about the whole system, and decide: `/ai/global/*` (SPEC §5, REST)."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from aletheia.errors import InvalidTask
from aletheia.reasoning.approvals import PlanProgress
from aletheia.reasoning.engine import Reasoner
from aletheia.reasoning.history import Entry
from aletheia.reasoning.models import (
    AIActionPlan,
    AIReasoningOutput,
    AIRecommendation,
    AISummary,
    Decision,
)
from aletheia.reasoning.snapshot import SystemSnapshot
from aletheia.service.refusals import ServiceError, describe_refusals
from aletheia.service.token_routes import describe_body

PREFIX: Final = "/ai/global"
MAX_HISTORY: Final = 500

NOT_YET: Final = {HTTPStatus.NOT_FOUND: "`no_reasoning_yet`: there was no reasoning run so far."}
UNKNOWN: Final = {
    HTTPStatus.NOT_FOUND: "`unknown_recommendation`: it is not among the newest ones.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "`invalid_request`, or `reason_required` to dismiss one.",
}
CHANGED: Final = {
    HTTPStatus.NOT_FOUND: "`unknown_plan`: the plan of the newest run is another one.",
    HTTPStatus.CONFLICT: "`plan_changed`: the plan, or the findings it answers, are not what was "
    "approved. `already_used`: it was approved and carried out. `nothing_to_do`: no step is "
    "automated.",
}

STEP_EVENTS: Final = frozenset({"step_started", "step_done", "step_failed"})
"""Records of a plan's audit that are about its steps."""

_STATUSES: Final[Mapping[str, HTTPStatus]] = {
    "unknown_recommendation": HTTPStatus.NOT_FOUND,
    "unknown_plan": HTTPStatus.NOT_FOUND,
    "plan_changed": HTTPStatus.CONFLICT,
    "already_used": HTTPStatus.CONFLICT,
    "nothing_to_do": HTTPStatus.CONFLICT,
}


class Person(Protocol):
    """Whoever calls, as the guard knows them."""

    @property
    def subject(self) -> str:
        """Who it is."""
        ...

    @property
    def roles(self) -> Collection[str]:
        """What they may do."""
        ...


OpenReasoner: TypeAlias = Callable[[], Awaitable[Reasoner]]
"""Returns what reasons about the system, open, or raises what is in the way."""

StartPlan: TypeAlias = Callable[[str, str], Awaitable[str]]
"""Starts the run that carries out a plan, by its id and the approval's; returns the run's id."""


class AIRunResponse(BaseModel):
    """What came of a reasoning run."""

    success: bool = Field(description="Whether it ended.")
    reasoning_id: str = Field(description="Its id.")
    message: str = Field(description="Its outcome in a sentence.")
    execution_time_ms: int = Field(description="How long it took, milliseconds.")


class ReasoningEntry(BaseModel):
    """One reasoning run of the past."""

    seq: int = Field(description="Its number.")
    timestamp: datetime = Field(description="When it was, UTC.")
    reasoning_id: str = Field(description="Its id.")
    overall_health: str = Field(description="The health by its name.")
    health_score: float = Field(description="The health score, 0 to 100.")
    findings: list[str] = Field(description="Ids of the rules that found something.")
    key_insights: list[str] = Field(description="What was said.")
    explained_by: str = Field(description="The model whose claims survived, or `rules`.")
    execution_time_ms: int = Field(description="How long it took, milliseconds.")


class ReasoningHistory(BaseModel):
    """Reasoning runs of the past, newest first."""

    runs: list[ReasoningEntry] = Field(description="The runs.")
    next_before: int | None = Field(
        description="`before` of the next page; null if this is the last one."
    )


class RecommendationDecision(BaseModel):
    """What a person decides about a recommendation."""

    decision: Decision = Field(description="What is decided.")
    reason: str = Field(
        default="", max_length=1000, description="Why; required to dismiss a recommendation."
    )
    snooze_hours: float = Field(
        default=24, gt=0, le=24 * 90, description="For how long it is snoozed, hours."
    )


class Decided(BaseModel):
    """A recommendation, as it was decided."""

    id: str = Field(description="Its id.")
    finding: str = Field(description="Id of the finding it answers.")
    decision: Decision = Field(description="What was decided.")
    reason: str = Field(description="Why.")
    decided_by: str = Field(description="Who decided it.")


class PlanDigest(BaseModel):
    """What a person approves."""

    digest: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="`digest` of the plan that was looked up."
    )


class PlanApproved(BaseModel):
    """An approved plan."""

    approval_id: str = Field(description="Id of the approval; two approvers share one.")
    plan_id: str = Field(description="Id of the plan.")
    state: Literal["unused", "started"] = Field(description="Whether a run was started for it.")
    run_id: str | None = Field(description="The run that carries it out; null if none started.")
    expires_at: datetime = Field(description="Until when it can be used, UTC.")


class StepState(BaseModel):
    """What was done for a step of a plan."""

    at: datetime = Field(description="When, UTC.")
    step: int = Field(description="Its number in the plan.")
    event: Literal["step_started", "step_done", "step_failed"] = Field(description="What it was.")
    message: str = Field(description="What came of it; empty at its start.")


class PlanState(BaseModel):
    """How far a plan is."""

    plan_id: str = Field(description="Id of the plan.")
    state: str = Field(
        description="`open`: nobody has approved it; else that of its newest approval: `unused`, "
        "`consumed`, `begun`, `done`, `failed` or `lost`."
    )
    is_open: bool = Field(description="Whether it can be approved now.")
    approved_by: str | None = Field(description="Who approved it last; null if nobody did.")
    approved_at: datetime | None = Field(description="When that was, UTC.")
    expires_at: datetime | None = Field(description="Until when the approval can be used, UTC.")
    run_id: str | None = Field(description="The run that carries it out; null if none does.")
    steps: list[StepState] = Field(description="What was done, oldest first.")


def make_reasoning_router(
    router: APIRouter,
    open_reasoner: OpenReasoner,
    identify: Callable[..., Any],
    start_plan: StartPlan | None = None,
) -> APIRouter:
    """Add the routes to a router that lets in admins and managers alone.

    `identify`: a dependency that returns the `Person` who calls. Without `start_plan` an approval
    is written, and whoever starts `carry_out_plan` uses it.
    """
    _add_reads(router, open_reasoner)
    _add_decisions(router, open_reasoner, identify, start_plan)
    return router


def _add_reads(router: APIRouter, open_reasoner: OpenReasoner) -> None:
    async def newest() -> AIReasoningOutput:
        found = await (await open_reasoner()).deps.history.newest()
        if found is None:
            message = "there was no reasoning run so far; POST /ai/global/run starts one"
            raise ServiceError(HTTPStatus.NOT_FOUND, "no_reasoning_yet", message)
        return found

    not_yet = describe_refusals(NOT_YET)

    @router.get(f"{PREFIX}/last_run", responses=not_yet)
    async def read_last_run() -> AIReasoningOutput:
        """Return everything that the newest reasoning run came to."""
        return await newest()

    @router.get(f"{PREFIX}/snapshot", responses=not_yet)
    async def read_snapshot() -> SystemSnapshot:
        """Return the snapshot of the newest reasoning run."""
        return (await newest()).snapshot

    @router.get(f"{PREFIX}/recommendations", responses=not_yet)
    async def list_recommendations() -> list[AIRecommendation]:
        """Return the recommendations of the newest reasoning run, the most important first.

        What was decided about them meanwhile is among them.
        """
        shown = (await newest()).recommendations
        return await (await open_reasoner()).deps.recommendations.read_decisions(shown)

    @router.get(f"{PREFIX}/summary", responses=not_yet)
    async def read_summary() -> AISummary:
        """Return the summary of the newest reasoning run."""
        return (await newest()).summary

    @router.get(f"{PREFIX}/action-plan", responses=not_yet)
    async def read_action_plan() -> AIActionPlan:
        """Return the plan of the newest reasoning run, with the digest that an approval names."""
        return (await newest()).action_plan

    @router.get(f"{PREFIX}/action-plan/progress", responses=not_yet)
    async def read_plan_progress() -> PlanState:
        """Return who approved the plan of the newest reasoning run, and what was done for it."""
        output = await newest()
        approvals = (await open_reasoner()).deps.approvals
        plan = output.action_plan
        progress = await approvals.progress(plan.digest, output.timestamp)
        return _to_state(plan.plan_id, progress)

    @router.get(f"{PREFIX}/history")
    async def list_history(
        limit: Annotated[
            int, Query(ge=1, le=MAX_HISTORY, description="Runs of the page, at most.")
        ] = 100,
        before: Annotated[
            int | None, Query(ge=1, le=10**15, description="Only runs before this number.")
        ] = None,
    ) -> ReasoningHistory:
        """Return the reasoning runs that are kept, newest first."""
        history = (await open_reasoner()).deps.history
        found = await history.list_newest(limit=limit + 1, before_seq=before)
        shown = found[:limit]
        following = shown[-1].seq if len(found) > limit else None
        return ReasoningHistory(runs=list(map(_to_entry, shown)), next_before=following)


def _add_decisions(
    router: APIRouter,
    open_reasoner: OpenReasoner,
    identify: Callable[..., Any],
    start_plan: StartPlan | None,
) -> None:
    @router.post(f"{PREFIX}/run")
    async def run_reasoning() -> AIRunResponse:
        """Reason about the system now, or wait for the run under way; return the outcome."""
        output = await (await open_reasoner()).run()
        health = output.summary.overall_health
        return AIRunResponse(
            success=True,
            reasoning_id=output.reasoning_id,
            message=f"AI reasoning completed successfully. Health: {health}",
            execution_time_ms=output.execution_time_ms,
        )

    @router.post(
        f"{PREFIX}/recommendations/{{recommendation_id}}", responses=describe_body(UNKNOWN)
    )
    async def decide_recommendation(
        recommendation_id: Annotated[
            str, Path(pattern=r"^rec-[0-9a-f]{12}$", description="Id of the recommendation.")
        ],
        body: RecommendationDecision,
        person: Annotated[Person, Depends(identify)],
    ) -> Decided:
        """Accept, dismiss or snooze a recommendation, or open it again.

        One that is dismissed does not come back until its finding changes.
        """
        recommendations = (await open_reasoner()).deps.recommendations
        try:
            row = await recommendations.decide(
                recommendation_id,
                body.decision,
                reason=body.reason,
                who=person.subject,
                snooze_h=body.snooze_hours,
            )
        except InvalidTask as refusal:
            raise _refuse(refusal) from None
        return Decided(
            id=recommendation_id,
            finding=row["finding"],
            decision=row["decision"],
            reason=row["reason"],
            decided_by=row["decided_by"],
        )

    @router.post(f"{PREFIX}/action-plan/{{plan_id}}/approve", responses=describe_body(CHANGED))
    async def approve_plan(
        plan_id: Annotated[
            str, Path(pattern=r"^plan-[0-9a-f]{16}$", description="Id of the plan.")
        ],
        body: PlanDigest,
        person: Annotated[Person, Depends(identify)],
    ) -> PlanApproved:
        """Approve a plan as it was looked up, and start the run that carries it out.

        The approval is used once, and only while plan and findings are what was approved. A second
        approver of the same plan gets the same approval.
        """
        reasoner = await open_reasoner()
        try:
            current = await reasoner.current_plan(plan_id)
            approval = await reasoner.deps.approvals.approve(
                current.plan,
                current.findings,
                body.digest,
                planned_at=current.planned_at,
                who=person.subject,
                role=", ".join(sorted(map(str, person.roles))),
                traceparent=current.traceparent,
            )
        except InvalidTask as refusal:
            raise _refuse(refusal) from None
        run_id = None if start_plan is None else await start_plan(plan_id, approval.id)
        return PlanApproved(
            approval_id=approval.id,
            plan_id=plan_id,
            state="unused" if run_id is None else "started",
            run_id=run_id,
            expires_at=approval.expires_at,
        )


def _refuse(refusal: InvalidTask) -> ServiceError:
    status = _STATUSES.get(refusal.code, HTTPStatus.UNPROCESSABLE_ENTITY)
    return ServiceError(status, refusal.code, refusal.message)


def _to_state(plan_id: str, progress: PlanProgress) -> PlanState:
    approval = progress.approval
    return PlanState(
        plan_id=plan_id,
        state="open" if approval is None else approval.state,
        is_open=progress.is_open,
        approved_by=None if approval is None else approval.who,
        approved_at=None if approval is None else approval.at,
        expires_at=None if approval is None else approval.expires_at,
        run_id=(approval.run_id or None) if approval else None,
        steps=[
            StepState.model_validate(
                {"at": record.at, "event": record.event, "message": "", **record.details}
            )
            for record in progress.records
            if record.event in STEP_EVENTS
        ],
    )


def _to_entry(entry: Entry) -> ReasoningEntry:
    return ReasoningEntry(
        seq=entry.seq,
        timestamp=entry.at,
        reasoning_id=entry.reasoning_id,
        overall_health=entry.health,
        health_score=entry.score,
        findings=list(entry.findings),
        key_insights=list(entry.insights),
        explained_by=entry.explained_by,
        execution_time_ms=entry.execution_time_ms,
    )
