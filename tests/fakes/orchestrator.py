"""Starts runs in memory, as strictly as Prefect: a key starts one, unknown names are refused."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aletheia.errors import InvalidTask, Misconfigured, Unavailable

PARAMETERS: dict[str, set[str]] = {
    "poll_tasks/poll_tasks": {"shift_seconds"},
    "automated_gather_creation/automated_gather_creation": {
        *("project_id", "user_id", "max_iterations", "enable_auto_evaluation", "webhook_url"),
    },
    "evaluate_department/evaluate_department": {
        *("project_id", "department_number", "user_id", "auto_triggered", "force", "department"),
    },
    "replay_dead_letters/replay_dead_letters": {"ids", "code", "limit"},
    "undo_duplicate/undo_duplicate": {"project_id", "decision_id", "user_id"},
    "carry_out_plan/carry_out_plan": {"plan_id", "approval_id", "dry_run"},
    "system_reasoning/system_reasoning": {"shift_seconds"},
    "drop_repetition/drop_repetition": {"project_id", "pair_id", "user_id"},
}
"""What deployments take."""


@dataclass(frozen=True)
class FakeWorker:
    """A worker."""

    name: str
    pool: str = "aletheia"
    is_online: bool = True
    seen_at: datetime | None = datetime(2026, 11, 30, tzinfo=UTC)


@dataclass
class FakeOrchestrator:
    """Starts runs.

    Attributes:
        runs: the parameters of each run that was started, by its idempotency key.
        asked: how often a start was asked for.
        is_away: whether nothing answers.
        delay_s: how long a start takes.
        seen: the workers.
    """

    runs: dict[str, tuple[str, dict[str, Any]]] = field(
        default_factory=dict[str, tuple[str, dict[str, Any]]]
    )
    asked: int = 0
    is_away: bool = False
    delay_s: float = 0.0
    seen: list[FakeWorker] = field(default_factory=list[FakeWorker])

    async def start(
        self, deployment: str, parameters: Mapping[str, Any], *, idempotency_key: str
    ) -> str:
        """Start a run."""
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        self._answer()
        if deployment not in PARAMETERS:
            raise Misconfigured(deployment, "is not deployed; run `aletheia setup`")
        if unknown := set(parameters) - PARAMETERS[deployment]:
            raise InvalidTask("invalid_parameters", f"unknown: {sorted(unknown)}")
        self.runs.setdefault(idempotency_key, (deployment, dict(parameters)))
        return f"run-{list(self.runs).index(idempotency_key) + 1}"

    async def workers(self) -> list[FakeWorker]:
        """Return the workers."""
        self._answer()
        return self.seen

    async def ping(self) -> None:
        """Answer."""
        self._answer()

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("prefect", "made to be away")
