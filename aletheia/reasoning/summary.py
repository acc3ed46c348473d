"""The summary of a reasoning run: what changed first, then what a model and the rules say."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import Final

from aletheia.reasoning.catalogue import entity_of, measure_of
from aletheia.reasoning.explaining import Explained
from aletheia.reasoning.findings import Finding, by_severity, health_of
from aletheia.reasoning.models import MAX_INSIGHTS, AIReasoningOutput, AISummary
from aletheia.reasoning.references import Evidence
from aletheia.reasoning.rules.rule import SEVERITIES
from aletheia.reasoning.snapshot import SystemSnapshot
from aletheia.text.grammar import agree

MAX_CONCERNS: Final = 10
MAX_POSITIVES: Final = 5
MAX_CHANGES: Final = 2
"""Insights about what changed; each may name several findings."""

MAX_NAMED: Final = 4
"""Findings that one sentence names."""

_METRICS: Final = "additional_metrics"
_FACTS: Final = (
    ("queue_success", "queue_pending", "queue_processing", "queue_failed"),
    (
        f"{_METRICS}.gather.last_items_created",
        f"{_METRICS}.gather.last_departments_processed",
        f"{_METRICS}.gather.last_iterations",
    ),
    ("orchestrator_actions_last_24h", f"{_METRICS}.prefect.running", "jobs_failed"),
    ("publish_total_24h", "publish_success_rate", "clips_ready", "campaigns_active"),
)
"""What the rules' own sentences say, each of some values that belong together."""

_GUARDED: Final = (
    *("publish_success_rate", f"{_METRICS}.prefect.workers_online", "queue_pending"),
    *("queue_failed", "alerts_critical", "jobs_failed", "clips_ready", "campaigns_active"),
)
"""Values that go well where no rule finds anything about them, the most telling first."""

_BAD_AT_ALL: Final = frozenset({"queue_failed", "alerts_critical", "jobs_failed"})
"""Those of them that go well only where there is none: a few are within bounds, but not good."""


def summarise(
    snapshot: SystemSnapshot,
    evidence: Evidence,
    score: float,
    explained: Explained,
    *,
    before: AIReasoningOutput | None,
    outcomes: Sequence[str] = (),
) -> AISummary:
    """Return the summary of a snapshot, with its score, 0 to 100.

    `outcomes`: what became of the findings whose recommendations were carried out lately.
    """
    findings = list(evidence.findings.values())
    insights = [
        *describe_changes(findings, before)[:MAX_CHANGES],
        *outcomes[:1],
        *explained.insights[: MAX_INSIGHTS - MAX_CHANGES],
        *describe_facts(evidence, said=explained.insights),
        _count_findings(findings),
        f"The health score is {score:.0f} of 100.",
    ]
    positives = [*explained.positives, *_list_positives(evidence, said=explained.positives)]
    return AISummary(
        overall_health=health_of(score, findings),
        health_score=score,
        key_insights=tuple(dict.fromkeys(insights))[:MAX_INSIGHTS],
        concerns=tuple(_list_concerns(findings, explained)),
        positives=tuple(positives[:MAX_POSITIVES]),
        generated_at=snapshot.timestamp,
    )


def describe_changes(findings: Sequence[Finding], before: AIReasoningOutput | None) -> list[str]:
    """Return what differs from the findings of the run before, the worst first."""
    if before is None:
        return ["This is the first reasoning run."]
    at = _moment(before.timestamp)
    known = {problem.id: problem for problem in before.findings}
    now = {finding.id: finding for finding in findings}
    new = [finding for finding in by_severity(findings) if finding.id not in known]
    gone = [problem for id_, problem in known.items() if id_ not in now]
    worse = [
        finding
        for finding in by_severity(findings)
        if finding.id in known and _rank(finding.severity) < _rank(known[finding.id].severity)
    ]
    better = [
        finding
        for finding in by_severity(findings)
        if finding.id in known and _rank(finding.severity) > _rank(known[finding.id].severity)
    ]
    changes: list[str] = []
    if new:
        changes.append(f"New since {at}: {_name([finding.text for finding in new])}.")
    if worse:
        changes.append(f"Worse since {at}: {_name([finding.text for finding in worse])}.")
    if gone:
        titles = [problem.title or problem.id for problem in gone]
        changes.append(f"Gone since {at}: {_name(titles)}.")
    if better:
        changes.append(f"Better since {at}: {_name([finding.text for finding in better])}.")
    if not changes:
        changes.append(f"The findings are the same as at {at}.")
    return changes


def describe_facts(evidence: Evidence, *, said: Sequence[str] = ()) -> list[str]:
    """Return sentences with the values that are known, each of some that belong together.

    Values that stand in the sentences of `said` are left out; the sentences with none of these come
    first.
    """
    found: list[tuple[int, str]] = []
    for paths in _FACTS:
        phrases = [phrase for path in paths if (phrase := describe_value(path, evidence))]
        new = [phrase for phrase in phrases if not any(phrase in sentence for sentence in said)]
        if new:
            joined = ", ".join(new)
            sentence = f"{joined[:1].upper()}{joined[1:]}."
            found.append((len(phrases) - len(new), sentence))
    return [sentence for _, sentence in sorted(found, key=itemgetter(0))]


def describe_value(path: str, evidence: Evidence) -> str:
    """Return a value with what it is, an empty text where it is not known."""
    measure, value = measure_of(path), evidence.view.number(path)
    if measure is None or value is None:
        return ""
    return measure.phrase(value, entity_of(path, evidence.view))


def _list_concerns(findings: Sequence[Finding], explained: Explained) -> list[str]:
    """Return the model's concerns, and the rules' text of whatever is critical or left out."""
    own = [
        f"{finding.text[:1].upper()}{finding.text[1:]}."
        + (" (as it was last seen; its source fails)" if finding.is_stale else "")
        for finding in by_severity(findings)
        if not explained.concerns or finding.severity in ("critical", "high")
    ]
    return list(dict.fromkeys(chain(explained.concerns, own)))[:MAX_CONCERNS]


def _list_positives(evidence: Evidence, *, said: Sequence[str]) -> list[str]:
    sentences: list[str] = []
    for path in _GUARDED:
        phrase = describe_value(path, evidence)
        is_new = not any(phrase.lower() in sentence.lower() for sentence in said)
        is_good = path not in _BAD_AT_ALL or not evidence.view.number(path)
        if phrase and is_new and is_good and not evidence.is_flagged(path):
            sentences.append(f"{phrase[:1].upper()}{phrase[1:]}: within bounds.")
    return sentences


def _count_findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return "The rules find nothing that needs attention."
    counts = [
        f"{count} {severity}"
        for severity in SEVERITIES
        if (count := sum(finding.severity == severity for finding in findings))
    ]
    counted = agree(f"{len(findings)} [finding|findings]", len(findings))
    return f"{counted}: {', '.join(counts)}."


def _name(texts: Sequence[str]) -> str:
    left = len(texts) - MAX_NAMED
    named = "; ".join(texts[:MAX_NAMED])
    return f"{named}; and {left} more" if left > 0 else named


def _rank(severity: str) -> int:
    return list[str](SEVERITIES).index(severity)


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
