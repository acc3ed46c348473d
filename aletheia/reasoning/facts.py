"""What the status of the system comes to in a snapshot: figures by source, keyed for paths."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aletheia.brain.outbox import BrainStatus
from aletheia.intake.models import IntakeStatus, RowState
from aletheia.llm.usage import BudgetUsage
from aletheia.reasoning.snapshot import keyed
from aletheia.resilience.breaker import BreakerState
from aletheia.resilience.limits import Tier, TierUsage

PENDING: Final = (RowState.CLAIMED, RowState.QUEUED, RowState.WAITING)
PROCESSING: Final = (RowState.PROCESSING, RowState.KEPT)
"""The states of rows that count as pending, and as being processed."""


def describe_intake(status: IntakeStatus) -> dict[str, Any]:
    """Return what the ledger says of itself."""
    reports, clock = status.unacknowledged, status.clock_ahead
    return {
        "is_paused": status.is_paused,
        "blocked_head": status.blocked_head,
        "leases_held": status.held,
        "leases_expired": status.expired,
        "waiting": status.waiting,
        "unacknowledged": None
        if reports is None
        else {"count": reports.count, "answer": reports.answer, "said": str(reports)},
        "clock_ahead": None
        if clock is None
        else {"owner": clock.owner, "ahead_s": clock.ahead_s, "said": str(clock)},
    }


def describe_queue(states: Mapping[str, float], dead: int) -> dict[str, int]:
    """Return the queue's part of a snapshot from the number of rows in each state."""

    def add(*names: RowState) -> int:
        return max(0, round(sum(states.get(name, 0) for name in names)))

    return {
        "queue_pending": add(*PENDING),
        "queue_processing": add(*PROCESSING),
        "queue_failed": max(0, dead),
    }


def describe_breakers(states: Sequence[BreakerState]) -> dict[str, dict[str, Any]]:
    """Return the breakers by dependency."""
    return keyed(
        {
            breaker.dependency: {
                "state": str(breaker.state),
                "failures": breaker.failures,
                "until": None if breaker.until is None else breaker.until.isoformat(),
            }
            for breaker in states
        }
    )


def describe_limits(
    limits: Mapping[str, Mapping[Tier, TierUsage]],
) -> dict[str, dict[str, Any]]:
    """Return the rate limits by provider and tier, with the share that is used."""
    return keyed(
        {
            f"{provider} per {tier}": {
                "used": usage.used,
                "limit": usage.limit,
                "share": None if usage.limit is None else round(usage.used / usage.limit, 4),
                "refusals": usage.refusals,
            }
            for provider, tiers in limits.items()
            for tier, usage in tiers.items()
        }
    )


def describe_budgets(budgets: Sequence[BudgetUsage]) -> dict[str, dict[str, Any]]:
    """Return the budgets that have a bound, with the share that is spent; one of 0 is spent."""
    return keyed(
        {
            budget.name: {
                "spent": float(budget.spent),
                "limit": float(budget.limit),
                "share": round(float(budget.spent / budget.limit), 4) if budget.limit else 1.0,
            }
            for budget in budgets
            if budget.limit is not None
        }
    )


def describe_brain(projects: Sequence[BrainStatus]) -> dict[str, dict[str, Any]]:
    """Return what each project lacks in the Brain."""
    return keyed(
        {
            project.project_id: {
                "waiting": project.waiting,
                "refused": project.dead,
                "failures": project.failures,
            }
            for project in projects
        }
    )


def describe_status(
    intake: IntakeStatus,
    breakers: Sequence[BreakerState],
    limits: Mapping[str, Mapping[Tier, TierUsage]],
    budgets: Sequence[BudgetUsage],
    brain: Sequence[BrainStatus],
) -> dict[str, Any]:
    """Return the status of the system in the form of a snapshot, as far as it goes."""
    return {
        **describe_queue(intake.states, sum(intake.dead.values())),
        "additional_metrics": {
            "intake": drop_unknown(describe_intake(intake)),
            "breakers": describe_breakers(breakers),
            "limits": describe_limits(limits),
            "budgets": describe_budgets(budgets),
            "brain": describe_brain(brain),
        },
    }


def drop_unknown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without those that are not known."""
    return {name: value for name, value in values.items() if value is not None}
