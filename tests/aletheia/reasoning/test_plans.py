"""Plans hold what is on the allow-list, and their digest everything that they say."""

from typing import Any

from aletheia.reasoning.actions import plan_start
from aletheia.reasoning.explaining import Explained
from aletheia.reasoning.findings import RULES, find
from aletheia.reasoning.models import AIActionPlan
from aletheia.reasoning.plans import automated_steps, build_plan, check_steps, digest_plan
from aletheia.reasoning.recommendations import recommend
from aletheia.reasoning.settings import FindingSettings
from tests.fakes.reasoning import make_snapshot

RULES_BY_ID = {it.id: it for it in RULES}


def plan_of(**values: Any) -> AIActionPlan:
    findings = find(make_snapshot(values).view, FindingSettings())
    return build_plan(recommend(findings, RULES_BY_ID, {}, Explained()), findings)


def test_steps_follow_the_worst_finding_first_and_share_what_is_the_same():
    plan = plan_of(
        queue_pending=20_000,
        queue_failed=20,
        **{"additional_metrics.intake.leases_expired": 30, "alerts_critical": 9},
    )
    actions = [step.action for step in plan.steps]
    assert actions[0] == "manual"
    assert actions.count("process_queue") == 1
    assert [step.step for step in plan.steps] == list(range(1, len(plan.steps) + 1))
    assert {step.action for step in automated_steps(plan)} == {"process_queue", "retry_failed_jobs"}
    assert plan.risk_level == "medium"
    check_steps(plan)


def test_a_step_whose_parameters_are_not_known_is_for_a_person():
    plan = plan_of(**{"additional_metrics.prefect.gather_failed_24h": 2})
    (step,) = plan.steps
    assert (step.action, step.automated) == ("gather_project", False)


def test_a_long_lane_is_worked_off_by_its_name():
    lanes = {"media": {"name": "media", "waiting": 700}, "llm": {"name": "llm", "waiting": 900}}
    plan = plan_of(**{f"additional_metrics.lanes.{name}": row for name, row in lanes.items()})
    (step,) = plan.steps
    assert (step.action, step.payload, step.automated) == (
        *("process_pending_jobs", {"lane": "llm"}, True),
    )
    start = plan_start(step.action, step.payload)
    assert start.deployment == "process_lane/llm"
    assert start.parameters == {"lane": "llm", "shift_seconds": 0}


def test_the_same_findings_make_the_same_plan():
    one, other = (plan_of(queue_pending=pending) for pending in (1200, 1300))
    assert one == other
    assert one.plan_id == f"plan-{one.digest[:16]}"


def test_a_plan_without_findings_has_no_steps():
    plan = plan_of()
    assert (plan.steps, plan.automated, plan.title) == ((), False, "Nothing to do")


def test_the_digest_leaves_out_only_itself():
    plan = plan_of(queue_pending=1200)
    findings = find(make_snapshot({"queue_pending": 1200}).view, FindingSettings())
    assert (
        digest_plan(plan.model_copy(update={"plan_id": "x", "digest": "y"}), findings)
        == plan.digest
    )
    for change in ({"objective": "x"}, {"automated": not plan.automated}, {"title": ""}):
        assert digest_plan(plan.model_copy(update=change), findings) != plan.digest
    assert digest_plan(plan, []) != plan.digest
