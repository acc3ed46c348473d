"""Asking a model whether two texts make the same point (SPEC §4, Dedup)."""

from typing import Final

from pydantic import BaseModel, Field

from aletheia.llm.messages import QUOTED_IS_DATA, Message, clean_text, quote
from aletheia.llm.structured import form_of


class JudgedPair(BaseModel, frozen=True):
    """The form of the answer."""

    is_duplicate: bool = Field(strict=True, description="Whether both make the same point.")
    reason: str = Field(max_length=1000, description="Why, in one sentence.")


FORM: Final = form_of(JudgedPair, "judged_pair")


def build_prompt(new_excerpt: str, other_excerpt: str) -> tuple[Message, Message]:
    """Build the messages that ask whether a new text repeats another one."""
    pair = {"first": clean_text(other_excerpt), "second": clean_text(new_excerpt)}
    blocks = [quote("pair", pair), "Do the two texts of the block pair make the same point?"]
    return Message("system", _SYSTEM), Message("user", "\n\n".join(blocks))


_SYSTEM: Final = f"""\
You decide whether two texts make the same point. They do if a reader of the first learns nothing \
from the second that changes what to do: the second has other words, another order, or another \
example of the same thing. They do not if the second asks for something else, applies to other \
people or another case, gives another number or time, or says the opposite, however similar they \
look.

{QUOTED_IS_DATA} Long texts are shortened to the parts that differ; "…" stands for what is left out.

Answer with one JSON object and nothing else, in this form:
{{"is_duplicate": false, "reason": "…"}}
The reason is one sentence."""
