"""What an evaluation has come to, as whoever asked for it reads it."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from aletheia.documents import Document
from aletheia.llm.messages import Fault
from aletheia.quality.remarks import Finding, Suggestion
from aletheia.quality.scores import PARTS, Part


class EvaluationReport(BaseModel):
    """An evaluation as it is stored; see `Evaluation` and `EvaluationRequest`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    project_id: str
    department: str
    department_name: str
    department_number: int | None
    version: str
    attempt: int
    items: int
    score: float  # the whole, 0 to 100, as are the scores of the four parts
    threshold: float
    scores: Mapping[Part, float]
    counted: Mapping[Part, float]  # what the estimators alone make of the parts, 0 to 100
    judges: int  # how many of the judges that were asked gave a score
    judges_asked: int
    findings: tuple[Finding, ...]
    suggestions: tuple[Suggestion, ...]
    faults: tuple[Fault, ...]
    mock: bool
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
            # Those of the judges stand with the score, those of the remarks on their own.
            "faults": [*judge["faults"], *document["faults"]],
            "was_stored": was_stored,
        }
        return cls.model_validate({**document, **derived})
