"""One reasoning run: snapshot, findings, explanation, recommendations, plan, history (SPEC §5).

One at a time over all processes: whoever finds a run under way waits for its result instead.
"""

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aletheia import telemetry
from aletheia.documents import Documents
from aletheia.errors import Deferred, InvalidTask, Unavailable
from aletheia.metrics import REASONING_CLAIMS, REASONING_DURATION, REASONING_RUNS
from aletheia.reasoning.approvals import Approvals
from aletheia.reasoning.collecting import Collector, collect_snapshot
from aletheia.reasoning.explaining import Explained, Explainer
from aletheia.reasoning.findings import Finding, by_severity, find, keep_stale, score_of
from aletheia.reasoning.history import History
from aletheia.reasoning.models import (
    AIActionPlan,
    AIReasoningOutput,
    FoundProblem,
)
from aletheia.reasoning.plans import MAX_STEPS, build_plan
from aletheia.reasoning.recommendations import Recommendations, recommend
from aletheia.reasoning.references import Evidence
from aletheia.reasoning.rules.rule import Rule
from aletheia.reasoning.settings import FindingSettings, ReasoningSettings
from aletheia.reasoning.snapshot import SystemSnapshot
from aletheia.reasoning.summary import summarise
from aletheia.series import Counts, merged
from aletheia.store.clock import SYSTEM_CLOCK, Clock
from aletheia.store.lease import Lease, Leases, LeaseTerms

log = logging.getLogger(__name__)

LOCK: Final = "aletheia_reasoning_lock"

LEASE_S: Final = 60.0
WAIT_S: Final = 120.0
"""How long a caller waits for a run that is under way, seconds."""

_ID: Final = "system"
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class ReasoningDeps:
    """What a reasoning run works with."""

    documents: Documents
    collectors: Sequence[Collector]
    rules: Sequence[Rule]
    bounds: FindingSettings
    settings: ReasoningSettings
    explainer: Explainer | None  # `None`: the rules alone
    clock: Clock = SYSTEM_CLOCK

    @property
    def history(self) -> History:
        """The runs of the past."""
        return History(self.documents, clock=self.clock)

    @property
    def recommendations(self) -> Recommendations:
        """What people decided."""
        return Recommendations(self.documents, clock=self.clock)

    @property
    def approvals(self) -> Approvals:
        """The approvals of plans."""
        return Approvals(
            self.documents,
            ttl_s=self.settings.approval_ttl_seconds,
            lost_after_s=MAX_STEPS * self.settings.plan_step_timeout_seconds,
            clock=self.clock,
        )


@dataclass(frozen=True, slots=True)
class CurrentPlan:
    """The plan of the newest run, and what it answers, as it is now."""

    plan: AIActionPlan
    findings: Sequence[Finding]
    planned_at: datetime
    snapshot: SystemSnapshot
    traceparent: str | None = None  # of the run that made it


class Reasoner:
    """Reasons about one system."""

    def __init__(self, deps: ReasoningDeps) -> None:
        self.deps = deps
        self._leases = Leases(deps.documents, LOCK, LeaseTerms(LEASE_S), clock=deps.clock)

    async def prepare(self) -> None:
        """Make ready to run. Idempotent."""
        await self.deps.history.prepare()
        await self.deps.approvals.prepare()
        await self.deps.documents.insert(LOCK, [{"_id": _ID, **LeaseTerms(LEASE_S).released}])

    async def snapshot(self) -> SystemSnapshot:
        """Return a snapshot of the system as it is now."""
        timeout_s = self.deps.settings.collector_timeout_seconds
        return await collect_snapshot(
            self.deps.collectors, timeout_s=timeout_s, clock=self.deps.clock
        )

    async def take(self) -> Lease | None:
        """Take the lease that a run needs; `None` where another one is under way."""
        return await self._leases.take(_ID)

    async def run(self) -> AIReasoningOutput:
        """Run once, or return the result of the run that is under way.

        Raises:
            Deferred: that one has not ended within `WAIT_S`.
            Unavailable: the store is out of reach.
        """
        began, newest = self.deps.clock.steady_s(), await self.deps.history.newest()
        while (lease := await self.take()) is None:
            await asyncio.sleep(_POLL_S)
            latest = await self.deps.history.newest()
            if latest is not None and (newest is None or latest.timestamp > newest.timestamp):
                return latest
            if self.deps.clock.steady_s() - began > WAIT_S:
                raise ReasoningBusy
        async with lease.hold():
            return await self.reason(await self.snapshot())

    async def reason(self, snapshot: SystemSnapshot) -> AIReasoningOutput:
        """Reason about a snapshot and save the result; the caller has the lease."""
        with telemetry.span(telemetry.FINDING) as span:
            try:
                output = await self._reason(snapshot)
            except Exception:
                self.deps.documents.note(REASONING_RUNS.add("failed"))
                raise
            span.set_attribute(telemetry.FINDING_ID, [found.id for found in output.findings])
        return output

    async def _reason(self, snapshot: SystemSnapshot) -> AIReasoningOutput:
        began_s = self.deps.clock.steady_s()
        before = await self.deps.history.newest()
        findings = self.find(snapshot, before)
        rules = {rule.id: rule for rule in self.deps.rules}
        evidence = Evidence.of(
            snapshot,
            by_severity(findings),
            before=_baseline(before, snapshot, self.deps.settings),
            rules=self.deps.rules,
        )
        score = score_of(findings)
        explained = await self._explain(evidence, score)
        known = await self.deps.recommendations.sync(findings, rules)
        recommendations = recommend(findings, rules, known.rows, explained)
        plan = build_plan(
            recommendations, _answered(findings, [it.finding for it in recommendations])
        )
        output = AIReasoningOutput(
            reasoning_id=str(uuid.uuid4()),
            timestamp=snapshot.timestamp,
            snapshot=snapshot,
            summary=summarise(
                snapshot,
                evidence,
                _shifted(score, explained.shift, findings),
                explained,
                before=before,
                outcomes=known.outcomes,
            ),
            recommendations=tuple(recommendations),
            action_plan=plan,
            execution_time_ms=round((self.deps.clock.steady_s() - began_s) * 1000),
            findings=tuple(FoundProblem.of(finding) for finding in by_severity(findings)),
            explained_by=explained.model if explained.kept else "rules",
            mock=bool(explained.kept) and explained.is_mock,
            dropped_claims=dict(explained.dropped),
        )
        took_s = self.deps.clock.steady_s() - began_s
        await self.deps.history.save(output, before, counts=_count(explained, took_s))
        return output

    def find(self, snapshot: SystemSnapshot, before: AIReasoningOutput | None) -> list[Finding]:
        """Return what the rules find, and what a source that failed showed before."""
        findings = find(snapshot.view, self.deps.bounds, rules=self.deps.rules)
        return keep_stale(findings, [] if before is None else before.found, snapshot)

    async def current_plan(self, plan_id: str) -> CurrentPlan:
        """Return the plan of the newest run, and the findings that it answers, as they are now.

        They are found anew, since the newest run may be old.

        Raises:
            InvalidTask: `unknown_plan`: it is another one by now, or there is none.
        """
        newest = await self.deps.history.newest()
        if newest is None or newest.action_plan.plan_id != plan_id:
            raise InvalidTask("unknown_plan", f"the plan of the newest run is not {plan_id[:60]!r}")
        snapshot = await self.snapshot()
        answered = [item.finding for item in newest.recommendations]
        findings = _answered(self.find(snapshot, newest), answered)
        trace = await self.deps.history.newest_trace()
        return CurrentPlan(newest.action_plan, findings, newest.timestamp, snapshot, trace)

    async def _explain(self, evidence: Evidence, score: float) -> Explained:
        explainer = self.deps.explainer
        if explainer is None:
            return Explained()
        try:
            return await explainer.explain(evidence, score)
        except Unavailable:
            raise
        except Exception:
            log.exception("the explanation went wrong; the rules' own stands")
            return Explained()


@dataclass(eq=False)
class ReasoningBusy(Deferred):
    """Another reasoning run is under way and does not end."""

    code = "reasoning_busy"
    sentence = "another reasoning run is under way and has not ended in time"

    until: datetime | None = None


def _shifted(score: float, shift: float, findings: Sequence[Finding]) -> float:
    """Return the score with what a model moves it by; a critical finding lets it only fall."""
    if any(finding.severity == "critical" for finding in findings):
        shift = min(shift, 0.0)
    return round(max(0.0, min(100.0, score + shift)), 2)


def _baseline(
    before: AIReasoningOutput | None, snapshot: SystemSnapshot, settings: ReasoningSettings
) -> SystemSnapshot | None:
    """Return the snapshot that changes are measured against; an old one says nothing of now."""
    if before is None:
        return None
    max_age = timedelta(seconds=2 * settings.ai_worker_max_age_seconds)
    age = snapshot.timestamp - before.timestamp
    return before.snapshot if timedelta(0) < age <= max_age else None


def _count(explained: Explained, took_s: float) -> Counts:
    """Return what a run adds to counters; the claims of an answer are counted once."""
    counts = [
        REASONING_RUNS.add("model" if explained.kept else "rules"),
        REASONING_DURATION.observe(amount=took_s),
    ]
    if explained.is_new:
        kept, dropped = explained.kept, explained.dropped.total()
        counts.append(REASONING_CLAIMS.add("kept", by=kept))
        counts.append(REASONING_CLAIMS.add("dropped", by=dropped))
    return merged(*counts)


def _answered(findings: Sequence[Finding], ids: Sequence[str]) -> list[Finding]:
    return [finding for finding in findings if finding.id in ids]
