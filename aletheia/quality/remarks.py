"""Findings and suggestions of an evaluation, of which only those are taken whose citations hold."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

from pydantic import ValidationError

from aletheia.errors import AletheiaError
from aletheia.llm.asking import check_finish
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import Completion, Fault
from aletheia.llm.structured import MAX_ERROR_CHARS, explain, find_json
from aletheia.quality.aspects import WHOLE
from aletheia.quality.prompts.evaluate_department import (
    MAX_REMARKS,
    JudgedFinding,
    JudgedSuggestion,
    Severity,
)
from aletheia.quality.scores import Part, Quality

Source: TypeAlias = Literal["counted", "judge"]

_JudgedT = TypeVar("_JudgedT", bound=JudgedSuggestion)

_RANKS: Final[Mapping[Severity, int]] = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True)
class Suggestion:
    """What would make a department better."""

    source: Source
    part: Part
    text: str  # one sentence
    item_ids: tuple[str, ...]  # at most `MAX_IDS`; empty only if `aspect` has no item
    aspect: str = ""  # that it is about, if any

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"item_ids": list(self.item_ids)}


@dataclass(frozen=True)
class Finding(Suggestion):
    """Something that is wrong."""

    severity: Severity = field(kw_only=True)


class Remarks:
    """Collects findings and suggestions that cite only these items."""

    def __init__(self, ids: set[str]) -> None:
        self._ids = ids
        self.findings: list[Finding] = []
        self.suggestions: list[Suggestion] = []
        self.faults: list[Fault] = []  # why something of a model's answer was not taken
        self.is_mock = False

    def ranked_findings(self) -> tuple[Finding, ...]:
        """Return the findings, the most severe first."""
        return tuple(sorted(self.findings, key=lambda finding: _RANKS[finding.severity]))

    def count(self, counted: Quality) -> None:
        """Add what the estimators found."""
        for aspect in counted.parts["coverage"].evidence["aspects"]:
            if aspect["covered"] < 1:
                self._add_gap(aspect)
        coherence = counted.parts["coherence"].evidence
        self._add_items("coherence", "high", "items without substance", coherence["fillers"])
        self._add_items("coherence", "medium", "items repeat earlier ones", coherence["repeats"])
        self._add_items("coherence", "medium", "items are beside the point", coherence["stray"])
        weak = counted.parts["actionability"].evidence["weak"]
        self._add_items("actionability", "low", "items do not say who acts, and when", weak)

    def read(self, outcome: Completion | AletheiaError) -> None:
        """Add what a model answered, as far as it holds."""
        try:
            if isinstance(outcome, AletheiaError):
                raise outcome
            self.is_mock = outcome.is_mock
            check_finish(outcome)
            found = find_json(
                outcome.text, accept=_has_remarks, is_cut_off=outcome.finish == "length"
            )
            if found.is_cut:
                # Its last id may be another one than was meant.
                raise UnreadableAnswer("half_json", "the JSON ends in the middle")
        except AletheiaError as error:
            self.faults.append(Fault(error.code, str(error)[:MAX_ERROR_CHARS]))
            return
        answer = cast("Mapping[str, Any]", found.value)
        for judged in self._check(answer, "findings", JudgedFinding):
            ids, severity = tuple(judged.item_ids), judged.severity
            self.findings.append(Finding("judge", judged.part, judged.text, ids, severity=severity))
        for judged in self._check(answer, "suggestions", JudgedSuggestion):
            ids = tuple(judged.item_ids)
            self.suggestions.append(Suggestion("judge", judged.part, judged.text, ids))

    def _add_gap(self, aspect: Mapping[str, Any]) -> None:
        name, items, enough = aspect["aspect"], aspect["items"], aspect["enough"]
        text = f"{name!r} has {items} of the {enough} items it takes."
        severity: Severity = "medium" if items else "high"
        ids = tuple(aspect["item_ids"])
        self.findings.append(Finding("counted", "coverage", text, ids, name, severity=severity))
        subject = "the department" if name == WHOLE else repr(name)
        wish = f"Write {enough - items} more items about {subject}."
        self.suggestions.append(Suggestion("counted", "coverage", wish, ids, name))

    def _add_items(
        self, part: Part, severity: Severity, what: str, found: Mapping[str, Any]
    ) -> None:
        if found["count"]:
            text = f"{found['count']} {what}."
            ids = tuple(found["item_ids"])
            self.findings.append(Finding("counted", part, text, ids, severity=severity))

    def _check(
        self, answer: Mapping[str, Any], name: str, form: type[_JudgedT]
    ) -> Iterator[_JudgedT]:
        """Yield the entries of a list whose form and citations hold; the others are faults."""
        listed = answer.get(name)
        entries = cast("list[object]", listed)[:MAX_REMARKS] if isinstance(listed, list) else []
        for place, entry in enumerate(entries):
            try:
                judged = form.model_validate(entry)
            except ValidationError as error:
                message = f"{name}.{place}: {explain(error)}"[:MAX_ERROR_CHARS]
                self.faults.append(Fault("invalid_remark", message))
                continue
            if unknown := [item_id for item_id in judged.item_ids if item_id not in self._ids]:
                message = f"{name}.{place} cites {len(unknown)} items that are not there"
                self.faults.append(Fault("unknown_item", message))
                continue
            yield judged


def _has_remarks(value: object) -> bool:
    return isinstance(value, dict) and ("findings" in value or "suggestions" in value)
