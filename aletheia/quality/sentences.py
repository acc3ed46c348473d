"""Sentences: whether one is built as sentences are, and what it says of whom, when and how.

A sentence has a predicate, or at least a measure ("74 % water, 2 % salt"); its function words stand
where they can stand; its content words do not stand in heaps.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from aletheia.quality.grammar import Grammar, fold

UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Characters of scripts without spaces between words, as a range of a regular expression."""

_TOKEN: Final = re.compile(
    rf"(?P<number>\d+(?:[.,:/'\u2019]\d+)*)|(?P<word>[{UNSPACED}]|[^\W\d_{UNSPACED}]"
    rf"(?:[^\W_{UNSPACED}]|['\u2019-](?=[^\W\d_]))*)|(?P<mark>[^\w\s])"
)
_ABBREVIATIONS: Final = (
    "Dr",
    "Mr",
    "Ms",
    "St",
    "Nr",
    "No",
    "Sr",
    "Mrs",
    "Sra",
    "Mme",
    "Art",
    "Prof",
    "Abs",
)
_NO_END: Final = "".join(rf"(?<!\b{word})" for word in _ABBREVIATIONS)
"""Of a word whose full stop ends no sentence."""

_SENTENCE_END: Final = re.compile(
    rf"(?<![ .(]\w)(?<!^\w){_NO_END}[.!?\u2026]+[\"'\u201d\u00bb)]*(?=\s+[^a-z\s]|\s*$)"
    r"|[\u3002\uff01\uff1f]|\n+"
)
_CLAUSE_MARKS: Final = frozenset(",;:.!?()\u2026\u2013\u2014")

MAX_RUN: Final = 6
"""Content words in a row, above which they are a heap: in the project's own texts not one sentence
of a hundred has more, word salad has 7 to 12."""

MEASURED_BUILD: Final = 0.85
VERBLESS_BUILD: Final = 0.3
UNREAD_BUILD: Final = 0.8
"""Build of a sentence without a predicate, with and without a measure in it, and of one in a
language that is not read."""

_FAULT_FACTORS: Final = (1.0, 0.6, 0.15)
"""What so many misplaced function words leave of a build; more leave nothing."""

_ENDS: Final = frozenset(".!?;),")
_AFTER_NO_ARTICLE: Final = frozenset({"is", "are", "must"})

_MAX_ELIDED: Final = 2  # letters, as in `qu'il`
_MIN_WORDS: Final = 3
_MIN_GERMAN_VERB: Final = 5
_MIN_ENGLISH_VERB: Final = 5
_HEAVY_LIST: Final = 0.34
_LONG: Final = 8
_REPETITIVE: Final = 0.55


class Token(NamedTuple):
    """A word, number or mark of a text, as it is written."""

    text: str
    kind: str  # `word`, `number` or `mark`
    low: str  # in lower case
    is_content: bool  # whether it is a word with a meaning of its own


_END: Final = Token(".", "mark", ".", is_content=False)
"""What stands behind the last token of a sentence, where that matters."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence in tokens; `build` is how far it is built as sentences are, 0 to 1."""

    tokens: tuple[Token, ...]
    words: int  # how many words and numbers it has
    has_predicate: bool
    build: float

    @property
    def is_measured(self) -> bool:
        """Whether it has a number in digits."""
        return any(token.kind == "number" for token in self.tokens)

    @property
    def is_question(self) -> bool:
        """Whether it asks."""
        return any(token.text in "?\uff1f\u00bf" for token in self.tokens if token.kind == "mark")


def split_sentences(text: str, grammar: Grammar | None) -> tuple[Sentence, ...]:
    """Split a text into its sentences; those without a word are left out."""
    parts: list[str] = []
    begin = 0
    for end in _SENTENCE_END.finditer(text):
        parts.append(text[begin : end.end()])
        begin = end.end()
    parts.append(text[begin:])
    tokens = (tuple(_tokens_of(part, grammar)) for part in parts)
    return tuple(
        _read(found, grammar) for found in tokens if any(token.kind == "word" for token in found)
    )


def _tokens_of(text: str, grammar: Grammar | None) -> Iterator[Token]:
    for found in _TOKEN.finditer(text):
        word, kind = found[0], str(found.lastgroup)
        if kind != "word":
            yield Token(word, kind, word.casefold(), is_content=False)
            continue
        # An elided article is a word of its own: l'eau, d'abord, qu'il.
        apostrophe = max(word.find("'"), word.find("\u2019"))
        is_elided = 0 < apostrophe <= _MAX_ELIDED
        for part in (word[:apostrophe], word[apostrophe + 1 :]) if is_elided else (word,):
            low = part.casefold()
            is_content = grammar is None or low not in grammar.function
            yield Token(part, kind, low, is_content=is_content)


def _read(tokens: tuple[Token, ...], grammar: Grammar | None) -> Sentence:
    words = [token for token in tokens if token.kind != "mark"]
    marks = sum(token.text in ",;|/\u2022\u3001" for token in tokens)
    if grammar is None:
        is_list = marks > _HEAVY_LIST * len(words)
        return Sentence(tokens, len(words), True, VERBLESS_BUILD if is_list else UNREAD_BUILD)
    has_predicate = _has_predicate(tokens, grammar)
    is_measured = any(token.kind == "number" for token in tokens)
    numbers = sum(token.kind == "number" for token in tokens)
    said = sum(token.is_content for token in tokens)
    build = 1.0 if has_predicate else MEASURED_BUILD if 0 < numbers < said else VERBLESS_BUILD
    if len(words) < _MIN_WORDS and not is_measured:
        build = min(build, VERBLESS_BUILD)
    faults = _count_faults(tokens, grammar)
    build *= _FAULT_FACTORS[faults] if faults < len(_FAULT_FACTORS) else 0.0
    build *= 1.0 - _share_in_heaps(tokens)
    if len(words) >= _LONG and len({word.low for word in words}) < _REPETITIVE * len(words):
        build *= 0.2
    if marks > _HEAVY_LIST * len(words) and not is_measured:
        build = min(build, VERBLESS_BUILD)
    if _is_heap_of_numbers(tokens):
        build *= 0.3
    return Sentence(tokens, len(words), has_predicate, build)


def _has_predicate(tokens: Sequence[Token], grammar: Grammar) -> bool:
    words = [place for place, token in enumerate(tokens) if token.kind == "word"]
    for position, place in enumerate(words):
        low = tokens[place].low
        if low in grammar.finite or low in grammar.clauses:
            return True
        after = tokens[place + 1] if place + 1 < len(tokens) else None
        if low in grammar.subjects and after is not None and after.is_content:
            return True
        if low not in grammar.function and is_verb(tokens, place, grammar, is_first=not position):
            return True
    return False


def is_verb(tokens: Sequence[Token], place: int, grammar: Grammar, *, is_first: bool) -> bool:
    """Return whether a content word is used as a verb, by its form and its neighbours."""
    low, plain = tokens[place].low, fold(tokens[place].text)
    before = tokens[place - 1].low if place else ""
    after = tokens[place + 1].low if place + 1 < len(tokens) else ""
    is_known = plain in grammar.verbs and low not in grammar.not_verbs
    if grammar.language == "de":
        is_capital = tokens[place].text[:1].isupper()
        if is_capital and not is_first:
            return False
        is_formed = len(low) >= _MIN_GERMAN_VERB and low.endswith(("t", "te", "ten"))
        is_formed = is_formed and low not in grammar.not_verbs and not is_capital
        return is_known or (is_formed and before not in grammar.articles)
    if before in grammar.articles or (before in grammar.prepositions and before != "para"):
        return False
    if grammar.language == "en":
        is_formed = len(low) >= _MIN_ENGLISH_VERB and low.endswith("ed")
        # "The whole matter of": a noun; "The crew checks the valve": a verb.
        is_noun = not is_first and after in {"of", "and", "or", ",", ".", ""}
        return is_formed or (is_known and (not is_noun or low.endswith("ed")))
    if grammar.language == "es":
        future = ("ará", "arán", "erá", "erán", "irá", "irán")
        is_formed = low.endswith((*future, "aron", "ieron"))
        return is_formed or is_known
    is_formed = len(low) >= _MIN_ENGLISH_VERB and low.endswith(("ez", "era", "eront", "aient"))
    return is_formed or is_known


def _count_faults(tokens: Sequence[Token], grammar: Grammar) -> int:
    """Count the function words that cannot stand before what follows them."""
    hard, articles, conjunctions = grammar.prepositions, grammar.articles, grammar.conjunctions
    is_english = grammar.language == "en"
    faults = 0
    for token, following in zip(tokens, (*tokens[1:], _END), strict=True):
        if token.kind != "word" or token.is_content:
            continue
        low, after = token.low, following.low
        is_end = after in _ENDS
        if low in articles:
            wrong = is_end or after in conjunctions
            if is_english:
                wrong = wrong or after in hard or after in articles or after in _AFTER_NO_ARTICLE
            faults += wrong
        elif low in hard:
            faults += (is_end and grammar.language != "de") or (
                after in conjunctions or (is_english and after in hard)
            )
        elif low in conjunctions:
            faults += after in conjunctions or after in {".", "!", "?"}
    return faults


def _share_in_heaps(tokens: Sequence[Token]) -> float:
    """Return the share of words that stand in too long rows of content words."""
    words = heaped = run = 0
    for token in (*tokens, _END):
        words += token.kind != "mark"
        if token.is_content:
            run += 1
            continue
        heaped += run if run > MAX_RUN else 0
        run = 0
    return heaped / max(1, words)


def _is_heap_of_numbers(tokens: Sequence[Token]) -> bool:
    """Return whether most numbers count nothing: no word that could be counted follows them."""
    bare = counting = 0
    for place, token in enumerate(tokens):
        if token.kind != "number":
            continue
        after = tokens[place + 1] if place + 1 < len(tokens) else _END
        is_counting = after.is_content or after.text in "%\u2030\u00b0\u20ac$\u00a3"
        counting, bare = counting + is_counting, bare + (not is_counting)
    return bare > 3 and bare > 2 * counting  # noqa: PLR2004 - three may be a list
