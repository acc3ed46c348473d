"""Asking a model for a batch of items for one department (SPEC §4, Generation)."""

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, Field

from aletheia.items.content import Item
from aletheia.items.departments import Department
from aletheia.llm.messages import (
    QUOTED_IS_DATA,
    Message,
    clean_text,
    cut_text,
    estimate_tokens,
    quote,
)
from aletheia.llm.structured import form_of

MIN_ITEMS: Final = 5
MAX_ITEMS: Final = 10
"""Size of a batch (SPEC §4)."""

MAX_EXCERPT_TOKENS: Final = 160
"""Longest quoted text of one item, estimated tokens: about 100 words."""

MAX_DESCRIPTION_TOKENS: Final = 800

_MAX_KEPT_TOKENS: Final = 60

_SHARES: Final = (("gaps", 0.1), ("earlier", 0.25), ("brain", 0.25), ("existing", 1.0))
"""The kinds of context in the order of their choice, and the share of the remaining tokens that
each may take. The department's own items come last and may take all that is left."""


class GeneratedItems(BaseModel):
    """The form of the answer."""

    items: list[Item] = Field(min_length=MIN_ITEMS, max_length=MAX_ITEMS)


FORM: Final = form_of(GeneratedItems, "generated_items")


@dataclass(frozen=True, slots=True)
class Angle:
    """A point of view from which a batch is written."""

    name: str
    wish: str


ANGLES: Final = (
    Angle("first steps", "how to begin: what to set up, in which order, and what can wait"),
    Angle("daily practice", "what is done every day or week, by whom, and what it takes"),
    Angle("common mistakes", "what usually goes wrong, how it is noticed, and what prevents it"),
    Angle("measures", "what to measure, from which source, how often, and which value is good"),
    Angle("roles", "who decides, who does the work, who is informed, and how work is handed over"),
    Angle("risks", "what could do harm, how likely and serious it is, and how to prepare for it"),
    Angle("tools and data", "which tools, records and data are needed, and how to maintain them"),
    Angle("quality", "how to tell good work from poor work: criteria, examples, reviews"),
    Angle("cost and effort", "what things cost in time and money, and where less is enough"),
    Angle("working together", "what other departments need from this one, and the other way round"),
    Angle("improvement", "what to change over the next months, and how to learn from results"),
    Angle("special cases", "what is rare and hard: exceptions, peaks, conflicts, failures"),
)
"""Neighbouring angles differ in the verbs, nouns and numbers that they ask for."""

LENSES: Final = (
    Angle("in general", "for anybody in the department"),
    Angle("for newcomers", "for somebody who started this week"),
    Angle("for experts", "for somebody with ten years of experience"),
    Angle("for whoever leads", "for whoever is responsible for the results"),
    Angle("for outsiders", "for customers, partners and auditors who look at it from outside"),
)
"""Readers that a batch is written for; with the angles they make 60 different batches."""


def angle_of(department: Department, number: int) -> tuple[Angle, Angle]:
    """Return point of view and readers for a batch, by its number, from 1.

    Departments begin at different angles, so that a run over many of them varies its themes.
    """
    turn = zlib.crc32(department.id.encode()) % len(ANGLES) + number - 1
    return ANGLES[turn % len(ANGLES)], LENSES[turn // len(ANGLES) % len(LENSES)]


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What a prompt may quote; each list most important first."""

    existing: Sequence[str] = ()
    gaps: Sequence[str] = ()
    brain: Sequence[str] = ()
    earlier: Sequence[str] = ()


def build_prompt(
    department: Department,
    number: int,
    context: PromptContext,
    *,
    count: int,
    max_context_tokens: int,
    error: str = "",
    accepted: Sequence[Item] = (),
) -> tuple[Message, ...]:
    """Build the messages that ask for a batch: of the system, and of the user.

    `number`: of the batch, from 1; chooses the angle. `count`: items asked for.
    `max_context_tokens`: bound on all excerpts together. `error`: of the answer before, if it could
    not be used as it was; then `accepted` has what it was good for.
    """
    angle, lens = angle_of(department, number)
    texts = _select(context, max_context_tokens)
    order = {"batch": number, "angle": angle.name, "readers": lens.name, "items": count}
    blocks = [
        quote(
            "department",
            {
                "name": department.name,
                "description": cut_text(department.description, MAX_DESCRIPTION_TOKENS),
            },
        ),
        *(quote(name, chosen) for name, chosen in texts.items()),
        quote("order", order),
        _task(count, angle, lens, quoted=texts),
    ]
    if error:
        blocks += _repair_blocks(error, accepted)
    return Message("system", _SYSTEM), Message("user", "\n\n".join(blocks))


_SYSTEM: Final = f"""\
You write content for one department of an organisation: practical, specific statements that \
somebody can act on.

{QUOTED_IS_DATA}

Answer with one JSON object and nothing else, in this form:
{{"items": [{{"content": "…", "summary": "…", "context": "…"}}]}}
- content: two to five full sentences. Say who does what, when and with what, and which figure \
shows that it worked.
- summary: the main point in one sentence.
- context: the situation that the item is for and what it is based on, in one sentence.
All three are plain text without Markdown. No item repeats another item or an existing one, not \
even in other words."""


_USES: Final = {
    "gaps": "The block gaps lists what is missing so far: write about that first.",
    "earlier": "The block earlier summarises the items of other departments: build on them.",
    "brain": "The block brain lists what else is known: do not contradict it.",
    "existing": "The items in the block existing are there already: write about something else.",
}


def _task(count: int, angle: Angle, lens: Angle, *, quoted: Collection[str]) -> str:
    items = "1 item" if count == 1 else f"{count} items"
    lines = [
        f"Write {items} for the department above, {lens.wish}.",
        f"All of them are about {angle.wish}.",
        *(use for kind, use in _USES.items() if kind in quoted),
        "Write in the language of the department's description.",
    ]
    return " ".join(lines)


def _repair_blocks(error: str, accepted: Sequence[Item]) -> list[str]:
    """Return the blocks of a repair; the error is quoted, as it may repeat words of an answer."""
    blocks: list[str] = []
    if accepted:
        kept = [cut_text(item.content, _MAX_KEPT_TOKENS) for item in accepted]
        blocks.append(quote("already_accepted", kept))
        blocks.append("The items in the block already_accepted are accepted: do not repeat them.")
    blocks.append(quote("error", error))
    blocks.append(
        "Your last answer could not be used as it was. The block error says why. Answer again with "
        "the JSON object only."
    )
    return blocks


def _select(context: PromptContext, max_tokens: int) -> dict[str, list[str]]:
    """Choose the excerpts that fit, most important first, each shortened to its bound."""
    chosen: dict[str, list[str]] = {}
    used = 0
    for kind, share in _SHARES:
        excerpts: Sequence[str] = getattr(context, kind)
        left = int((max_tokens - used) * share)
        for excerpt in excerpts:
            text = cut_text(clean_text(excerpt), MAX_EXCERPT_TOKENS)
            tokens = estimate_tokens(text)
            if tokens > left:
                break
            if text:
                left -= tokens
                used += tokens
                chosen.setdefault(kind, []).append(text)
    return chosen
