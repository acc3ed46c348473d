"""What a department is worth, in detail (SPEC §4, Evaluation).

The score is the gate's own, always with three judges. Findings and suggestions come from what was
counted and from a model; what does not cite the items it rests on is dropped.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ValidationError

from aletheia.documents import Document
from aletheia.errors import AletheiaError
from aletheia.items.departments import Department
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan, ask_once, check_finish
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import ChatModel, Completion, Fault
from aletheia.llm.structured import MAX_ERROR_CHARS, explain, find_json
from aletheia.quality.aspects import WHOLE
from aletheia.quality.embedding import QualityCounter
from aletheia.quality.gate import JudgeState
from aletheia.quality.judge import refine_quality
from aletheia.quality.prompts.evaluate_department import (
    FORM,
    MAX_REMARKS,
    JudgedFinding,
    JudgedSuggestion,
    Severity,
    build_prompt,
)
from aletheia.quality.prompts.judge_quality import VOTES
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import PARTS, Part, Quality

REMARKS_STEP: Final = "findings"
"""Under which the answer with findings and suggestions is saved."""


Source: TypeAlias = Literal["counted", "judge"]

_JudgedT = TypeVar("_JudgedT", bound=JudgedSuggestion)

_RANKS: Final[Mapping[Severity, int]] = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True)
class Suggestion:
    """What would make a department better."""

    source: Source
    part: Part
    text: str  # one sentence
    item_ids: list[str]  # at most `MAX_IDS`; empty only if `aspect` has no item
    aspect: str = ""  # that it is about, if any


@dataclass(frozen=True)
class Finding(Suggestion):
    """Something that is wrong."""

    severity: Severity = field(kw_only=True)


class EvaluationReport(BaseModel, frozen=True):
    """An evaluation as it is stored, for whoever asked for it; see `EvaluationRequest`."""

    project_id: str
    department: str  # its slug
    department_name: str
    department_number: int | None
    version: str  # of its items, see `version_of`
    attempt: int
    items: int  # how many were evaluated
    score: float  # the whole, 0 to 100, as are the scores of the four parts
    threshold: float  # quality at which it is done, 0 to 100
    scores: Mapping[Part, float]
    counted: Mapping[Part, float]  # what the estimators alone make of the parts, 0 to 100
    judges: int  # how many of the judges that were asked gave a score
    judges_asked: int
    spread: float | None = None  # standard deviation of the score, points; older ones have none
    bound: float | None = None  # lower bound of the score
    findings: tuple[Finding, ...]  # what is wrong, the most severe first
    suggestions: tuple[Suggestion, ...]
    faults: tuple[Fault, ...]  # why something of the answers is not in it
    mock: bool  # whether something in it was made up
    user_id: str
    auto: bool
    evaluated_at: str  # when, in UTC
    was_stored: bool = False  # whether it had been made before

    @classmethod
    def from_document(cls, document: Document, *, was_stored: bool = False) -> "EvaluationReport":
        """Read what `EvaluationStore.save` returned."""
        judge: Mapping[str, Any] = document["judge"]
        parts: Mapping[str, Any] = document["counted"]["parts"]
        derived = {
            "counted": {part: parts[part]["score"] for part in PARTS},
            "judges": len(judge["votes"]),
            "judges_asked": judge["asked"],
            "spread": document.get("gate", {}).get("spread"),
            "bound": document.get("gate", {}).get("bound"),
            # Those of the judges stand with the score, those of the remarks on their own.
            "faults": [*judge["faults"], *document["faults"]],
            "was_stored": was_stored,
        }
        return cls.model_validate({**document, **derived})


def version_of(item_ids: Sequence[str]) -> str:
    """Return the version of a set of items: SHA-256 over its sorted ids, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(sorted(set(item_ids))).encode()).hexdigest()


def evaluation_id(project_id: str, department: str, version: str) -> str:
    """Return the id of a version's evaluation; with `eval:` before it, the idempotency key."""
    return f"{project_id}:{department}:{version}"


async def evaluate_items(
    chat: ChatModel,
    answers: SavedAnswers,
    department: Department,
    items: Sequence[QualityItem],
    *,
    counter: QualityCounter,
    project_id: str,
    plan: AskPlan,
    version: str,
) -> Document:
    """Evaluate all items of a department, oldest first; a judge's failure leaves what was counted.

    Returns it as JSON, under the `_id` of its version.

    Answers are saved under `judge-1` to `judge-3` and `findings`. `version` is the one that was
    asked for; items may have been deleted since.

    Raises:
        AletheiaError: nothing can be embedded now.
    """
    counted = await counter.count(department, items)
    quality = await refine_quality(
        chat,
        answers,
        department,
        items,
        counted,
        threshold=counted.total,
        stalled_iterations=0,
        state=JudgeState(),
        plan=plan,
        max_answers=VOTES,
    )
    remarks = Remarks({item.id for item in items})
    remarks.count(counted)
    if items:
        messages = build_prompt(department, items, quality.scores)
        outcome = await ask_once(chat, answers, REMARKS_STEP, messages, FORM, plan=plan)
        remarks.read(outcome)
    return {
        "_id": evaluation_id(project_id, department.slug, version),
        "project_id": project_id,
        "department": department.slug,
        "department_name": department.name,
        "threshold": department.quality_threshold,
        "items": len(items),
        "version": version,
        "mock": remarks.is_mock or any(vote.is_mock for vote in quality.votes),
        **quality.to_document(),
        "findings": list(map(asdict, remarks.ranked_findings())),
        "suggestions": list(map(asdict, remarks.suggestions)),
        "faults": list(map(asdict, remarks.faults)),
    }


class Remarks:
    """Collects findings and suggestions that cite only these items."""

    def __init__(self, ids: set[str]) -> None:
        self._ids = ids
        self.findings: list[Finding] = []
        self.suggestions: list[Suggestion] = []
        self.faults: list[Fault] = []  # why something of a model's answer was not taken
        self.is_mock = False

    def ranked_findings(self) -> list[Finding]:
        """Return the findings, the most severe first."""
        return sorted(self.findings, key=lambda finding: _RANKS[finding.severity])

    def count(self, counted: Quality) -> None:
        """Add what the estimators found."""
        for aspect in counted.parts["coverage"].evidence["aspects"]:
            if aspect["covered"] < 1:
                self._add_gap(aspect)
        coherence = counted.parts["coherence"].evidence
        self._add_items("coherence", "high", "items without substance", coherence["fillers"])
        self._add_items("coherence", "medium", "items repeat earlier ones", coherence["repeats"])
        self._add_items("coherence", "medium", "items are beside the point", coherence["stray"])
        denied = coherence["contradictions"]
        self._add_items("coherence", "high", "items contradict another one", denied)
        denied = coherence["self_denying"]
        self._add_items("coherence", "medium", "items deny what they say themselves", denied)
        orders = coherence["orders"]
        self._add_items("coherence", "high", "items address whoever judges them", orders)
        weak = counted.parts["actionability"].evidence["weak"]
        self._add_items("actionability", "low", "items do not say who acts, when and how", weak)

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
            said = ("judge", judged.part, judged.text, judged.item_ids)
            self.findings.append(Finding(*said, severity=judged.severity))
        for judged in self._check(answer, "suggestions", JudgedSuggestion):
            said = ("judge", judged.part, judged.text, judged.item_ids)
            self.suggestions.append(Suggestion(*said))

    def _add_gap(self, aspect: Mapping[str, Any]) -> None:
        name, items, enough = aspect["aspect"], aspect["items"], aspect["enough"]
        text = f"{name!r} has {items} of the {enough} whole items it takes."
        if items >= enough:
            text = f"{name!r} has {items} items, which say too little."
        severity: Severity = "medium" if items else "high"
        ids = aspect["item_ids"]
        self.findings.append(Finding("counted", "coverage", text, ids, name, severity=severity))
        subject = "the department" if name == WHOLE else repr(name)
        wish = f"Write {max(1, enough - items)} more items about {subject}, with specifics."
        self.suggestions.append(Suggestion("counted", "coverage", wish, ids, name))

    def _add_items(
        self, part: Part, severity: Severity, what: str, found: Mapping[str, Any]
    ) -> None:
        if found["count"]:
            text = f"{found['count']} {what}."
            said = ("counted", part, text, found["item_ids"])
            self.findings.append(Finding(*said, severity=severity))

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
