"""Events about the system itself, for automations: what became true, and what was said (SPEC §7).

They are derived from what stands in the store, and each is known by a key that follows from it. So
any process may derive them at any time: one that was sent is not sent again, and one that could not
be sent is derived anew the next time. A process that dies between sending and writing that down
sends it twice; its id is the same.
"""

import logging
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from pydantic import BaseModel

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import Refused
from aletheia.intake.models import ShiftReport
from aletheia.intake.rows import ROWS
from aletheia.llm.usage import BudgetUsage
from aletheia.reasoning.findings import Health
from aletheia.reasoning.models import AIReasoningOutput
from aletheia.reasoning.rules.rule import Severity
from aletheia.resilience.breaker import BreakerState, State
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds, moment

log = logging.getLogger(__name__)

ANNOUNCED: Final = "aletheia_announced_events"

MAX_AT_ONCE: Final = 200
"""Events that are sent, and dead letters that are read, at once."""

OVERLAP_S: Final = 120.0
"""How far before the last reading of dead letters the next one begins, seconds: clocks differ, and
a write may become visible late."""

MAX_ID_CHARS: Final = 256
"""Longest part of a resource's id that is somebody else's, such as that of a task."""

_DEAD_LETTERS: Final = "mark:dead_letters"
_REASONING: Final = "mark:reasoning"
"""Rows beside those of events, which are never old: how far each of these was announced."""


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """Something that became true of the system.

    Attributes:
        name: what happened, after `aletheia.`, such as `breaker.opened`.
        subject: what it happened to, after `aletheia.`, such as `breaker.openai`.
        key: what tells it apart from other events of its name.
        at: when it became true, as far as that is known.
        payload: facts; never the content of a task, and no message of somebody else's.
    """

    name: str
    subject: str
    key: str
    at: datetime
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def id(self) -> str:
        """Its name among all events."""
        return f"{self.name}:{self.key}"


class AnnouncedRun(BaseModel, frozen=True):
    """The last reasoning run that was announced."""

    health: Health
    findings: dict[str, tuple[Severity, str]]  # severity and title, by the ids of their rules
    plan_id: str  # empty where it had no step

    @classmethod
    def of(cls, output: AIReasoningOutput) -> "AnnouncedRun":
        """Return what is announced of a run."""
        findings: dict[str, tuple[Severity, str]] = {
            found.id: (found.severity, found.title) for found in output.findings
        }
        plan = output.action_plan
        plan_id = plan.plan_id if plan.steps else ""
        return cls(health=output.summary.overall_health, findings=findings, plan_id=plan_id)


class SystemEventSink(Protocol):
    """Takes events about the system."""

    async def announce(self, events: Sequence[SystemEvent]) -> None:
        """Send events, and return when the receiver has them.

        Raises:
            Refused: the receiver will never take them.
            Unavailable: it may take them later.
        """
        ...


class Announcer:
    """Sends events about the system to a sink, each once."""

    def __init__(
        self, documents: Documents, sink: SystemEventSink, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._documents, self._sink, self._clock = documents, sink, clock
        self._known: set[str] = set()

    async def prepare(self) -> None:
        """Make purging fast. Idempotent."""
        await self._documents.ensure_index(ANNOUNCED, ["at"])

    async def announce(self, events: Sequence[SystemEvent]) -> list[SystemEvent]:
        """Send those of some events that were not sent; return them.

        One that the receiver refuses is left out for good.

        Raises:
            Unavailable: the receiver, or the store, is away.
        """
        known = await self.find_sent([event.id for event in events])
        new = [event for event in events if event.id not in known]
        sent: list[SystemEvent] = []
        for start in range(0, len(new), MAX_AT_ONCE):
            page = new[start : start + MAX_AT_ONCE]
            sent += await self._send(page)
            at = self._clock.now()
            rows: list[Document] = [{"_id": event.id, "at": at} for event in page]
            await self._documents.insert(ANNOUNCED, rows)
            self._known.update(event.id for event in page)
        return sent

    async def _send(self, page: Sequence[SystemEvent]) -> list[SystemEvent]:
        """Send events at once; where that is refused, each alone; return those that were taken."""
        try:
            await self._sink.announce(page)
        except Refused as refusal:
            if len(page) == 1:
                log.error("the event %s is refused, and not sent: %s", page[0].id, refusal)  # noqa: TRY400 - the message says all
                return []
            return [event for single in page for event in await self._send([single])]
        return list(page)

    async def find_sent(self, ids: Collection[str]) -> set[str]:
        """Return those of some events' ids that were sent, by any process."""
        unknown = [id_ for id_ in dict.fromkeys(ids) if id_ not in self._known]
        if unknown:
            self._known.update(await self._documents.get(ANNOUNCED, unknown))
        return self._known & set(ids)

    async def announce_changes(
        self,
        breakers: Sequence[BreakerState],
        budgets: Sequence[BudgetUsage],
        *,
        near: float,
        run_id: str | None = None,
    ) -> list[SystemEvent]:
        """Send what breakers, budgets and dead letters came to since the last time; return it.

        `near`: the share of a budget from which on it is nearly spent; `run_id`: of the run whose
        budgets are among them.
        """
        now = self._clock.now()
        opened = await self.find_sent([_opening_id(state) for state in breakers])
        changes = [
            *derive_breaker_events(breakers, opened, at=moment(now)),
            *derive_budget_events(budgets, near=near, at=moment(now), run_id=run_id),
        ]
        sent = await self.announce(changes)
        async for page in self._walk_dead_letters(now):
            sent += await self.announce(page)
        mark = Update(_DEAD_LETTERS, Change(set={"through": now}))
        await self._documents.upsert(ANNOUNCED, [mark])
        return sent

    async def announce_reasoning(self, output: AIReasoningOutput) -> list[SystemEvent]:
        """Send what differs from the reasoning run that was announced last; return it."""
        found = (await self._documents.get(ANNOUNCED, [_REASONING])).get(_REASONING)
        before = None if found is None else AnnouncedRun.model_validate_json(found["run"])
        sent = await self.announce(list(derive_reasoning_events(output, before)))
        announced = AnnouncedRun.of(output)
        if announced != before:
            change = Change(set={"run": announced.model_dump_json()})
            await self._documents.upsert(ANNOUNCED, [Update(_REASONING, change)])
        return sent

    async def purge(self, older_than_s: float) -> int:
        """Forget which events were sent so long ago; return how many."""
        old = {"at": {"$lt": self._clock.now() - microseconds(older_than_s)}}
        return await self._documents.delete(ANNOUNCED, old, limit=10_000)

    async def _walk_dead_letters(self, now: int) -> AsyncIterator[list[SystemEvent]]:
        """Yield the dead letters since the last time, page by page, oldest first.

        The first time of all it begins now: what is older is no news.
        """
        found = await self._documents.get(ANNOUNCED, [_DEAD_LETTERS])
        begun = int(found.get(_DEAD_LETTERS, {}).get("through", now))
        since_s, limit = moment(begun).timestamp() - OVERLAP_S, MAX_AT_ONCE
        while True:
            where = {"dead_code": {"$gt": ""}, "dead_at": {"$gte": since_s}}
            rows = await self._documents.find(ROWS, where, sort="dead_at", limit=limit)
            yield [describe_dead_letter(row) for row in rows]
            if len(rows) < limit:
                return
            # Those of one batch may all have died at the same moment.
            limit = limit * 2 if rows[-1]["dead_at"] <= since_s else MAX_AT_ONCE
            since_s = rows[-1]["dead_at"]


def derive_breaker_events(
    states: Sequence[BreakerState], opened: Collection[str], *, at: datetime
) -> Iterator[SystemEvent]:
    """Yield that breakers are open, and that those closed of which it was said that they opened.

    `opened`: ids of events that were sent.
    """
    for state in states:
        subject = f"breaker.{state.dependency[:MAX_ID_CHARS]}"
        facts = {"dependency": state.dependency, "state": str(state.state)}
        if state.state is not State.CLOSED:
            facts["failures"] = str(state.failures)
            key = f"{state.dependency}:{state.generation}"
            yield SystemEvent("breaker.opened", subject, key, at, facts)
        elif _opening_id(state) in opened:
            key = f"{state.dependency}:{state.generation}"
            yield SystemEvent("breaker.closed", subject, key, at, facts)


def _opening_id(state: BreakerState) -> str:
    """Return the id of the event that a breaker opened, the last time before its state."""
    is_closed = state.state is State.CLOSED
    return f"breaker.opened:{state.dependency}:{state.generation - is_closed}"


def derive_budget_events(
    budgets: Sequence[BudgetUsage], *, near: float, at: datetime, run_id: str | None = None
) -> Iterator[SystemEvent]:
    """Yield which budgets are nearly spent, or spent: each once until it begins anew.

    `run_id`: of the run that the budgets are of which have no such moment.
    """
    for budget in budgets:
        if budget.limit is None:
            continue
        until = "" if budget.until is None else budget.until.isoformat()
        share = float(budget.spent / budget.limit) if budget.limit else 1.0
        facts = {
            "budget": budget.name,
            "spent": float(budget.spent),
            "limit": float(budget.limit),
            "until": until or None,
        }
        for name, bound in (("budget.near", near), ("budget.spent", 1.0)):
            if share >= bound:
                # A budget that was raised may come near once more.
                key = f"{budget.name}:{budget.limit}:{until or run_id}"
                yield SystemEvent(name, f"budget.{budget.name}", key, at, facts)


def describe_dead_letter(row: Document) -> SystemEvent:
    """Return that a task became a dead letter; what it says of itself may be anybody's."""
    return SystemEvent(
        "dead_letter.created",
        f"task.{row['task_id'][:MAX_ID_CHARS]}",
        f"{row['_id']}:{row['dead_at']}",
        moment(microseconds(row["dead_at"])),
        {
            "task_id": row["task_id"].replace("\0", "?"),
            "type": row.get("type") or "",
            "code": row["dead_code"],
        },
    )


def describe_shift_start(run_id: str, at: datetime) -> SystemEvent:
    """Return that the shift of a run began."""
    return SystemEvent("shift.started", f"shift.{run_id}", run_id, at, {"run_id": run_id})


def describe_shift_end(run_id: str, attempt: int, report: ShiftReport, at: datetime) -> SystemEvent:
    """Return that the shift of a run ended, and with what."""
    tally = report.tally
    facts = {
        "run_id": run_id,
        "ended": report.ended,
        "seconds": report.seconds,
        "ticks": report.ticks,
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "dead": tally.dead,
    }
    return SystemEvent("shift.ended", f"shift.{run_id}", f"{run_id}:{attempt}", at, facts)


def derive_reasoning_events(
    output: AIReasoningOutput, before: AnnouncedRun | None
) -> Iterator[SystemEvent]:
    """Yield what differs from the run that was announced last: health, findings, and the plan."""
    run, at, now = output.reasoning_id, output.timestamp, AnnouncedRun.of(output)
    known = {} if before is None else before.findings
    if before is None or now.health != before.health:
        facts = {
            "health": now.health,
            "before": None if before is None else before.health,
            "score": output.summary.health_score,
            "reasoning_id": run,
        }
        yield SystemEvent("reasoning.health_changed", "system", run, at, facts)
    for name, those, others in (
        ("reasoning.finding_opened", now.findings, known),
        ("reasoning.finding_closed", known, now.findings),
    ):
        for id_ in sorted(set(those) - set(others)):
            severity, title = those[id_]
            facts = {"finding": id_, "severity": severity, "title": title}
            yield SystemEvent(name, f"finding.{id_}", f"{run}:{id_}", at, facts)
    if now.plan_id and (before is None or now.plan_id != before.plan_id):
        plan = output.action_plan
        facts = {"plan_id": plan.plan_id, "steps": len(plan.steps), "risk": plan.risk_level}
        key = f"{run}:{plan.plan_id}"
        yield SystemEvent("reasoning.plan_proposed", f"plan.{plan.plan_id}", key, at, facts)


def describe_plan_event(what: str, plan_id: str, approval_id: str, at: datetime) -> SystemEvent:
    """Return what became of an approved plan; `what`: `begun`, `done` or `failed`."""
    facts = {"plan_id": plan_id, "approval_id": approval_id}
    return SystemEvent(f"reasoning.plan_{what}", f"plan.{plan_id}", approval_id, at, facts)
