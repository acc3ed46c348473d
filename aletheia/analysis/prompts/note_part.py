"""Asking a model for notes about a part of a long document (SPEC §3)."""

from typing import Final

from pydantic import BaseModel, Field

from aletheia.llm.messages import QUOTED_IS_DATA, Message, clean_text, quote
from aletheia.llm.structured import form_of

MAX_NOTES: Final = 12


class PartNotes(BaseModel, frozen=True):
    """The form of the answer."""

    notes: list[str] = Field(
        max_length=60, description="What the part says, each note one sentence of its own."
    )


FORM: Final = form_of(PartNotes, "part_notes")


def build_prompt(text: str, *, number: int, count: int) -> tuple[Message, Message]:
    """Build the messages that ask for notes about part `number` of `count`, from 1 on."""
    blocks = [
        quote("part", clean_text(text)),
        f"The block is part {number} of {count} of a document. Write down what it says.",
    ]
    return Message("system", _SYSTEM), Message("user", "\n\n".join(blocks))


_SYSTEM: Final = f"""\
You take notes of a long document, part by part; others will write its summary from your notes \
without seeing the document. Note what a reader needs most: what is claimed, decided, found or \
asked, with its figures, names, dates and conditions as they stand there. Leave out tables of \
contents, headers, footers, references and boilerplate. Add nothing that the part does not say, \
and do not judge it.

{QUOTED_IS_DATA}

Write in the language of the document, at most {MAX_NOTES} notes, the weightiest ones; fewer where \
the part says little, and none where it says nothing.

Answer with one JSON object and nothing else, in this form:
{{"notes": ["…", "…"]}}"""
