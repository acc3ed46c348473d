"""The words that claims may use, and those that they must not (SPEC §5, Claims).

A claim says what its references license, in few words of its own: what is not listed is dropped.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Form: TypeAlias = Literal["", "name", "value", "before"]

MAX_TEXT_CHARS: Final = 300

NEUTRAL: Final = frozenset(
    {
        *("a", "an", "the", "is", "are", "there", "now", "currently", "at", "present", "moment"),
        *("in", "on", "for", "with", "this", "that", "it", "its", "has", "have", "current"),
        *("shows", "show", "figure", "figures", "value", "overview", "also", "of"),
        *("status", "system", "platform", "snapshot", "stands", "note"),
    }
)
"""Words that claim nothing."""

WHOLE: Final = frozenset(
    {
        *("system", "platform", "status", "overview", "snapshot", "figures", "figure", "value"),
        *("this", "that", "it", "its", "current", "present", "there"),
    }
)
"""Words that speak of everything at once, or may: with praise beside them, nothing may be found."""

PRAISE: Final = frozenset({"healthy", "fine", "normal", "good", "well", "ok", "quiet"})
"""May be said of a value that a rule guards and about which nothing is found."""

BLAME: Final = frozenset(
    {
        *("attention", "needs", "need", "problem", "issue", "concern", "check", "review", "urgent"),
        *("investigate", "worrying", "bad", "risk"),
    }
)
"""May be said of a finding, or of a value that one rests on."""

HIGH: Final = frozenset({"high", "elevated", "large"})
LOW: Final = frozenset({"low", "small", "short"})
"""May be said of a value that is a finding since it is too high, or too low."""

QUANTIFIERS: Final = frozenset(
    {
        *("all", "none", "every", "each", "any", "always", "most", "mostly", "many", "few", "some"),
        *("everything", "nothing", "everyone", "everybody", "nobody", "anything", "entire", "only"),
        *("entirely", "completely", "fully", "half", "majority", "minority", "several", "both"),
        *("whole", "rarely", "often", "usually", "zero", "one", "two", "three", "double", "twice"),
        *("percent", "hundred", "thousand", "dozen", "million", "least", "almost", "nearly"),
    }
)
NEGATIONS: Final = frozenset(
    {
        *("no", "not", "never", "neither", "nor", "without", "cannot", "isn", "aren", "hasn"),
        *("haven", "wasn", "weren", "don", "doesn", "didn", "won", "hardly", "barely", "lacks"),
        *("lack", "absent", "except", "unless", "stopped", "ceased", "fails", "instead"),
    }
)
CAUSES: Final = frozenset(
    {
        *("because", "caused", "causes", "causing", "cause", "due", "since", "thus", "hence"),
        *("therefore", "so", "thanks", "owing", "result", "results", "resulting", "leads", "led"),
        *("why", "reason", "reasons", "explains", "triggered", "triggers", "blame", "from"),
    }
)
FORBIDDEN: Final = QUANTIFIERS | NEGATIONS | CAUSES
"""Words that no reference licenses in a claim's own text."""

VERBS: Final[Mapping[str, str]] = {
    verb: f"[{singular}|{plural}]"
    for singular, plural in (("is", "are"), ("has", "have"), ("needs", "need"), ("shows", "show"))
    for verb in (singular, plural)
}
"""Verbs of claims, with both of their forms: code writes the one that goes with a value."""

ABOVE_PHRASES: Final = (
    *("is above", "are above", "above", "exceeds", "exceed", "exceeding"),
    *("more than", "higher than", "greater than", "larger than"),
)
BELOW_PHRASES: Final = (
    *("is below", "are below", "below"),
    *("less than", "fewer than", "lower than", "smaller than"),
)
EQUAL_PHRASES: Final = ("equals", "equal", "matches", "match", "equal to", "the same as")
ROSE_WORDS: Final = frozenset({"rose", "grew", "increased", "climbed", "risen", "grown"})
FELL_WORDS: Final = frozenset({"fell", "dropped", "decreased", "declined", "shrank", "fallen"})
CAUSE_PHRASES: Final = ("because", "because of", "due to", "caused by")
COMPARING: Final = frozenset(
    {
        *("above", "below", "exceeds", "exceed", "exceeding", "more", "less", "fewer", "higher"),
        *("lower", "greater", "larger", "smaller", "than", "equals", "equal", "matches", "match"),
        *("same", "over", "under"),
    }
)
"""Words that a claim has only as its relation's phrase."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Where a value goes: of which reference, from 1, in which form; 0 is the share."""

    ref: int
    form: Form = ""


@dataclass(frozen=True, slots=True)
class Word:
    """A word, in small letters."""

    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A punctuation mark."""

    text: str


Token: TypeAlias = Placeholder | Word | Mark

_TOKEN: Final = re.compile(
    r"\{(?P<ref>[1-9])(?:\.(?P<form>name|value|before))?\}|(?P<share>\{share\})"
    r"|(?P<word>[A-Za-z]+)|(?P<mark>[,;:.()-])|(?P<blank> +)"
)


class OddText(Exception):
    """A text with something else than words, marks and placeholders; `args[0]` says what."""


def tokenise(text: str) -> list[Token]:
    """Take a text apart. Raises `OddText`: `literal_figure`, `odd_character`, `too_long`."""
    if len(text) > MAX_TEXT_CHARS:
        raise OddText("too_long")
    tokens: list[Token] = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            is_figure = text[place].isnumeric() or text[place] in "%‰$€£"
            raise OddText("literal_figure" if is_figure else "odd_character")
        if found["ref"]:
            tokens.append(Placeholder(int(found["ref"]), _form_of(found["form"])))
        elif found["share"]:
            tokens.append(Placeholder(0))
        elif found["word"]:
            tokens.append(Word(found["word"].lower()))
        elif found["mark"]:
            tokens.append(Mark(found["mark"]))
        place = found.end()
    return tokens


def _form_of(written: str | None) -> Form:
    return written if written in ("name", "value", "before") else ""


def is_list(tokens: Sequence[Token]) -> bool:
    """Return whether only commas and "and" stand between two references."""
    return bool(tokens) and all(
        token.text in ("and", ",", ";") for token in tokens if not isinstance(token, Placeholder)
    )


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text, in small letters."""
    return frozenset(re.findall(r"[a-z]+", text.lower()))
