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
from importlib import resources
from typing import Final

import yaml

from aletheia.quality.form import Ending, measure_form, read_ending
from aletheia.quality.grammar import Grammar, find_language, grammar_of
from aletheia.quality.measures import count_impossible
from aletheia.quality.orders import find_judging
from aletheia.quality.sentences import (
    MEASURED_BUILD,
    UNSPACED,
    Sentence,
    Token,
    is_content,
    is_verb,
    split_sentences,
)
from aletheia.quality.word_order import measure_order
from aletheia.text.facts import read_facts
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


_LISTS: Final[Mapping[str, str]] = yaml.load(
    resources.files("aletheia.quality").joinpath("quality_words.yaml").read_text("utf-8"),
    Loader=yaml.CSafeLoader,
)

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
    figures: tuple[tuple[str, frozenset[Fraction]], ...] = ()  # dimension and amounts, base units


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text holds."""

    order: tuple[str, ...]  # its content words as stems, each once, in their order
    specific: frozenset[str]  # those that are not vague
    triples: frozenset[int]  # hashes of its word triples
    pairs: frozenset[int]  # hashes of its word pairs
    frames: frozenset[int]  # hashes of its sentences without their content words
    sentences: int  # how many there are
    build: float  # how far they are built as sentences are, 0 to 1
    impossible: int  # figures whose unit cannot be that of what they measure
    word_order: float  # how usual the order of their words is, see `measure_order`
    ending: Ending  # of the last one
    verbless: int  # how many have no predicate and no measure
    questions: float  # share of them that ask
    specifics: frozenset[tuple[str, str]]  # kind and value of each, see `SPECIFICS`
    signs: frozenset[str]  # which of `who`, `what`, `when` and `how` its best sentence has
    statements: tuple[Statement, ...]  # of its sentences
    vagueness: float  # share of vague words among the content words
    judging: frozenset[str]  # kinds of words of judging, see `find_judging`


SPECIFICS: Final = ("figure", "count", "name", "condition", "step", "example")
"""Kinds of specifics: a figure with its unit, a number of things, a name, a condition or reason, a
place in an order, an example."""


@lru_cache(maxsize=16_384)
def read_text(text: str, language: str | None = None) -> Reading:
    """Return what a text holds; `language` is the one it is read in if it does not show its own."""
    grammar = grammar_of(find_language(text, language))
    sentences = split_sentences(text, grammar)
    stems = [stem_of(word) for word in WORD.findall(text)]
    counted = dict.fromkeys(stem for stem in stems if stem not in WORDS["stop"])
    specific = frozenset(stem for stem in counted if stem not in WORDS["vague"])
    words = normalise(text).split()
    total = sum(sentence.words for sentence in sentences)
    built = sum(s.build * s.words for s in sentences) / total if total else 0.0
    return Reading(
        order=tuple(counted),
        specific=specific,
        triples=_shingles(words, _SHINGLE),
        pairs=_shingles(words, 2),
        frames=frozenset(filter(None, (_frame(s, grammar) for s in sentences))),
        sentences=len(sentences),
        build=built * measure_form(text, sentences, grammar),
        impossible=count_impossible(sentences, grammar),
        word_order=measure_order(sentences, grammar),
        ending=read_ending(text, sentences, grammar),
        verbless=sum(not s.has_predicate and s.build < MEASURED_BUILD / 2 for s in sentences),
        questions=sum(s.is_question for s in sentences) / max(1, len(sentences)),
        specifics=frozenset(_find_specifics(text, sentences, grammar)),
        signs=max((_read_signs(s, grammar) for s in sentences), key=len, default=_NO_SIGNS),
        statements=tuple(_read_statement(s, grammar) for s in sentences),
        vagueness=1.0 - len(specific) / len(counted) if counted else 1.0,
        judging=find_judging(text),
    )


def _shingles(words: Sequence[str], size: int) -> frozenset[int]:
    return frozenset(map(hash, zip(*(words[n:] for n in range(size)), strict=False)))


def _frame(sentence: Sentence, grammar: Grammar | None) -> int | None:
    """Return the hash of a sentence without its content words; `None` of one that is short."""
    frame = tuple("*" if is_content(t, grammar) else t.low for t in sentence.tokens)
    function = sum(part != "*" and part.isalpha() for part in frame)
    is_long = function >= _MIN_FUNCTION and len(frame) >= _MIN_FRAME
    return hash(frame) if is_long else None


def _find_specifics(
    text: str, sentences: Sequence[Sentence], grammar: Grammar | None
) -> Iterator[tuple[str, str]]:
    for quantity in read_facts(text).quantities:
        if quantity.dimension:
            value = min(quantity.values) * quantity.factor
            yield "figure", f"{float(value):g} {quantity.dimension}"
    for sentence in sentences:
        for place, token in enumerate(sentence.tokens):
            following = _next_content(sentence.tokens, place + 1, grammar)
            if _is_number(token, grammar) and following:
                yield "count", f"{token.low} {following}"
            elif _is_name(sentence.tokens, place, grammar):
                yield "name", token.low
            elif grammar is not None and following:
                yield from ((kind, following) for kind in _introduces(token, grammar))


def _introduces(token: Token, grammar: Grammar) -> Iterator[str]:
    """Yield what kind of specific a function word introduces, if any."""
    if token.low in grammar.conditions or token.low in grammar.temporal:
        yield "condition"
    elif token.low in grammar.steps:
        yield "step"
    elif token.low in grammar.examples:
        yield "example"


def _is_number(token: Token, grammar: Grammar | None) -> bool:
    return token.kind == "number" or (grammar is not None and token.low in grammar.numbers)


def _next_content(tokens: Sequence[Token], place: int, grammar: Grammar | None) -> str:
    """Return the stem of the first content word within the next three tokens."""
    for token in tokens[place : place + 3]:
        if token.kind == "mark" and token.text not in "-\u2013%":
            return ""
        if is_content(token, grammar):
            return stem_of(token.text)
    return ""


def _is_name(tokens: Sequence[Token], place: int, grammar: Grammar | None) -> bool:
    """Return whether a word is a name: a capital within a sentence, or an abbreviation."""
    token, before = tokens[place], tokens[place - 1]
    if token.kind != "word" or not place:
        return False
    text = token.text
    if len(text) > 1 and (text.isupper() or any(c.isdigit() for c in text)):
        return True
    if before.kind == "mark" and before.text not in ",(/&":
        return False
    is_capital = text[:1].isupper() and len(text) > _MAX_INITIALS
    return is_capital and grammar is not None and grammar.language != _NOMINAL_LANGUAGE


def _read_signs(sentence: Sentence, grammar: Grammar | None) -> frozenset[str]:
    """Return what a sentence says of an action; nothing if there is no action in it."""
    tokens = sentence.tokens
    stems = [stem_of(token.text) if token.kind == "word" else "" for token in tokens]
    quantities = read_facts(" ".join(token.text for token in tokens)).quantities
    present = {stem for stem in stems if stem}
    first = next((place for place, token in enumerate(tokens) if token.kind == "word"), 0)
    is_order = grammar is not None and _is_order(tokens, first, grammar)
    actions = is_order or not present.isdisjoint(WORDS["actions"])
    if not actions and grammar is not None:
        actions = any(
            is_content(token, grammar) and is_verb(tokens, place, grammar, is_first=place == first)
            for place, token in enumerate(tokens)
            if token.kind == "word"
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
    last, left = "", 0
    for token in sentence.tokens:
        if token.kind == "mark":
            left = 0 if token.text != "-" else left
        elif grammar is not None and token.low in grammar.negations | grammar.negations_after:
            left = _NEGATED_WORDS
            if token.low in grammar.negations_after and last:
                denied.add(last)
        elif is_content(token, grammar) and (stem := stem_of(token.text)) not in WORDS["stop"]:
            stated.add(stem)
            last = stem
            if left:
                denied.add(stem)
                left -= 1
    if not stated.isdisjoint(WORDS["forbidden"]):
        stated -= WORDS["forbidden"]
        denied = set(stated)
    return Statement(frozenset(stated - denied), frozenset(denied), _read_figures(sentence))


def _read_figures(sentence: Sentence) -> tuple[tuple[str, frozenset[Fraction]], ...]:
    """Return the amounts of a sentence in base units, by what they are amounts of."""
    found: dict[str, frozenset[Fraction]] = {}
    text = " ".join(token.text for token in sentence.tokens)
    for quantity in read_facts(text).quantities:
        if quantity.dimension:
            values = frozenset(value * quantity.factor for value in quantity.values)
            name = f"{quantity.dimension}/{quantity.per}"
            found[name] = found.get(name, frozenset()) | values
    return tuple(found.items())
