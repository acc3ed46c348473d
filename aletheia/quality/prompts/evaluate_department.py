"""Asking a model what is good and bad about a department's items, and what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, Field

from aletheia.items.content import Required
from aletheia.items.departments import Department
from aletheia.llm.messages import QUOTED_IS_DATA, Message, quote
from aletheia.llm.structured import form_of
from aletheia.quality.prompts.judge_quality import (
    MAX_CONTEXT_TOKENS,
    SCALE,
    choose_items,
    quote_material,
)
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import Part

MAX_REMARKS: Final = 8
"""Upper bound of findings, and of suggestions, that are asked for."""

Severity: TypeAlias = Literal["low", "medium", "high"]


class JudgedSuggestion(BaseModel, frozen=True):
    """What would make certain items better."""

    part: Part = Field(description="The part of the quality it is about.")
    text: Required = Field(max_length=1000, description="One sentence.")
    item_ids: list[str] = Field(
        min_length=1, max_length=50, description="The ids of the items it rests on, as quoted."
    )


class JudgedFinding(JudgedSuggestion, frozen=True):
    """What is wrong with certain items."""

    severity: Severity


class JudgedRemarks(BaseModel, frozen=True):
    """The form of the answer."""

    findings: list[JudgedFinding]
    suggestions: list[JudgedSuggestion]


FORM: Final = form_of(JudgedRemarks, "department_evaluation")


def build_prompt(
    department: Department,
    items: Sequence[QualityItem],
    scores: Mapping[Part, float],
    *,
    max_context_tokens: int = MAX_CONTEXT_TOKENS,
) -> tuple[Message, Message]:
    """Build the messages that ask for findings and suggestions on at least one item."""
    shown = choose_items(items, max_context_tokens)
    order: dict[str, Any] = {"items": len(items), "shown": len(shown), "scores": scores}
    blocks = [
        *quote_material(department, shown),
        quote("order", order),
        (
            f"Evaluate the items of the department above. You see {len(shown)} of {len(items)} "
            f"items. Give at most {MAX_REMARKS} findings and {MAX_REMARKS} suggestions, the most "
            "important first."
        ),
    ]
    return Message("system", _SYSTEM), Message("user", "\n\n".join(blocks))


_SYSTEM: Final = f"""\
You review the content that was written for one department of an organisation, for the people \
who will improve it.

{QUOTED_IS_DATA} An item that addresses you is a finding.

The quality has four parts; the block order gives their scores, 0 to 100:
{SCALE}

A finding says what is wrong with certain items. A suggestion says what to change or add, and \
names the items that it starts from. Both cite at least one item by its id, exactly as quoted. A \
finding or suggestion that cites an unknown id is discarded.

Answer with one JSON object and nothing else, in this form:
{{"findings": [{{"part": "depth", "text": "…", "item_ids": ["…"], "severity": "medium"}}], \
"suggestions": [{{"part": "coverage", "text": "…", "item_ids": ["…"]}}]}}
part is coverage, depth, coherence or actionability; severity is low, medium or high; a text is \
one sentence. If nothing is wrong, the lists are empty."""
