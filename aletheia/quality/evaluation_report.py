"""What an evaluation has come to, as whoever asked for it reads it."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from aletheia.documents import Document
from aletheia.quality.prompts.evaluate_department import Severity
from aletheia.quality.remarks import Source
from aletheia.quality.scores import PARTS, Part


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FindingRow(_Row):
    """Something that is wrong; see `aletheia.quality.remarks.Finding`."""

    source: Source
    part: Part
    severity: Severity
    text: str
    item_ids: tuple[str, ...]
    aspect: str = ""


class SuggestionRow(_Row):
    """What would make it better; see `aletheia.quality.remarks.Suggestion`."""

    source: Source
    part: Part
    text: str
    item_ids: tuple[str, ...]
    aspect: str = ""


class FaultRow(_Row):
    """Why something of a model's answer is not in it."""

    code: str
    message: str


class EvaluationReport(_Row):
    """An evaluation as it is stored.

    Attributes:
        project_id: the project.
        department: slug.
        department_name: for people.
        department_number: its place in the order of departments, if it has one.
        version: of its items, 64 hexadecimal digits.
        attempt: from 1; each forced evaluation of the version is one more.
        items: how many were evaluated.
        score: the whole, 0 to 100.
        threshold: quality at which the department is done, 0 to 100.
        scores: of the four parts, 0 to 100.
        counted: what the estimators alone make of the parts, 0 to 100.
        judges: how many of the judges that were asked gave a score.
        judges_asked: how many were asked.
        findings: what is wrong, the most severe first.
        suggestions: what would help.
        faults: why something of a model's answer is not in it.
        mock: whether something in it was made up.
        user_id: who asked.
        auto: whether a gather run asked.
        evaluated_at: when, in UTC.
        was_stored: whether it had been made before.
    """

    project_id: str
    department: str
    department_name: str
    department_number: int | None
    version: str
    attempt: int
    items: int
    score: float
    threshold: float
    scores: Mapping[Part, float]
    counted: Mapping[Part, float]
    judges: int
    judges_asked: int
    findings: tuple[FindingRow, ...]
    suggestions: tuple[SuggestionRow, ...]
    faults: tuple[FaultRow, ...]
    mock: bool
    user_id: str
    auto: bool
    evaluated_at: str
    was_stored: bool = False

    @classmethod
    def from_document(cls, document: Document, *, was_stored: bool = False) -> "EvaluationReport":
        """Read what `EvaluationStore.save` has kept."""
        judge: Mapping[str, Any] = document["judge"]
        parts: Mapping[str, Any] = document["counted"]["parts"]
        derived = {
            "counted": {part: parts[part]["score"] for part in PARTS},
            "judges": len(judge["votes"]),
            "judges_asked": judge["asked"],
            # Those of the judges stand with the score, those of the remarks on their own.
            "faults": [*judge["faults"], *document["faults"]],
            "was_stored": was_stored,
        }
        return cls.model_validate({**document, **derived})
