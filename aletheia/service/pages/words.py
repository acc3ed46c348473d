"""What pages say: numbers, times, states and refusals, for people who run no servers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from aletheia.service.reasoning import PlanState, StepState
from aletheia.service.refusals import ServiceError

MAX_TEXT_CHARS: Final = 600
"""Characters of an item that are shown before it is cut."""

NONE: Final = "-"

RUN_STATES: Final[Mapping[str, str]] = {
    "open": "Running",
    "completed": "Finished",
    "cancelled": "Cancelled",
    "superseded": "Taken over by a newer run",
}

REASONS: Final[Mapping[str, str]] = {
    "no_iterations_left": "The run had no iterations left for it.",
    "threshold_reached": "It reached the quality it needs.",
    "token_budget": "The run's budget of tokens is spent.",
    "cost_budget": "The run's budget of money is spent.",
    "time_budget": "The run's time is up.",
    "max_iterations_reached": "It had as many iterations as it may have.",
    "no_improvement": "More items did not make it better.",
    "unreadable_answers": "The model's answers could not be used.",
    "saturation": "Almost everything new repeated something.",
    "rate_limited": "The model's provider let no more calls through.",
}
"""Why a department is done, by `StopReason`."""

PLAN_STATES: Final[Mapping[str, str]] = {
    "unused": "it begins in a moment",
    "consumed": "it begins in a moment",
    "begun": "it is being carried out",
    "done": "it was carried out",
    "failed": "it was begun, and a step failed",
    "lost": "it was begun, and what carried it out was lost",
}
"""What became of an approved plan, by `ApprovalState`."""

ENDED: Final = frozenset({"done", "failed", "lost"})
"""States of a plan that is over."""

_REFUSALS: Final[Mapping[str, str]] = {
    "expired_token": "Your token has expired. Sign in again.",
    "missing_token": "You are signed out. Sign in again.",
    "invalid_token": "Your token is not valid any more. Sign in again.",
    "forbidden": "Your role does not allow this.",
    "no_authentication_configured": "The service knows no keys of tokens any more.",
    "keys_unavailable": "The keys of tokens cannot be had for now. Try again in a minute.",
    "too_busy": "The service has its hands full. Try again in a moment.",
    "no_reasoning_yet": "The system was not checked so far. Press “Check now”.",
    "plan_changed": "The plan, or what it answers, is not what you saw. Read it again.",
    "already_used": "This plan was approved and carried out already.",
    "unknown_plan": "There is a newer plan by now. Read it again.",
    "unknown_recommendation": "This recommendation is gone by now.",
    "nothing_to_do": "No step of this plan can be carried out by a program.",
    "item_was_kept": "This item was not dropped.",
    "not_possible": "This item is not kept as a possible repetition any more.",
    "backend_refused": "Something that the service needs is not set up, or refuses it.",
    "internal_error": "Something went wrong here. The log has more.",
}
SIGNED_OUT: Final = frozenset({"expired_token", "missing_token", "invalid_token"})


def say_refusal(refusal: ServiceError) -> str:
    """Return what a refusal means."""
    known = _REFUSALS.get(refusal.code)
    return known or f"{refusal.detail} ({refusal.code})"


def say_time(moment: datetime | None) -> str:
    """Return a moment in UTC, to the minute."""
    return NONE if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def say_duration(seconds: float) -> str:
    """Return how long something is, in its two largest units."""
    left = max(0, round(seconds))
    days, hours, minutes = left // 86_400, left // 3600 % 24, left // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left % 60} s" if minutes else f"{left} s"


def say_number(value: float | None) -> str:
    """Return a number with separators, without digits that say nothing."""
    if value is None:
        return NONE
    return f"{value:,.1f}".removesuffix(".0")


def say_scores(scores: Sequence[float], oldest: datetime, newest: datetime) -> str:
    """Return between which scores the system was, and when."""
    low, high = say_number(min(scores)), say_number(max(scores))
    said = low if low == high else f"Between {low} and {high}"
    first, last = say_time(oldest), say_time(newest)
    return f"{said}, {last}." if first == last else f"{said}, {first} to {last}."


def say_usd(amount: str) -> str:
    """Return dollars: cents, or more digits where there would be no cent."""
    try:
        usd = Decimal(amount)
    except InvalidOperation:
        return NONE
    if usd == 0 or usd >= Decimal("0.01"):
        return f"${usd:,.2f}"
    return f"${usd:.6f}" if usd >= Decimal("0.000001") else "under $0.000001"


def say_title(text: str) -> str:
    """Return a text with a capital letter."""
    return text[:1].upper() + text[1:]


def say_plan_state(state: PlanState) -> list[str]:
    """Return how far a plan is, in sentences; none where nobody has approved it."""
    if state.approved_by is None:
        return []
    is_late = state.state == "unused" and state.is_open
    became = "it was not begun in time" if is_late else PLAN_STATES.get(state.state, state.state)
    last = {step.step: step for step in state.steps}
    return [
        f"Approved by {state.approved_by}, {say_time(state.approved_at)}: {became}.",
        *(f"Step {number} {_say_step(step)}" for number, step in sorted(last.items())),
    ]


def _say_step(step: StepState) -> str:
    if step.event == "step_started":
        return f"has begun, {say_time(step.at)}."
    became = "is done" if step.event == "step_done" else "failed"
    return f"{became}, {say_time(step.at)}: {cut(step.message or 'it says no more')}"


def say_run_state(state: str) -> str:
    """Return the state of a run."""
    return RUN_STATES.get(state, state)


def say_failed_replay(code: str, said: Mapping[str, object]) -> str:
    """Return why the last replay of a dead letter with a code changed nothing."""
    if said.get("status") is not None:
        return "Its last replay was refused by the system that the task comes from."
    if said.get("code") == code:
        return "It was replayed, and failed again for the same reason."
    return f"Its last replay did not work: {cut(str(said.get('message') or 'it says no more'))}."


def cut(text: str | None) -> str:
    """Return a text as far as a page shows it."""
    if text is None:
        return "Its text is not saved any more."
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}…"
