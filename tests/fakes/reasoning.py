"""Snapshots, findings and what reasons about them, over a store of its own."""

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from aletheia.documents import Documents
from aletheia.llm.messages import ChatModel
from aletheia.llm.prices import Tokens
from aletheia.reasoning.collecting import Collector, Facts
from aletheia.reasoning.engine import Reasoner, ReasoningDeps
from aletheia.reasoning.explaining import Explainer
from aletheia.reasoning.findings import RULES
from aletheia.reasoning.settings import FindingSettings, ReasoningSettings
from aletheia.reasoning.snapshot import SystemSnapshot
from tests.fakes.clock import MovableClock

AT: Final = datetime(2026, 11, 30, 10, tzinfo=UTC)

HEALTHY: Final[Mapping[str, Any]] = {
    "queue_pending": 12,
    "queue_processing": 3,
    "queue_failed": 2,
    "queue_success": 300,
    "jobs_failed": 0,
    "publish_success_rate": 0.96,
    "publish_total_24h": 50,
    "publish_failed_24h": 2,
    "clips_ready": 20,
    "campaigns_active": 2,
    "campaigns_draft": 5,
    "alerts_critical": 0,
    "alerts_warning": 1,
    "additional_metrics": {
        "breakers": {
            "openai": {"name": "openai", "state": "closed", "failures": 1},
            "secret_shop": {"name": "secret shop", "state": "closed", "failures": 0},
        },
        "gather": {"last_items_created": 42},
        "prefect": {"workers_online": 1, "late": 0},
    },
}
"""A system that is well."""


def make_snapshot(values: Mapping[str, Any] | None = None, **fields: Any) -> SystemSnapshot:
    """Make a snapshot: a healthy one, with some fields, or values by path, that differ."""
    found: dict[str, Any] = copy.deepcopy(dict(HEALTHY)) | {"timestamp": AT} | fields
    for path, value in (values or {}).items():
        *keys, last = path.split(".")
        place = found
        for key in keys:
            place = place.setdefault(key, {})
        place[last] = value
    return SystemSnapshot.model_validate(found)


class Sources:
    """A source of a snapshot whose facts are set by the test.

    Attributes:
        facts: what it answers.
        error: raised in place of an answer.
    """

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts: dict[str, Any] = copy.deepcopy(dict(HEALTHY if facts is None else facts))
        self.error: Exception | None = None

    async def collect(self, now: datetime) -> Facts:
        """Answer, or raise."""
        del now
        if self.error is not None:
            raise self.error
        return self.facts


def free_of_charge(provider: str, model: str, tokens: Tokens) -> int:
    """Return what a call costs: a nano-dollar a token."""
    del provider, model
    return tokens.total


def make_reasoner(
    documents: Documents,
    sources: Sources,
    clock: MovableClock,
    *,
    chat: ChatModel | None = None,
    settings: ReasoningSettings | None = None,
    collectors: Sequence[Collector] = (),
) -> Reasoner:
    """Make what reasons about a system whose one source is `sources`."""
    settings = settings or ReasoningSettings()
    explainer = None
    if chat is not None:
        explainer = Explainer(documents, chat, "m", settings, free_of_charge, clock.both)
    deps = ReasoningDeps(
        documents=documents,
        collectors=[Collector("platform", sources.collect), *collectors],
        rules=RULES,
        bounds=FindingSettings(),
        settings=settings,
        explainer=explainer,
        clock=clock.both,
    )
    return Reasoner(deps)
