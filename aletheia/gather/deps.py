"""What the steps of a gather run work with."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aletheia.gather.generation import GenerationPlan
from aletheia.gather.ports import GatherBrain, Scorer
from aletheia.gather.runs import GatherRuns
from aletheia.items.decisions import ProjectDecisions
from aletheia.items.dedup import Deduplicator
from aletheia.items.duplicates import Judge
from aletheia.items.project_items import ProjectItems
from aletheia.llm.messages import ChatModel
from aletheia.llm.usage import BudgetUsage
from aletheia.text.language import LanguageGuess

GRACE_S: Final = 10.0
"""How much longer than its time an attempt may wait for a generation, seconds; the rest of the
600 s that Prefect allows is for saving, scoring and closing (SPEC §4, Time)."""


@dataclass(frozen=True, slots=True)
class GatherDeps:
    """What the steps of a gather run work with."""

    runs: GatherRuns
    items: ProjectItems
    chat: ChatModel
    plan: GenerationPlan
    deduplicator: Deduplicator
    scorer: Scorer
    budgets: Callable[[str], Awaitable[Sequence[BudgetUsage]]]
    judge: Judge | None = None
    decisions: ProjectDecisions | None = None
    brain: GatherBrain | None = None
    language_of: LanguageGuess | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)  # the time, in UTC
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep  # waits for some seconds
    grace_s: float = GRACE_S
