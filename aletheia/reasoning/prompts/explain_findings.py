"""Asking a model to explain findings, in templates that code fills in (SPEC §5, Claims)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, Field

from aletheia.llm.messages import QUOTED_IS_DATA, Message, quote
from aletheia.llm.structured import form_of
from aletheia.reasoning.claims import Claim

PROMPT_VERSION: Final = 1
"""Grows with each change of the words below, so that answers to older ones are not used."""

MAX_CLAIMS: Final = 6
MAX_SHIFT: Final = 10.0
"""Points by which a model moves the score, either way (SPEC §5)."""


class ClaimedAdvice(BaseModel, frozen=True):
    """A claim that goes with the recommendation about a finding."""

    finding: str = Field(max_length=100, description="Id of the finding that it answers.")
    claim: Claim = Field(description="Why it matters.")


class Explanation(BaseModel, frozen=True):
    """The form of the answer."""

    insights: tuple[Claim, ...] = Field(description="What matters, at most six.")
    concerns: tuple[Claim, ...] = Field(description="What needs attention, the worst first.")
    positives: tuple[Claim, ...] = Field(description="What goes well.")
    advice: tuple[ClaimedAdvice, ...] = Field(description="Reasons to act, one a finding.")
    order: tuple[str, ...] = Field(description="Ids of findings, the first to act on first.")
    score_shift: float = Field(
        strict=True, allow_inf_nan=False, description="-10 to 10: how the score should move."
    )


FORM: Final = form_of(Explanation, "explanation")


def build_prompt(
    values: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]], score: float
) -> tuple[Message, Message]:
    """Build the messages that ask for an explanation.

    `values`: path, name, value and the one before of what is on the allow-list; `findings`: id,
    severity, title, paths, bound and causes; `score`: by the rules, 0 to 100. Names of entities are
    aliases in both.
    """
    blocks = [
        quote("values", list(values)),
        quote("findings", list(findings)),
        quote("order", {"score": score, "findings": len(findings)}),
        "Explain the findings above.",
    ]
    return Message("system", _SYSTEM), Message("user", "\n\n".join(blocks))


_SYSTEM: Final = f"""\
You explain the state of a system to its operators. Rules have found what needs attention; you \
say what matters, what to do first, and what goes well.

{QUOTED_IS_DATA}

You write claims. A claim has a text, its references and one relation between them. You never \
write a figure: put {{1}}, {{2}} for the references in their order, and the program puts in the \
value with its name and its unit. {{1.name}} is the name alone, {{1.value}} the value alone, \
{{1.before}} the value of the run before. A reference is a path of the values, the id of a \
finding, or "bounds." and the id of a finding, for its bound.

The relations, each with the form that its text must have:
- equal: "{{1}}" with words of its name around it, "{{1}} and {{2}}", or "{{1.name}} equals {{2}}"
- above, below: "{{1}} is above {{2}}", "{{1}} is below {{2}}"
- rose, fell: "{{1.name}} rose from {{1.before}} to {{1.value}}", "{{1.name}} fell"
- share of: "{{1}} are {{share}} of {{2}}", for a part and its whole
- because: "{{1.name}} because {{2.name}}", for a finding and one that is listed as its cause

The program checks every claim and drops those that do not hold. Use the words of the names of \
what you refer to, and the words is, are, now, currently, shows, attention, needs, check, \
healthy, normal. Any other word drops the claim, above all words for how many (all, none, only), \
for not, and for why outside "because".

Answer with one JSON object and nothing else, in this form:
{{"insights": [{{"text": "{{1}}", "refs": ["queue_pending"], "relation": "equal"}}], \
"concerns": [], "positives": [], "advice": [{{"finding": "queue_backlog", "claim": \
{{"text": "{{1}} is above {{2}}", "refs": ["queue_pending", "bounds.queue_backlog"], \
"relation": "above"}}}}], "order": ["queue_backlog"], "score_shift": 0}}
Give at most {MAX_CLAIMS} claims in each list. A concern refers to a finding or to a value that \
one rests on, a positive to values about which nothing was found."""
