"""What a department is worth, in detail (SPEC §4, Evaluation).

The score is the gate's own, always with three judges. Findings and suggestions come from what was
counted and from a model; what does not cite the items it rests on is dropped.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from aletheia.documents import Document
from aletheia.items.departments import Department
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan, ask_once
from aletheia.llm.messages import ChatModel, Fault
from aletheia.quality.judge import JudgeState, RefinedQuality, refine_quality
from aletheia.quality.prompts.evaluate_department import FORM, build_prompt
from aletheia.quality.remarks import Finding, Remarks, Suggestion
from aletheia.quality.scores import QualityItem, score_quality

REMARKS_STEP: Final = "findings"
"""Under which the answer with findings and suggestions is saved."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a department's items are worth."""

    project_id: str
    department: str  # its slug
    department_name: str
    threshold: float  # quality at which it is done, 0 to 100
    items: int  # how many were evaluated
    version: str  # of its items, see `version_of`
    quality: RefinedQuality
    findings: tuple[Finding, ...]  # what is wrong, the most severe first
    suggestions: tuple[Suggestion, ...]
    faults: tuple[Fault, ...]  # why something of the answer about findings is not in it
    is_mock: bool  # whether something in it was made up

    def to_document(self) -> Document:
        """Return it as JSON, under the `_id` of its version."""
        return {
            "_id": evaluation_id(self.project_id, self.department, self.version),
            "project_id": self.project_id,
            "department": self.department,
            "department_name": self.department_name,
            "threshold": self.threshold,
            "items": self.items,
            "version": self.version,
            "mock": self.is_mock,
            **self.quality.to_document(),
            "findings": [finding.to_document() for finding in self.findings],
            "suggestions": [suggestion.to_document() for suggestion in self.suggestions],
            "faults": [asdict(fault) for fault in self.faults],
        }


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
    project_id: str,
    plan: AskPlan,
    version: str | None = None,
) -> Evaluation:
    """Evaluate all items of a department, oldest first; a model's failure leaves what was counted.

    Answers are saved under `judge-1` to `judge-3` and `findings`. `version` is the one that was
    asked for, where items have been deleted since.
    """
    counted = score_quality(department, items)
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
    )
    remarks = Remarks({item.id for item in items})
    remarks.count(counted)
    if items:
        messages = build_prompt(department, items, quality.scores)
        outcome = await ask_once(chat, answers, REMARKS_STEP, messages, FORM, plan=plan)
        remarks.read(outcome)
    return Evaluation(
        project_id=project_id,
        department=department.slug,
        department_name=department.name,
        threshold=department.quality_threshold,
        items=len(items),
        version=version or version_of([item.id for item in items]),
        quality=quality,
        findings=remarks.ranked_findings(),
        suggestions=tuple(remarks.suggestions),
        faults=tuple(remarks.faults),
        is_mock=remarks.is_mock or any(vote.is_mock for vote in quality.votes),
    )
