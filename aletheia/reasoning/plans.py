"""Action plans, and the digest that an approval of one is bound to (SPEC §5).

The digest is over everything that a plan says, and over the findings that its steps answer. Whoever
approves a digest approves exactly these words and steps, for exactly these findings.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aletheia.reasoning.actions import ACTIONS, is_complete, read_step
from aletheia.reasoning.findings import Finding
from aletheia.reasoning.models import AIActionPlan, AIRecommendation, PlanStep, Risk
from aletheia.text.grammar import agree

MAX_STEPS: Final = 10
MANUAL: Final = "manual"
"""The action of a step that a person does."""

_MANUAL_MINUTES: Final = 30
_RISKS: Final[tuple[Risk, ...]] = ("low", "medium", "high")


def build_plan(
    recommendations: Sequence[AIRecommendation], findings: Sequence[Finding]
) -> AIActionPlan:
    """Return the plan that carries recommendations out, in their order.

    A step is automated if its action is on the allow-list and its parameters are complete; two
    recommendations with the same action and parameters share a step.
    """
    steps: list[PlanStep] = []
    minutes: list[int] = []
    done: set[str] = set()
    for recommendation in recommendations:
        action, payload = recommendation.action_type or MANUAL, recommendation.action_payload
        key = canonical([action, payload, "" if action != MANUAL else recommendation.id])
        if key in done or len(steps) == MAX_STEPS:
            continue
        done.add(key)
        is_automated = is_complete(action, payload)
        minutes.append(
            ACTIONS[recommendation.action_type].minutes
            if recommendation.action_type
            else _MANUAL_MINUTES
        )
        steps.append(
            PlanStep(
                step=len(steps) + 1,
                action=action,
                description=f"{recommendation.title}: {recommendation.impact}",
                automated=is_automated,
                estimated_duration=_write_minutes(minutes[-1]),
                payload=dict(payload),
                recommendation=recommendation.id,
            )
        )
    answered = [item.finding for item in recommendations]
    title = "Nothing to do" if not steps else "Improve the health of the system"
    plan = AIActionPlan(
        plan_id="",
        title=title,
        objective=_describe_objective(findings, answered),
        steps=tuple(steps),
        estimated_duration=_write_minutes(sum(minutes)),
        risk_level=_risk_of(steps),
        automated=bool(steps) and all(step.automated for step in steps),
    )
    digest = digest_plan(plan, findings)
    return plan.model_copy(update={"plan_id": f"plan-{digest[:16]}", "digest": digest})


def digest_plan(plan: AIActionPlan, findings: Sequence[Finding]) -> str:
    """Return the SHA-256 of a plan and of the findings that it answers, hexadecimal.

    Its own id and digest are left out. A finding counts by its rule and severity, not its values,
    which move all the time.
    """
    answered = sorted((finding.id, finding.severity) for finding in findings)
    said = plan.model_dump(mode="json", exclude={"plan_id", "digest"})
    return hashlib.sha256(canonical([said, answered]).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def automated_steps(plan: AIActionPlan) -> list[PlanStep]:
    """Return the steps that are carried out, in order."""
    return [step for step in plan.steps if step.automated]


def check_steps(plan: AIActionPlan) -> None:
    """Check every automated step. Raises `InvalidTask`: see `actions.read_step`."""
    for step in automated_steps(plan):
        read_step(step.action, step.payload)


def _describe_objective(findings: Sequence[Finding], answered: Sequence[str]) -> str:
    titles: Mapping[str, str] = {finding.id: finding.title or finding.id for finding in findings}
    named = list(dict.fromkeys(titles[id_] for id_ in answered if id_ in titles))
    return f"Answer what was found: {'; '.join(named)}." if named else "Nothing was found."


def _risk_of(steps: Sequence[PlanStep]) -> Risk:
    names = {step.action for step in steps}
    risks: list[Risk] = [action.risk for name, action in ACTIONS.items() if name in names]
    return max(risks, key=_RISKS.index) if risks else "low"


def _write_minutes(minutes: int) -> str:
    if minutes < 120:  # noqa: PLR2004 - two hours
        return agree(f"{minutes} [minute|minutes]", minutes)
    return f"{minutes / 60:.0f} hours"
