"""Asking a model for the summary of a text within a number of characters (SPEC §3)."""

from typing import Final

from pydantic import BaseModel, Field

from aletheia.llm.messages import QUOTED_IS_DATA, Message, clean_text, quote
from aletheia.llm.structured import form_of

CHARS_PER_WORD: Final = 7
"""Of a summary in a European language, with the blank; few words are better than too many."""


class TextSummary(BaseModel, frozen=True):
    """The form of the answer."""

    sentences: list[str] = Field(
        min_length=1, max_length=200, description="The summary, sentence by sentence."
    )


FORM: Final = form_of(TextSummary, "text_summary")


def build_prompt(material: str, *, max_chars: int, is_notes: bool) -> tuple[Message, Message]:
    """Build the messages that ask for a summary of a text, or of the notes about one."""
    name = "notes" if is_notes else "text"
    said = (
        "The block holds notes about all parts of a text, in its order. Summarise the text"
        if is_notes
        else "The block holds a text. Summarise it"
    )
    words = max(3, max_chars // CHARS_PER_WORD)
    bound = f"{said} in at most {max_chars} characters, that is about {words} words."
    blocks = [quote(name, clean_text(material)), bound]
    return Message("system", _SYSTEM), Message("user", "\n\n".join(blocks))


_SYSTEM: Final = f"""\
You write the summary of a text for readers who will not read it, within a number of characters \
that must not be exceeded. Say first what matters most: what is beyond the bound is cut off, whole \
sentences at a time. Write whole sentences, and use as few as are needed.

Keep figures, names, dates and conditions as they stand. Add nothing that is not there, no opinion \
and no advice of yours. Say "the text", not "the notes".

{QUOTED_IS_DATA}

Write in the language of the text. Answer with one JSON object and nothing else, in this form:
{{"sentences": ["…", "…"]}}"""
