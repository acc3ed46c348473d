"""A whole system for the sources of a snapshot: real stores and fakes, a little of everything."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from aletheia.adapters.platform.embedded import EmbeddedPlatform
from aletheia.analysis.model_manager import MODELS
from aletheia.brain.outbox import BrainStatus
from aletheia.documents import Documents
from aletheia.errors import BadAnswer
from aletheia.events.dead_events import DEAD_EVENTS
from aletheia.events.log import EVENTS
from aletheia.intake.ledger import Ledger
from aletheia.intake.rows import FLAGS, ROWS
from aletheia.llm.usage import BudgetUsage
from aletheia.reasoning import sources
from aletheia.reasoning.collecting import Collector
from aletheia.reasoning.platform import Platform, PlatformSettings
from aletheia.reasoning.ports import RunFigures
from aletheia.resilience.breaker import BreakerState, State
from aletheia.resilience.limits import Tier, TierUsage
from aletheia.series import Counters
from aletheia.settings import IntakeSettings
from tests.fakes.clock import MovableClock


class Words:
    """What users and others wrote in the system: names, of which a snapshot has some, and texts.

    Attributes:
        written: all words so far.
        texts: those of them that nobody is shown.
        may_be_logged: those of the texts that are of errors.
    """

    def __init__(self, beginning: str = "") -> None:
        self._beginning = beginning
        self.written: list[str] = []
        self.texts: list[str] = []
        self.may_be_logged: set[str] = set()

    def name(self, usual: str) -> str:
        """Return a name, which people are shown: the usual one, or a word that is nowhere else."""
        if not self._beginning:
            return usual
        self.written.append(f"{self._beginning}{len(self.written):02}")
        return self.written[-1]

    def text(self, usual: str, *, may_be_logged: bool = False) -> str:
        """Return a text, likewise, of which a snapshot has nothing."""
        word = self.name(usual)
        self.texts.append(word)
        if may_be_logged:
            self.may_be_logged.add(word)
        return word


class System:
    """Everything that sources read but the store, a little of each; a source can be down."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.tasks = 0.0
        self.dependency, self.provider = words.name("openai"), words.name("openai")
        self.budget, self.reason = words.name("BUDGET_USD_PER_DAY"), words.text("timed out")

    async def read_counters(self) -> Counters:
        """Return counters, of 100 tasks more each time."""
        self.tasks += 100
        return Counters(
            {
                "aletheia_ledger_rows|claimed": 1.0,
                "aletheia_dead_letters": 7.0,
                "aletheia_tasks_total|text_embedding|succeeded": self.tasks,
                "aletheia_lane_waiting|media": 3.0,
            }
        )

    async def states(self) -> list[BreakerState]:
        """Return one breaker."""
        return [BreakerState(self.dependency, State.CLOSED, 1, None, self.reason)]

    async def providers(self) -> list[str]:
        """Return one provider."""
        return [self.provider]

    async def usage(self, provider: str) -> Mapping[Tier, TierUsage]:
        """Return the usage of one limit."""
        del provider
        return {Tier.DAY: TierUsage(10, 500, None, 2)}

    async def budgets(self, run_id: str | None = None) -> Sequence[BudgetUsage]:
        """Return one budget."""
        del run_id
        return [BudgetUsage(self.budget, Decimal(5), Decimal(1), None)]

    async def read(self, now: datetime) -> RunFigures:
        """Return runs and a worker."""
        return RunFigures(9, 2, 0, 1, 1, 40, 0, 0, 0, 1, 0, now, now)

    async def failures(self) -> int:
        """Return that the model answers."""
        return 0


class Outbox:
    """Says what a project lacks in the Brain."""

    def __init__(self, words: Words) -> None:
        self._project, self._reason = words.name("shop"), words.text("no route")

    async def states(self) -> list[BrainStatus]:
        """Return one project."""
        return [BrainStatus(self._project, 2, 0, 0, None, self._reason)]


async def fill(documents: Documents, clock: MovableClock, words: Words) -> None:
    """Save something for each source that reads the store."""
    error = {
        "code": BadAnswer.code,
        "dependency": "upstream",
        "since": clock() - 60,
        "message": words.name("an HTML page"),
    }
    row: dict[str, Any] = {
        "_id": "a",
        "task_id": "a",
        "state": "claimed",
        "owner": words.text("x"),
        "token": 1,
        "lease_until": clock() - 600,
        "claimed_at": clock() - 600,
        "report_error": error,
        "task": {"content": {"text": words.text("a text"), "file": words.text("a.pdf")}},
        "dead_message": words.text("it failed"),
    }
    flags = [
        {"_id": "clocks", "owner": words.name("other"), "ahead_s": 9.0, "seen_at": clock()},
        {"_id": "intake", "is_paused": False, "blocked_head": 0},
    ]
    report = {
        "items_created": 42,
        "departments_processed": 3,
        "iterations": 9,
        "note": words.text("a note"),
    }
    runs = [
        {"_id": "a", "state": "open", "opened_at": clock() - 90},
        {"_id": "b", "state": "completed", "opened_at": clock() - 300, "report": report},
    ]
    saved: dict[str, list[dict[str, Any]]] = {
        ROWS: [row],
        FLAGS: flags,
        MODELS: [
            {"_id": "local:a", "is_held": True, "memory_bytes": 300, "model": words.name("a")}
        ],
        "runs": runs,
        EVENTS: [_make_event(words)],
        DEAD_EVENTS: [{"_id": "p:1", "project": words.name("p"), "at": 1}],
        **_make_platform(clock, words),
    }
    for collection, rows in saved.items():
        await documents.insert(collection, rows)


def _make_event(words: Words) -> dict[str, Any]:
    said = {"type": "department_started", "department_name": words.text("Legal")}
    said |= {"webhook": words.text("https://example.org")}
    body = orjson.dumps(said).decode()
    return {"_id": "p:1", "project": words.name("p"), "seq": 1, "at": 1, "body": body}


def _make_platform(clock: MovableClock, words: Words) -> dict[str, list[dict[str, Any]]]:
    now = clock.now.isoformat()
    published = {"published_at": now, "caption": words.text("Hello"), "token": words.text("t")}
    return {
        "publish_history": [
            {"_id": "a", "status": "success", **published},
            {"_id": "b", "status": "failed", "error": words.text("refused"), **published},
        ],
        "clips": [
            {
                "_id": "a",
                "status": "ready",
                "platform": words.name("video"),
                "title": words.name("Clip"),
                "path": words.text("/clips/a.mp4"),
                "score": 68,
            }
        ],
        "campaigns": [{"_id": "a", "status": "active", "name": words.text("Spring")}],
        "alerts": [
            {
                "_id": "a",
                "severity": "warning",
                "status": "open",
                "message": words.text("disk"),
            }
        ],
        "platform_stats": [{"_id": "a", "platform": words.name("video"), words.name("views"): 3.0}],
        "rule_weights": [{"_id": "a", "rule": words.name("freshness"), "weight": 0.5}],
    }


async def make_collectors(
    documents: Documents, clock: MovableClock, words: Words
) -> list[Collector]:
    """Fill a store, and make all sources over it and over fakes."""
    ledger = Ledger(documents, IntakeSettings(), owner="test", clock=clock.both)
    await ledger.prepare()
    await fill(documents, clock, words)
    system = System(words)
    platform = Platform(EmbeddedPlatform(documents), PlatformSettings().names())
    return [
        sources.ledger_source(ledger, system.read_counters),
        sources.Telemetry(system.read_counters).source(),
        sources.lanes_source(ledger, system.read_counters),
        sources.breakers_source(system),
        sources.limits_source(system),
        sources.budgets_source(system),
        sources.brain_source(Outbox(words)),
        sources.models_source(documents, 1000),
        sources.gather_source(documents, runs="runs", is_open="open", is_done="completed"),
        sources.events_source(documents),
        sources.prefect_source(system),
        sources.reasoning_source(system.failures),
        platform.source(),
    ]
