"""Findings: what needs attention, by stated rules over a snapshot, and the score (SPEC §5).

A finding's text stands by itself; its evidence names the values that it rests on, by their paths in
the snapshot. The score is 100 less what each finding costs, so that a further finding, or a worse
one, never raises it. A source that failed does not hide what it showed before: its last findings
stay, marked as stale.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal, TypeAlias, cast

from aletheia.errors import Misconfigured
from aletheia.reasoning.rules import gathering, platform, providers, queue, runs
from aletheia.reasoning.rules.rule import SEVERITIES, Rule, Severity
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import SystemSnapshot, View

log = logging.getLogger(__name__)

Health: TypeAlias = Literal["excellent", "good", "warning", "critical"]

GROUP: Final = "aletheia.findings"
"""Entry points of rules from other packages: a `Rule`, or a list of them."""

RULES: Final[tuple[Rule, ...]] = (
    *queue.RULES,
    *runs.RULES,
    *platform.RULES,
    *providers.RULES,
    *gathering.RULES,
)
"""The rules that come with Aletheia, in the order in which their findings are listed."""

WEIGHTS: Final[Mapping[Severity, float]] = {"critical": 30, "high": 15, "medium": 7, "low": 2}
"""What a finding costs the score, points, unless its rule says otherwise."""

MAX_SCORE: Final = 100.0

EXCELLENT_FROM: Final = 90.0
GOOD_FROM: Final = 70.0
WARNING_FROM: Final = 40.0
"""Scores from which the health has its name; below the last one it is critical."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that needs attention."""

    id: str  # of its rule
    severity: Severity
    text: str
    evidence: Mapping[str, object]  # by path
    source: str = ""  # what its rule depends on
    title: str = ""  # what was found, without a figure
    limit: float | None = None  # the bound that is reached, in the unit of the first evidence
    weight: float | None = None  # what it costs the score; `None`: by its severity
    is_stale: bool = False  # its source failed; this is what it showed before

    def __str__(self) -> str:
        return f"{self.severity}, {self.id}: {self.text}"

    @property
    def cost(self) -> float:
        """What it costs the score, points, 0 at least."""
        return max(0.0, WEIGHTS[self.severity] if self.weight is None else self.weight)

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "id": self.id,
            "severity": self.severity,
            "text": self.text,
            "evidence": dict(self.evidence),
            "source": self.source,
            "title": self.title,
            "limit": self.limit,
            "weight": self.weight,
            "is_stale": self.is_stale,
        }


def find(view: View, settings: FindingSettings, *, rules: Sequence[Rule] = RULES) -> list[Finding]:
    """Return what the rules find, in their order; nothing where all is well.

    A rule that raises, as one of another package may, is logged and finds nothing.
    """
    findings: list[Finding] = []
    for rule in rules:
        try:
            found = rule.check(view, settings)
        except Exception:
            log.exception("rule %s went wrong", rule.id)
            continue
        if found is not None:
            parts = (rule.id, found.severity, found.text, found.evidence)
            findings.append(Finding(*parts, rule.source, rule.title, found.limit, rule.weight))
    return findings


def keep_stale(
    findings: Sequence[Finding], before: Iterable[Finding], snapshot: SystemSnapshot
) -> list[Finding]:
    """Return the findings, and behind them those of before whose source has failed since."""
    known, failed = {finding.id for finding in findings}, snapshot.failed_sources
    stale = [
        replace(finding, is_stale=True)
        for finding in before
        if finding.source in failed and finding.id not in known
    ]
    return [*findings, *stale]


def score_of(findings: Iterable[Finding]) -> float:
    """Return the health score, 0 to 100; a further or a worse finding never raises it."""
    return round(max(0.0, MAX_SCORE - sum(finding.cost for finding in findings)), 2)


def health_of(score: float, findings: Iterable[Finding]) -> Health:
    """Return the health by its name; with a critical finding it is a warning at best."""
    if score < WARNING_FROM:
        return "critical"
    if score < GOOD_FROM or any(finding.severity == "critical" for finding in findings):
        return "warning"
    return "excellent" if score >= EXCELLENT_FROM else "good"


def digest_of(findings: Iterable[Finding]) -> str:
    """Return the SHA-256 of what was found: rules and severities, not the values, hexadecimal."""
    found = sorted((finding.id, finding.severity) for finding in findings)
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the worst first, otherwise in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def load_rules(points: Iterable[EntryPoint] | None = None) -> tuple[Rule, ...]:
    """Return our rules and those of other packages; ours stay as they are.

    `points`: the entry points; `None` takes those of what is installed.

    Raises:
        Misconfigured: an entry point is no rule, or takes the id of another one.
    """
    rules = {rule.id: rule for rule in RULES}
    for point in entry_points(group=GROUP) if points is None else points:
        try:
            loaded: Any = point.load()
        except Exception as error:
            raise Misconfigured(
                f"entry point {point.name}", f"cannot be loaded: {error}"
            ) from error
        many = cast("list[object]", loaded if isinstance(loaded, list | tuple) else [loaded])
        for rule in many:
            if not isinstance(rule, Rule):
                raise Misconfigured(f"entry point {point.name}", f"is no Rule: {rule!r}")
            if rule.id in rules:
                reason = f"there is a rule {rule.id!r} already"
                raise Misconfigured(f"entry point {point.name}", reason)
            rules[rule.id] = rule
    return tuple(rules.values())
