"""The allow-list of what automated steps may do (SPEC §5): each action starts one deployment.

An action's parameters come from its payload alone, which is checked; whatever else a plan says
changes nothing. Each says in a dry run what it would do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aletheia.errors import InvalidTask
from aletheia.llm.structured import explain
from aletheia.reasoning.models import Risk
from aletheia.reasoning.rules.rule import ActionType, write_number
from aletheia.reasoning.snapshot import View
from aletheia.text.grammar import agree

EVALUATIONS_WAITING: Final = "additional_metrics.gather.evaluations_waiting"


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NoPayload(_Payload):
    """An action without parameters."""


class ReplayPayload(_Payload):
    """Which dead letters are replayed."""

    code: str | None = Field(default=None, max_length=100)
    limit: int = Field(default=1000, ge=1, le=1000)


class LanePayload(_Payload):
    """Which lane is worked off."""

    lane: str = Field(default="media", pattern=r"^(media|llm)$")


class GatherPayload(_Payload):
    """Which project is filled, for whom."""

    project_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,48}$")
    user_id: str = Field(min_length=1, max_length=200)
    max_iterations: int = Field(default=50, ge=1, le=200)


class ModelPayload(_Payload):
    """Which model is pulled."""

    model: str = Field(min_length=1, max_length=200)
    provider: str | None = Field(default=None, pattern=r"^(local|ollama)$")


class ReconcilePayload(_Payload):
    """Which project is reconciled; all without one."""

    project_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,48}$")


@dataclass(frozen=True, slots=True)
class Action:
    """What an automated step does: which deployment it starts, and how that may go."""

    payload: type[_Payload]
    deployment: Callable[[Any], str]
    parameters: Callable[[Any], dict[str, Any]]
    describe: Callable[[Any, View], str]  # what it would do, by a snapshot
    minutes: int  # that it takes, roughly
    risk: Risk = "low"


@dataclass(frozen=True, slots=True)
class Start:
    """A run of a deployment (`flow/deployment`) that is to be started."""

    deployment: str
    parameters: Mapping[str, Any]


def _count(view: View, path: str, what: str) -> str:
    """Return how many there are of something; `what`: its `[one|many]`, see `agree`."""
    value = view.number(path)
    if value is None:
        return agree(f"an unknown number of {what}", 0)
    return agree(f"{write_number(value)} {what}", value)


def _describe_replay(payload: ReplayPayload, view: View) -> str:
    counted = _count(view, "queue_failed", "dead [letter|letters]")
    number = view.number("queue_failed")
    is_all = payload.code is None and number is not None and number <= payload.limit
    said = f"replay {counted}" if is_all else f"replay up to {payload.limit:,} of {counted}"
    return f"{said}, those with code {payload.code}" if payload.code else said


ACTIONS: Final[Mapping[ActionType, Action]] = {
    "process_queue": Action(
        NoPayload,
        lambda _: "poll_tasks/poll_tasks",
        lambda _: {"shift_seconds": 0},
        lambda _, view: (
            "start one shift that drains the upstream's list once; "
            f"{_count(view, 'queue_pending', '[task is|tasks are]')} pending here"
        ),
        10,
    ),
    "retry_failed_jobs": Action(
        ReplayPayload,
        lambda _: "replay_dead_letters/replay_dead_letters",
        lambda it: {"ids": None, "code": it.code, "limit": it.limit},
        _describe_replay,
        15,
        "medium",
    ),
    "process_pending_jobs": Action(
        LanePayload,
        lambda it: f"process_lane/{it.lane}",
        lambda it: {"lane": it.lane, "shift_seconds": 0},
        lambda it, view: (
            f"compute what waits in lane {it.lane}: "
            + _count(view, f"additional_metrics.lanes.{it.lane}.waiting", "[task|tasks]")
        ),
        30,
    ),
    "gather_project": Action(
        GatherPayload,
        lambda _: "automated_gather_creation/automated_gather_creation",
        lambda it: it.model_dump(),
        lambda it, _: (
            f"run a gather of project {it.project_id} for {it.user_id}, at most "
            + agree(f"{it.max_iterations} [iteration|iterations]", it.max_iterations)
            + "; models are paid for within the budgets"
        ),
        10,
        "medium",
    ),
    "pull_model": Action(
        ModelPayload,
        lambda _: "manage_models/manage_models",
        lambda it: {"action": "pull", "provider": it.provider, "model": it.model},
        lambda it, _: f"download model {it.model}",
        10,
    ),
    "reconcile": Action(
        ReconcilePayload,
        lambda _: "reconcile/reconcile",
        lambda it: {"project_id": it.project_id},
        lambda it, _: (
            "compare the Brain with what is saved and repair it, for "
            + (f"project {it.project_id}" if it.project_id else "all projects")
        ),
        20,
    ),
    "sweep": Action(
        NoPayload,
        lambda _: "sweep/sweep",
        lambda _: {},
        lambda _, view: (
            "start what was requested and never began "
            f"({_count(view, EVALUATIONS_WAITING, '[evaluation|evaluations]')}), "
            "send what waits, delete what is old"
        ),
        5,
    ),
}
"""The actions, by the names that plans have for them."""


def is_complete(action: str, payload: Mapping[str, Any]) -> bool:
    """Return whether a step can be carried out without a person."""
    try:
        read_step(action, payload)
    except InvalidTask:
        return False
    return True


def read_step(action: str, payload: Mapping[str, Any]) -> tuple[Action, Any]:
    """Return an action and its checked payload.

    Raises:
        InvalidTask: `unknown_action`, `invalid_payload`.
    """
    known = next((it for name, it in ACTIONS.items() if name == action), None)
    if known is None:
        raise InvalidTask("unknown_action", f"{action[:60]!r} is none of {', '.join(ACTIONS)}")
    try:
        return known, known.payload.model_validate(dict(payload))
    except ValidationError as error:
        raise InvalidTask("invalid_payload", f"{action}: {explain(error)}") from None


def plan_start(action: str, payload: Mapping[str, Any]) -> Start:
    """Return the run that a step starts; raises as `read_step`."""
    known, checked = read_step(action, payload)
    return Start(known.deployment(checked), known.parameters(checked))


def describe_dry_run(action: str, payload: Mapping[str, Any], view: View) -> str:
    """Return what a step would do; raises as `read_step`."""
    known, checked = read_step(action, payload)
    return known.describe(checked, view)
