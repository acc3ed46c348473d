"""An approval is used once, in its time, for exactly what was approved."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aletheia.documents import Documents
from aletheia.errors import InvalidTask
from aletheia.reasoning.approvals import LOST_AFTER_S, RESUMABLE_AFTER_S, Approval, Approvals
from aletheia.reasoning.explaining import Explained
from aletheia.reasoning.findings import RULES, Finding
from aletheia.reasoning.models import AIActionPlan
from aletheia.reasoning.plans import build_plan
from aletheia.reasoning.recommendations import recommend
from bench.reasoning_races import run_races
from tests.fakes.clock import MovableClock

FINDINGS = [Finding("queue_backlog", "medium", "many tasks", {"queue_pending": 1200})]
RULES_BY_ID = {it.id: it for it in RULES}
TTL_S = 3600.0


def make_plan(findings: list[Finding] = FINDINGS) -> AIActionPlan:
    return build_plan(recommend(findings, RULES_BY_ID, {}, Explained()), findings)


PLAN = make_plan()


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def approvals(documents: Documents, clock: MovableClock) -> Approvals:
    approvals = Approvals(documents, ttl_s=TTL_S, clock=clock.both)
    await approvals.prepare()
    return approvals


async def approve(approvals: Approvals, clock: MovableClock, **changes: Any) -> Approval:
    given: dict[str, Any] = {"plan": PLAN, "findings": FINDINGS, "digest": PLAN.digest} | changes
    plan, findings, digest = given["plan"], given["findings"], given["digest"]
    return await approvals.approve(
        plan, findings, digest, planned_at=clock.now, who="ada", role="admin"
    )


async def refusal(attempt: Any) -> str:
    with pytest.raises(InvalidTask) as refused:
        await attempt
    return refused.value.code


async def test_of_many_runs_one_gets_the_approval(approvals: Approvals, clock: MovableClock):
    approval = await approve(approvals, clock)

    async def start(run_id: str) -> str | None:
        with contextlib.suppress(InvalidTask):
            return (await approvals.consume(approval.id, PLAN, FINDINGS, run_id=run_id)).run_id
        return None

    runs = await asyncio.gather(*(start(f"run-{number}") for number in range(8)))
    assert len(list(filter(None, runs))) == 1


async def test_two_approvers_of_one_plan_share_an_approval(
    approvals: Approvals, clock: MovableClock
):
    first, second = await asyncio.gather(*(approve(approvals, clock) for _ in range(2)))
    assert first.id == second.id
    assert (first.who, first.role, first.state) == ("ada", "admin", "unused")


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Something else"},
        {"steps": PLAN.steps[:0]},
        {"steps": (PLAN.steps[0].model_copy(update={"payload": {"code": "x"}}),)},
        {"steps": (PLAN.steps[0].model_copy(update={"description": "harmless"}),)},
        {"risk_level": "high"},
    ],
)
async def test_an_edited_plan_asks_again(
    approvals: Approvals, clock: MovableClock, change: dict[str, Any]
):
    approval = await approve(approvals, clock)
    edited = PLAN.model_copy(update=change)
    start = approvals.consume(approval.id, edited, FINDINGS, run_id="run")
    assert await refusal(start) == "plan_changed"


@pytest.mark.parametrize(
    "findings",
    [[], [replace(FINDINGS[0], severity="high")], [*FINDINGS, Finding("no_worker", "low", "", {})]],
)
async def test_changed_findings_ask_again(
    approvals: Approvals, clock: MovableClock, findings: list[Finding]
):
    approval = await approve(approvals, clock)
    start = approvals.consume(approval.id, PLAN, findings, run_id="run")
    assert await refusal(start) == "plan_changed"


async def test_values_that_move_within_a_finding_change_nothing(
    approvals: Approvals, clock: MovableClock
):
    approval = await approve(approvals, clock)
    moved = [replace(FINDINGS[0], text="others", evidence={"queue_pending": 1300})]
    assert (await approvals.consume(approval.id, PLAN, moved, run_id="run")).run_id == "run"


async def test_an_approval_is_over_after_its_time_and_can_be_renewed(
    approvals: Approvals, clock: MovableClock
):
    approval = await approve(approvals, clock)
    clock.move(seconds=TTL_S)
    start = approvals.consume(approval.id, PLAN, FINDINGS, run_id="run")
    assert await refusal(start) == "approval_expired"
    assert await approvals.find_unused(PLAN.plan_id) is None
    renewed = await approve(approvals, clock)
    assert renewed.id == approval.id
    assert (await approvals.consume(renewed.id, PLAN, FINDINGS, run_id="run")).run_id == "run"


async def test_a_run_that_died_before_its_first_step_is_resumed_exactly_once(
    approvals: Approvals, clock: MovableClock
):
    approval = await approve(approvals, clock)
    await approvals.consume(approval.id, PLAN, FINDINGS, run_id="dead")
    early = approvals.consume(approval.id, PLAN, FINDINGS, run_id="early")
    assert await refusal(early) == "already_used"
    clock.move(seconds=RESUMABLE_AFTER_S)
    await approvals.consume(approval.id, PLAN, FINDINGS, run_id="second")
    # The first one was only slow: it is too late by now.
    assert await refusal(approvals.begin(approval.id, run_id="dead")) == "already_used"
    clock.move(seconds=RESUMABLE_AFTER_S)
    third = approvals.consume(approval.id, PLAN, FINDINGS, run_id="third")
    assert await refusal(third) == "already_used"
    await approvals.begin(approval.id, run_id="second")


async def test_once_a_step_has_begun_no_other_run_gets_it(
    approvals: Approvals, clock: MovableClock
):
    approval = await approve(approvals, clock)
    await approvals.consume(approval.id, PLAN, FINDINGS, run_id="run")
    await approvals.begin(approval.id, run_id="run")
    clock.move(seconds=RESUMABLE_AFTER_S)
    other = approvals.consume(approval.id, PLAN, FINDINGS, run_id="other")
    assert await refusal(other) == "already_used"
    # The same run, started anew, goes on, whatever the findings are by now.
    assert (await approvals.consume(approval.id, PLAN, [], run_id="run")).state == "begun"
    await approvals.begin(approval.id, run_id="run")


async def test_what_was_carried_out_is_approved_again_only_for_a_later_plan(
    approvals: Approvals, clock: MovableClock
):
    approval = await approve(approvals, clock)
    await approvals.consume(approval.id, PLAN, FINDINGS, run_id="run")
    assert await refusal(approve(approvals, clock)) == "already_used"
    await approvals.begin(approval.id, run_id="run")
    await approvals.end(approval.id, run_id="run", state="done")
    assert await refusal(approve(approvals, clock)) == "already_used"
    clock.move(seconds=30)
    again = await approve(approvals, clock)
    assert again.id != approval.id
    assert again.state == "unused"


async def test_a_plan_whose_run_was_lost_can_be_approved_again(
    approvals: Approvals, clock: MovableClock
):
    approval = await approve(approvals, clock)
    await approvals.consume(approval.id, PLAN, FINDINGS, run_id="lost")
    await approvals.begin(approval.id, run_id="lost")
    clock.move(seconds=LOST_AFTER_S - 1)
    assert await refusal(approve(approvals, clock)) == "already_used"
    clock.move(seconds=2)
    again, other = await asyncio.gather(*(approve(approvals, clock) for _ in range(2)))
    assert (again.id, again.state) == (other.id, "unused")
    assert again.id != approval.id
    assert [it.event for it in await approvals.records(approval.id)][-1] == "lost"
    # Should the lost one come back, it goes on no more.
    assert await refusal(approvals.begin(approval.id, run_id="lost")) == "already_used"


async def test_a_plan_that_was_made_before_its_run_was_lost_is_not_approved_again(
    approvals: Approvals, clock: MovableClock
):
    approval, planned_at = await approve(approvals, clock), clock.now
    await approvals.consume(approval.id, PLAN, FINDINGS, run_id="lost")
    await approvals.begin(approval.id, run_id="lost")
    clock.move(seconds=LOST_AFTER_S + 1)
    attempt = approvals.approve(
        PLAN, FINDINGS, PLAN.digest, planned_at=planned_at, who="ada", role="admin"
    )
    assert await refusal(attempt) == "already_used"


async def test_whoever_approves_again_after_a_death_before_the_first_step_starts_anew(
    approvals: Approvals, clock: MovableClock
):
    approval = await approve(approvals, clock)
    await approvals.consume(approval.id, PLAN, FINDINGS, run_id="dead")
    assert await refusal(approve(approvals, clock)) == "already_used"
    clock.move(seconds=RESUMABLE_AFTER_S)
    again = await approve(approvals, clock)
    assert again.id != approval.id  # the key of another start
    assert await refusal(approvals.begin(approval.id, run_id="dead")) == "already_used"
    resumed = approvals.consume(approval.id, PLAN, FINDINGS, run_id="late")
    assert await refusal(resumed) == "already_used"
    assert (await approvals.consume(again.id, PLAN, FINDINGS, run_id="new")).run_id == "new"


async def test_a_digest_that_was_not_seen_approves_nothing(
    approvals: Approvals, clock: MovableClock
):
    assert await refusal(approve(approvals, clock, digest="0" * 64)) == "plan_changed"
    forged = PLAN.model_copy(update={"digest": "0" * 64})
    assert await refusal(approve(approvals, clock, plan=forged, digest="0" * 64)) == "plan_changed"


async def test_a_plan_without_an_automated_step_is_not_approved(
    approvals: Approvals, clock: MovableClock
):
    findings = [Finding("intake_paused", "medium", "paused", {})]
    plan = make_plan(findings)
    attempt = approve(approvals, clock, plan=plan, findings=findings, digest=plan.digest)
    assert await refusal(attempt) == "nothing_to_do"


async def test_everything_leaves_a_record_once(approvals: Approvals, clock: MovableClock):
    approval = await approve(approvals, clock)
    await approvals.consume(approval.id, PLAN, FINDINGS, run_id="run")
    for _ in range(2):
        await approvals.note(approval.id, "1:done", "step_done", {"step": 1})
    records = await approvals.records(approval.id)
    assert [record.event for record in records] == ["approved", "consumed", "step_done"]
    assert records[0].details["who"] == "ada"


async def test_races_execute_every_approval_once_and_nothing_stale(tmp_path: Path):
    figures = await run_races(tmp_path / "races", 60)
    assert figures.approval_executions_per_approval == 1
    assert (figures.stale_executions, figures.twice) == (0, 0)
