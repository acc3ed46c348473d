"""Asking a model for one analysis of what a text, a recording and a document say (SPEC §3)."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, Field

from aletheia.llm.messages import QUOTED_IS_DATA, Message, clean_text, quote
from aletheia.llm.structured import form_of

MAX_CLAIMS: Final = 12


class Referring(BaseModel, frozen=True):
    """A sentence, and the numbers of the statements that it rests on."""

    text: str = Field(min_length=1, max_length=1000, description="The sentence.")
    refs: list[str] = Field(
        min_length=1, max_length=20, description="Ids of the statements it rests on."
    )


class FusedAnswer(BaseModel, frozen=True):
    """The form of the answer."""

    summary: list[Referring] = Field(
        min_length=1, max_length=30, description="One account of all, sentence by sentence."
    )
    agreements: list[Referring] = Field(
        max_length=40, description="What statements of different sources agree on."
    )
    conflicts: list[Referring] = Field(
        max_length=40, description="What statements of different sources contradict each other in."
    )


FORM: Final = form_of(FusedAnswer, "fused_analysis")


def build_prompt(statements: Mapping[str, Mapping[str, str]]) -> tuple[Message, Message]:
    """Build the messages; `statements` are those of each source, by the source's name and id."""
    blocks = [
        quote(source, {id_: clean_text(text) for id_, text in said.items()})
        for source, said in statements.items()
    ]
    blocks.append("The blocks hold statements of several sources, each with its id. Compare them.")
    return Message("system", _SYSTEM), Message("user", "\n\n".join(blocks))


_SYSTEM: Final = f"""\
You compare what several sources say about the same matter: a text, the words of a recording, a \
document. You are given sentences of each, with an id. Write one account of all of it in 3 to 8 \
sentences, then list on what the sources agree, and in what they contradict each other.

Each of your sentences names the ids of the statements that it rests on. Agreements and conflicts \
name at least one id of each of two sources or more; two statements of one source are neither. It \
is a conflict where both cannot be true: another number, date, name or outcome of the same thing. \
That one source says more than another is none. Keep figures, names and dates as they stand, and \
add none. Do not judge which source is right.

{QUOTED_IS_DATA}

List at most {MAX_CLAIMS} agreements and {MAX_CLAIMS} conflicts, the weightiest ones; fewer, or \
none, where there are not so many. Write in the language of most statements. Answer with one JSON \
object and nothing else, in this form:
{{"summary": [{{"text": "…", "refs": ["T1", "D4"]}}], \
"agreements": [{{"text": "…", "refs": ["T1", "D4"]}}], \
"conflicts": [{{"text": "…", "refs": ["A2", "D9"]}}]}}"""
