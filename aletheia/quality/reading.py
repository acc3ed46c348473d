"""What a text holds, as far as quality counts: words, sentences, specifics, signs of action.

Lists of words are English, German, French and Spanish. In other languages fewer specifics and signs
are seen, so that scores are lower, never higher.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

from aletheia.quality.form import Ending, is_repeating, measure_form, read_ending
from aletheia.quality.grammar import Grammar, find_language, grammar_of
from aletheia.quality.measures import count_impossible
from aletheia.quality.packaged import read_packaged
from aletheia.quality.sentences import (
    MEASURED_BUILD,
    UNSPACED,
    Sentence,
    Token,
    is_verb,
    split_sentences,
)
from aletheia.quality.word_order import measure_order
from aletheia.text.facts import Quantity, read_quantities
from aletheia.text.normalisation import normalise

_MIN_STEM: Final = 4
_MIN_FUNCTION: Final = 3
_MIN_FRAME: Final = 7
_MIN_AGENT: Final = 5
_MAX_INITIALS: Final = 2
_NOBODY: Final = frozenset(["it", "es", "se", "lo", "le", "ne", "n", "s"])
_SHINGLE: Final = 3
_NO_SIGNS: Final[frozenset[str]] = frozenset()
_NEGATED_WORDS: Final = 3

_ENDING: Final = re.compile(
    r"(?:ments?|ings?|ions?|ungen|ung|ies|ied|ed|es|ern|ers?|e[nm]|[seny])$"
)
"""What is taken off a word; the longest one, since a search finds the earliest."""

_LETTER: Final = rf"[^\W\d_{UNSPACED}]"
WORD: Final = re.compile(rf"[{UNSPACED}]|{_LETTER}(?:{_LETTER}|['\u2019-](?={_LETTER}))*")
_ELIDED: Final = re.compile(r"^(?:qu|[cdjlmnst])['\u2019](?=\w{2})")

_FIGURE: Final = re.compile(r"\d+(?:[.,:/]\d+)*")
"""A number in a word: items that differ in their numbers alone are one template."""

_TIME: Final = frozenset({"s", "month", "am", "pm"})
"""Dimensions of `UNITS` that are times."""

_NOMINAL_LANGUAGE: Final = "de"
"""Its nouns begin with a capital, so that a capital is no sign of a name."""


@lru_cache(maxsize=65_536)
def stem_of(word: str) -> str:
    """Return the form that a word shares with its inflections."""
    plain = unicodedata.normalize("NFKD", word.casefold())
    stem = "".join(character for character in plain if not unicodedata.combining(character))
    stem = _ELIDED.sub("", stem).replace("'", "").replace("\u2019", "")
    while ending := _ENDING.search(stem, _MIN_STEM):
        stem = stem[: ending.start()]
    return stem


_LISTS: Final[Mapping[str, str]] = read_packaged("quality_words.yaml")

WORDS: Final = {
    name: frozenset(words.split() if name == "verbs" else map(stem_of, words.split()))
    for name, words in _LISTS.items()
}
"""Lists of words by name, as stems: `stop`, `vague`, `actors`, `actions`, `times`, `reasons`,
`forbidden`; and `verbs` as they are written: "plans" begins a clause, "planning" is a subject."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a sentence says of its content words: which it states, and which it denies."""

    stated: frozenset[str]
    denied: frozenset[str]
    is_turned: bool = False  # whether it both states and denies one of them
    figures: tuple[tuple[str, frozenset[Fraction]], ...] = ()  # dimension and amounts, base units


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text holds."""

    language: str | None  # the one that it shows, or else that of its surroundings
    order: tuple[str, ...]  # its content words as stems, each once, in their order
    specific: frozenset[str]  # those that are not vague
    triples: frozenset[int]  # hashes of its word triples
    pairs: frozenset[int]  # hashes of its word pairs
    frames: frozenset[int]  # hashes of its sentences without their content words
    sentences: int  # how many there are
    build: float  # how far they are built as sentences are, 0 to 1
    is_repeating: bool  # whether it says the same few words again
    impossible: int  # figures whose unit cannot be that of what they measure
    word_order: float  # how usual the order of their words is, see `measure_order`
    ending: Ending  # of the last one
    verbless: int  # how many have no predicate and no measure
    questions: float  # share of them that ask
    specifics: frozenset[tuple[str, str]]  # kind and value of each, see `SPECIFICS`
    signs: frozenset[str]  # which of `who`, `what`, `when` and `how` its best sentence has
    statements: tuple[Statement, ...]  # of its sentences
    vagueness: float  # share of vague words among the content words


SPECIFICS: Final = ("figure", "count", "name", "condition", "step", "example")
"""Kinds of specifics: a figure with its unit, a number of things, a name, a condition or reason, a
place in an order, an example."""


@lru_cache(maxsize=16_384)
def read_text(text: str, language: str | None = None) -> Reading:
    """Return what a text holds; `language` is the one it is read in if it does not show its own."""
    language = find_language(text, language)
    grammar = grammar_of(language)
    sentences = split_sentences(text, grammar)
    counted, specific = _find_stems(text)
    words = [_FIGURE.sub("0", word) for word in normalise(text).split()]
    total = sum(sentence.words for sentence in sentences)
    built = sum(s.build * s.words for s in sentences) / total if total else 0.0
    return Reading(
        language=language,
        order=tuple(counted),
        specific=specific,
        triples=_shingles(words, _SHINGLE),
        pairs=_shingles(words, 2),
        frames=frozenset(filter(None, map(_frame, sentences))),
        sentences=len(sentences),
        build=built * measure_form(text, sentences, grammar),
        is_repeating=is_repeating(sentences),
        impossible=count_impossible(sentences, grammar),
        word_order=measure_order(sentences, grammar),
        ending=read_ending(text, sentences, grammar),
        verbless=sum(not s.has_predicate and s.build < MEASURED_BUILD / 2 for s in sentences),
        questions=sum(s.is_question for s in sentences) / max(1, len(sentences)),
        specifics=frozenset(_find_specifics(text, sentences, grammar)),
        signs=max((_read_signs(s, grammar) for s in sentences), key=len, default=_NO_SIGNS),
        statements=tuple(_read_statement(s, grammar) for s in sentences),
        vagueness=1.0 - len(specific) / len(counted) if counted else 1.0,
    )


@lru_cache(maxsize=16_384)
def find_specific(text: str) -> frozenset[str]:
    """Return the content words of a text that are not vague, as stems; see `Reading.specific`."""
    return _find_stems(text)[1]


def _find_stems(text: str) -> tuple[dict[str, None], frozenset[str]]:
    """Return the content words of a text as stems, in their order, and those that are not vague."""
    counted = dict.fromkeys(map(stem_of, WORD.findall(text)))
    for stem in WORDS["stop"].intersection(counted):
        del counted[stem]
    return counted, frozenset(counted).difference(WORDS["vague"])


def _shingles(words: Sequence[str], size: int) -> frozenset[int]:
    return frozenset(map(hash, zip(*(words[n:] for n in range(size)), strict=False)))


def _frame(sentence: Sentence) -> int | None:
    """Return the hash of a sentence without its content words; `None` of one that is short."""
    frame = tuple("*" if token.is_content else token.low for token in sentence.tokens)
    function = sum(part != "*" and part.isalpha() for part in frame)
    is_long = function >= _MIN_FUNCTION and len(frame) >= _MIN_FRAME
    return hash(frame) if is_long else None


def _find_specifics(
    text: str, sentences: Sequence[Sentence], grammar: Grammar | None
) -> Iterator[tuple[str, str]]:
    for quantity in read_quantities(text):
        if quantity.dimension:
            value = min(quantity.values) * quantity.factor
            yield "figure", f"{float(value):g} {quantity.dimension}"
    for sentence in sentences:
        tokens = sentence.tokens
        for place, token in enumerate(tokens):
            if _is_number(token, grammar) and (following := _next_content(tokens, place + 1)):
                yield "count", f"{token.low} {following}"
            elif _is_name(tokens, place, grammar):
                yield "name", token.low
            elif (
                grammar is not None
                and (kind := _introduces(token, grammar))
                and (following := _next_content(tokens, place + 1))
            ):
                yield kind, following


def _introduces(token: Token, grammar: Grammar) -> str:
    """Return what kind of specific a function word introduces; empty if none."""
    if token.low in grammar.conditions or token.low in grammar.temporal:
        return "condition"
    if token.low in grammar.steps:
        return "step"
    return "example" if token.low in grammar.examples else ""


def _is_number(token: Token, grammar: Grammar | None) -> bool:
    return token.kind == "number" or (grammar is not None and token.low in grammar.numbers)


def _next_content(tokens: Sequence[Token], place: int) -> str:
    """Return the stem of the first content word within the next three tokens."""
    for token in tokens[place : place + 3]:
        if token.kind == "mark" and token.text not in "-\u2013%":
            return ""
        if token.is_content:
            return stem_of(token.text)
    return ""


def _is_name(tokens: Sequence[Token], place: int, grammar: Grammar | None) -> bool:
    """Return whether a word is a name: a capital within a sentence, or an abbreviation."""
    token, before = tokens[place], tokens[place - 1]
    if token.kind != "word" or not place:
        return False
    text = token.text
    has_digit = not text.isalpha() and any(c.isdigit() for c in text)
    if len(text) > 1 and (has_digit or text.isupper()):
        return True
    if before.kind == "mark" and before.text not in ",(/&":
        return False
    is_capital = text[:1].isupper() and len(text) > _MAX_INITIALS
    return is_capital and grammar is not None and grammar.language != _NOMINAL_LANGUAGE


@lru_cache(maxsize=256)
def _read_amounts(text: str) -> tuple[Quantity, ...]:
    """Read the numbers of a sentence, which is asked for its signs and for its figures."""
    return read_quantities(text)


def _read_signs(sentence: Sentence, grammar: Grammar | None) -> frozenset[str]:
    """Return what a sentence says of an action; nothing if there is no action in it."""
    tokens = sentence.tokens
    stems = [stem_of(token.text) if token.kind == "word" else "" for token in tokens]
    quantities = _read_amounts(" ".join(token.text for token in tokens))
    present = {stem for stem in stems if stem}
    first = next((place for place, token in enumerate(tokens) if token.kind == "word"), 0)
    is_order = grammar is not None and _is_order(tokens, first, grammar)
    actions = is_order or not present.isdisjoint(WORDS["actions"])
    if not actions and grammar is not None:
        actions = any(
            token.is_content and is_verb(tokens, place, grammar, is_first=place == first)
            for place, token in enumerate(tokens)
        )
    if not actions or sentence.build < MEASURED_BUILD / 2:
        return frozenset()
    lows = {token.low for token in tokens}
    signs = {
        "what": True,
        "who": is_order
        or not present.isdisjoint(WORDS["actors"])
        or (grammar is not None and _has_agent(tokens, grammar)),
        "when": not present.isdisjoint(WORDS["times"])
        or (grammar is not None and not lows.isdisjoint(grammar.temporal))
        or any(quantity.dimension in _TIME for quantity in quantities),
        "how": any(quantity.dimension not in {"", *_TIME} for quantity in quantities)
        or any(_is_number(token, grammar) for token in tokens)
        or (grammar is not None and not lows.isdisjoint(grammar.means)),
    }
    return frozenset(sign for sign, is_there in signs.items() if is_there)


def _is_order(tokens: Sequence[Token], first: int, grammar: Grammar) -> bool:
    """Return whether a sentence begins with what is to be done: "Weigh the flour"."""
    if tokens[first].low in grammar.function:
        return False
    after = tokens[first + 1].low if first + 1 < len(tokens) else ""
    if grammar.language == "en" and after in {"of", "and", "is", "are", "was", "must", "should"}:
        return False
    return is_verb(tokens, first, grammar, is_first=True)


def _has_agent(tokens: Sequence[Token], grammar: Grammar) -> bool:
    """Return whether somebody acts: a pronoun for people, or an article before an agent noun."""
    endings = tuple(grammar.agents)
    for place, token in enumerate(tokens):
        if token.low in grammar.subjects and token.low not in _NOBODY:
            return True
        is_noun = token.kind == "word" and len(token.text) >= _MIN_AGENT and place > 0
        if is_noun and token.low.rstrip("sn").endswith(endings):
            before = tokens[place - 1].low
            if before in grammar.articles or before in {"der", "die", "das", "den", "two", "one"}:
                return True
    return False


def _read_statement(sentence: Sentence, grammar: Grammar | None) -> Statement:
    stated: set[str] = set()
    denied: set[str] = set()
    affirmed: set[str] = set()
    last, left = "", 0
    negations = _NO_SIGNS if grammar is None else grammar.negations | grammar.negations_after
    for token in sentence.tokens:
        if token.kind == "mark":
            left = 0 if token.text != "-" else left
        elif grammar is not None and token.low in negations:
            left = _NEGATED_WORDS
            if token.low in grammar.negations_after and last:
                denied.add(last)
                affirmed.discard(last)
        elif token.is_content and (stem := stem_of(token.text)) not in WORDS["stop"]:
            stated.add(stem)
            last = stem
            if left:
                denied.add(stem)
                left -= 1
            else:
                affirmed.add(stem)
    is_turned = not affirmed.isdisjoint(denied)
    if not stated.isdisjoint(WORDS["forbidden"]):
        stated -= WORDS["forbidden"]
        denied = set(stated)
    return Statement(
        frozenset(stated - denied), frozenset(denied), is_turned, _read_figures(sentence)
    )


def _read_figures(sentence: Sentence) -> tuple[tuple[str, frozenset[Fraction]], ...]:
    """Return the amounts of a sentence in base units, by what they are amounts of."""
    found: dict[str, frozenset[Fraction]] = {}
    for quantity in _read_amounts(" ".join(token.text for token in sentence.tokens)):
        if quantity.dimension:
            values = frozenset(value * quantity.factor for value in quantity.values)
            name = f"{quantity.dimension}/{quantity.per}"
            found[name] = found.get(name, frozenset()) | values
    return tuple(found.items())
