"""What a claim refers to: a value of the snapshot, a bound, or a finding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from aletheia.reasoning.aliases import Aliases
from aletheia.reasoning.catalogue import (
    MEASURES,
    Measure,
    entity_of,
    entity_path,
    listed_paths,
    measure_of,
    pattern_of,
)
from aletheia.reasoning.findings import RULES, Finding
from aletheia.reasoning.rules.rule import Rule
from aletheia.reasoning.snapshot import SystemSnapshot, View
from aletheia.reasoning.wording import COMPARING, FORBIDDEN, Form, words_of

BOUNDS: Final = "bounds."
"""How the reference to a finding's bound begins; the id of its rule follows."""

_BOUND_WORDS: Final = frozenset({"bound", "limit", "threshold", "its"})


class Unsupported(Exception):
    """A claim that is dropped; `args[0]` says why, in a stable word."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that a claim refers to; for a finding `measure` and the numbers are `None`."""

    words: frozenset[str]  # those that a sentence about it may use
    paths: tuple[str, ...]  # the paths it is about
    measure: Measure | None = None
    path: str = ""  # of a value
    entity: str = ""
    value: float | None = None
    before: float | None = None  # the value of the snapshot before
    finding: Finding | None = None  # the finding itself, or the one whose bound it is
    is_bound: bool = False

    @property
    def number(self) -> tuple[Measure, float]:
        """What is compared. Raises `Unsupported`: it is no number."""
        if self.measure is None or self.value is None:
            raise Unsupported("wrong_form")
        return self.measure, self.value

    def count(self, form: Form) -> float | None:
        """Return 1 where what stands for it is one thing, else 2; `None` where either may be."""
        if self.measure is None or self.value is None or form not in ("", "name"):
            return None
        is_one = not self.measure.one or (form == "" and self.value == 1)
        return 1 if is_one or self.is_bound else 2

    def write(self, form: Form) -> str:
        """Return what stands for it in a sentence. Raises `Unsupported`: it has no such form."""
        if self.measure is None or self.value is None:
            if self.finding is None or form not in ("", "name"):
                raise Unsupported("wrong_form")
            return self.finding.title if form else self.finding.text
        if self.is_bound:
            return f"the bound of {self.measure.amount(self.value)}"
        match form:
            case "name":
                return self.measure.title(self.entity)
            case "value":
                return self.measure.amount(self.value)
            case "before":
                if self.before is None:
                    raise Unsupported("no_baseline")
                return self.measure.amount(self.before)
            case _:
                return self.measure.phrase(self.value, self.entity)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What claims are checked against: this snapshot, the one before, and what was found."""

    view: View
    findings: Mapping[str, Finding]  # by the id of their rule
    rules: Mapping[str, Rule]
    aliases: Aliases
    before: View | None = None
    before_at: datetime | None = None
    guarded: frozenset[str] = field(default_factory=frozenset[str])  # patterns that rules rest on

    @classmethod
    def of(
        cls,
        snapshot: SystemSnapshot,
        findings: Sequence[Finding],
        *,
        before: SystemSnapshot | None = None,
        rules: Sequence[Rule] = RULES,
        guarded: frozenset[str] = frozenset(),
    ) -> "Evidence":
        """Return the evidence that a snapshot and its findings are."""
        aliases = Aliases.of(listed_paths(snapshot.view))
        return cls(
            view=snapshot.view,
            findings={finding.id: finding for finding in findings},
            rules={rule.id: rule for rule in rules},
            aliases=aliases,
            before=None if before is None else before.view,
            before_at=None if before is None else before.timestamp,
            guarded=guarded or GUARDED,
        )

    def with_aliases(self, aliases: Aliases) -> "Evidence":
        """Return the same evidence for an answer that was given with other aliases."""
        return replace(self, aliases=aliases)

    def is_flagged(self, path: str) -> bool:
        """Return whether a finding rests on the value at a path."""
        return any(path in finding.evidence for finding in self.findings.values())

    def is_troubled(self, path: str) -> bool:
        """Return whether a finding rests on a value, or on another one of the same entity."""
        entity = entity_path(path)
        return self.is_flagged(path) or any(
            entity and resting.startswith(f"{entity}.")
            for finding in self.findings.values()
            for resting in finding.evidence
        )

    def resolve(self, ref: str) -> Reference:
        """Return what a reference means. Raises `Unsupported`: `unknown_ref`, `stale`."""
        if ref in self.findings:
            return self._resolve_finding(self.findings[ref])
        if ref.startswith(BOUNDS):
            return self._resolve_bound(ref.removeprefix(BOUNDS))
        path = self.aliases.reveal(ref)
        measure = measure_of(path) if path else None
        value = self.view.number(path) if path else None
        if measure is None or value is None:
            raise Unsupported("unknown_ref")
        return Reference(
            words=_usable(measure.words),
            paths=(path,),
            measure=measure,
            path=path,
            entity=entity_of(path, self.view),
            value=value,
            before=None if self.before is None else self.before.number(path),
        )

    def _resolve_finding(self, finding: Finding) -> Reference:
        if finding.is_stale:
            raise Unsupported("stale")
        words = words_of(finding.title)
        if words & FORBIDDEN:  # without its "no" or "nearly" a title says something else
            words = frozenset[str]()
        return Reference(_usable(words), tuple(finding.evidence), finding=finding)

    def _resolve_bound(self, rule_id: str) -> Reference:
        finding = self.findings.get(rule_id)
        path = next(iter(finding.evidence), "") if finding is not None else ""
        measure = measure_of(path)
        if finding is None or finding.limit is None or measure is None:
            raise Unsupported("unknown_ref")
        if finding.is_stale:
            raise Unsupported("stale")
        return Reference(
            words=_usable(_BOUND_WORDS | measure.words),
            paths=(path,),
            measure=measure,
            value=finding.limit,
            finding=finding,
            is_bound=True,
        )


def _usable(words: frozenset[str]) -> frozenset[str]:
    return words - FORBIDDEN - COMPARING


def is_ambiguous(reference: Reference, used: frozenset[str]) -> bool:
    """Return whether the words used for a value name another one rather than this one."""
    if reference.measure is None or reference.is_bound:
        return False
    own, pattern = reference.measure.own_words, pattern_of(reference.path)
    return any(
        other.own_words <= used and not (own - other.own_words) & used
        for name, other in MEASURES.items()
        if name != pattern
    )


GUARDED: Final = frozenset(
    {
        *("queue_pending", "queue_failed", "scheduler_pending", "jobs_pending", "jobs_failed"),
        *("publish_success_rate", "publish_failed_24h", "publish_total_24h", "clips_ready"),
        *("clips_pending_analysis", "campaigns_active", "campaigns_draft", "alerts_critical"),
        "alerts_warning",
        *(pattern for pattern, it in MEASURES.items() if "." in pattern and it.worse),
    }
)
"""Patterns of values that a rule of ours rests on: of them alone praise is possible."""
