"""An analysis of several modalities that a chat model writes, as far as it can be checked.

What the model claims is dropped where it names a statement that does not exist, gives a number that
none of its statements gives, or rests an agreement or a conflict on one modality alone.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aletheia.analysis.fusion import Claim
from aletheia.analysis.modalities import Material, Place
from aletheia.analysis.prompts.fuse_modalities import (
    FORM,
    MAX_CLAIMS,
    FusedAnswer,
    Referring,
    build_prompt,
)
from aletheia.analysis.written_summaries import Asker
from aletheia.errors import InvalidTask
from aletheia.llm.asking import check_finish
from aletheia.llm.messages import clean_text
from aletheia.llm.structured import read_answer
from aletheia.text.facts import find_unsaid, read_facts
from aletheia.text.spans import Span

MAX_SHOWN = 60
"""Sentences of a modality that a model is shown, those that say most of every part of it."""

MAX_ANSWER_TOKENS = 2500


@dataclass(frozen=True, slots=True)
class Checked:
    """A sentence of the account, and where it rests."""

    text: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class WrittenFusion:
    """What a model wrote, and what of it was dropped."""

    summary: tuple[Checked, ...]
    agreements: tuple[Claim, ...]
    conflicts: tuple[Claim, ...]
    dropped: int  # sentences and claims that could not be checked
    provider: str
    model: str
    tokens: int


async def write_fusion(chat: Asker, materials: Sequence[Material]) -> WrittenFusion:
    """Ask a chat model to compare modalities.

    Raises:
        InvalidTask: `no_valid_claim`; nothing of its account could be checked.
        AletheiaError: as `Asker.ask`, and as `read_answer`.
    """
    shown = await asyncio.to_thread(_number_statements, materials)
    texts = {
        material.name: {
            id_: span.shown for id_, (owner, span) in shown.items() if owner is material
        }
        for material in materials
    }
    messages = build_prompt(texts)
    completion = await chat.ask(*messages, form=FORM, max_tokens=MAX_ANSWER_TOKENS)
    check_finish(completion)
    answer = read_answer(completion.text, FusedAnswer, is_cut_off=completion.finish == "length")
    summary = [checked for part in answer.summary if (checked := _check(part, shown))]
    agreements, conflicts = (
        _check_all(answer.agreements, shown),
        _check_all(answer.conflicts, shown),
    )
    if not summary:
        raise InvalidTask("no_valid_claim", "nothing of the model's account could be checked")
    written = len(answer.summary) + len(answer.agreements) + len(answer.conflicts)
    return WrittenFusion(
        summary=tuple(summary),
        agreements=tuple(agreements),
        conflicts=tuple(conflicts),
        dropped=written - len(summary) - len(agreements) - len(conflicts),
        provider=completion.provider,
        model=completion.model,
        tokens=completion.used.total,
    )


def _number_statements(materials: Sequence[Material]) -> dict[str, tuple[Material, Span]]:
    return {
        f"{material.name[0].upper()}{number}": (material, span)
        for material in materials
        for number, span in enumerate(material.statements(MAX_SHOWN), start=1)
    }


def _check_all(
    parts: Sequence[Referring], shown: Mapping[str, tuple[Material, Span]]
) -> list[Claim]:
    """Return the claims that rest on statements of two modalities or more."""
    claimed = [found for part in parts[:MAX_CLAIMS] if (found := _check(part, shown))]
    return [
        Claim(kind="model", statement=found.text, places=list(found.places))
        for found in claimed
        if len({place.modality for place in found.places}) > 1
    ]


def _check(part: Referring, shown: Mapping[str, tuple[Material, Span]]) -> Checked | None:
    """Return a sentence with its places; `None` where they do not exist, or lack its numbers."""
    text, refs = clean_text(part.text), list(dict.fromkeys(part.refs))
    if not text or not refs or any(ref not in shown for ref in refs):
        return None
    said = read_facts("\n".join(shown[ref][1].shown for ref in refs))
    if find_unsaid(read_facts(text), said):
        return None
    found = (shown[ref] for ref in refs)
    return Checked(text, tuple(owner.place(span.start, span.end) for owner, span in found))
