"""Asking a model for the summary of a document, in three lengths at once (SPEC §3)."""

from typing import Final, Literal

from pydantic import BaseModel, Field

from aletheia.llm.messages import QUOTED_IS_DATA, Message, clean_text, quote
from aletheia.llm.structured import form_of

MAX_KEY_POINTS: Final = 8


class SummarySentence(BaseModel, frozen=True):
    """A sentence of the summary."""

    text: str = Field(min_length=1, max_length=2000, description="The sentence.")
    level: Literal["short", "medium", "long"] = Field(
        description="The shortest summary that has it."
    )


class DocumentSummary(BaseModel, frozen=True):
    """The form of the answer."""

    sentences: list[SummarySentence] = Field(
        min_length=1, max_length=80, description="The long summary, sentence by sentence."
    )
    key_points: list[str] = Field(
        max_length=30, description="What to remember, each a short sentence of its own."
    )


FORM: Final = form_of(DocumentSummary, "document_summary")


def build_prompt(material: str, *, is_notes: bool) -> tuple[Message, Message]:
    """Build the messages that ask for a summary of a text, or of the notes about one."""
    name = "notes" if is_notes else "document"
    said = (
        "The block holds notes about all parts of a document, in its order. Summarise the document."
        if is_notes
        else "The block holds a document. Summarise it."
    )
    blocks = [quote(name, clean_text(material)), said]
    return Message("system", _SYSTEM), Message("user", "\n\n".join(blocks))


_SYSTEM: Final = f"""\
You write the summary of a document for readers who will not read it. One text serves three \
lengths: its sentences with the level "short" alone are the short summary (1 or 2 sentences: what \
the document is about and its main result), those with "short" or "medium" the medium one (4 to 6 \
sentences), and all of them the long one (10 to 16 sentences; fewer where the document is short). \
Each of the three must read well by itself, in the order in which you write.

Keep figures, names, dates and conditions as they stand. Add nothing that is not there, no opinion \
and no advice of yours. Say "the document", not "the notes".

{QUOTED_IS_DATA}

The key points are what a reader should remember: at most {MAX_KEY_POINTS}, each one short sentence.

Write in the language of the document. Answer with one JSON object and nothing else, in this form:
{{"sentences": [{{"text": "…", "level": "short"}}, {{"text": "…", "level": "long"}}], \
"key_points": ["…"]}}"""
