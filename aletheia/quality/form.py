"""Whether a text has the form of prose for people: no program, no blanks, no fragments, no riddles.

What is found here says nothing about a department, however many of its words it has. The rules go
by marks and by repetition; each allows what people do write: a bracket, a name of a
setting, a sentence without its full stop.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from aletheia.quality.grammar import Grammar, fold
from aletheia.quality.sentences import Sentence

Ending: TypeAlias = Literal["closed", "open", "broken"]

NO_PROSE: Final = 0.15
"""What is left of the build of a text that is a program, a list of sources or full of blanks."""

BROKEN_OFF: Final = 0.3
"""The same of a text that breaks off, goes in circles, asks only, or is in verses."""

VERBLESS: Final = 0.6
"""The same of a text none of whose sentences has a predicate or a number."""

MIN_CODE_MARKS: Final = 3
MIN_CODE_SHARE: Final = 0.2
"""Marks of programs in a text, and their share of its words, from which it is one."""

MIN_WORDS_A_BLANK: Final = 10
"""Words of a text, below which one blank is too many."""

MIN_SOURCE_MARKS: Final = 2
"""Years in brackets, pages, editors, from which a text is a list of sources."""

MAX_ASKED: Final = 0.75
"""Share of questions, from which a text only asks."""

MIN_CONTENT: Final = 6
MIN_DISTINCT: Final = 0.6
"""Content words of a text, from which on they are counted, and the least share of distinct ones."""

MAX_OWN_SHARE: Final = 0.75
"""Share of distinct content words, up to which a text explains its words by themselves."""

MIN_VERSES: Final = 3
MAX_VERSE_WORDS: Final = 8
"""Lines of so few words make verses."""

_MIN_STEM: Final = 4
_MIN_SAME: Final = 5
_MIN_CUT_WORDS: Final = 6

_BLANK: Final = re.compile(
    r"\[(?!\d)[^\]\n]{1,40}\]|\{\{?[^{}\n]{1,40}\}\}?|<(?![\d\s=])[^<>\n]{1,40}>|_{3,}|\.{4,}"
    r"|\b[Xx]{2,4}\b(?!\s*[IVX])|\b(?:TB[DCA]|tb[dca])\b|\bHH:MM\b|\bDD[/.]MM\b|\bTT\.MM\b|#{2,}"
    r"|\bTODO\b|\bFIXME\b|\bN\. ?N\.|\blorem ipsum\b"
)
_CODE: Final = re.compile(
    r"[{}\\]|[=!<>]=|=>|->|::|&&|\|\||\w\(|\b\w+_\w+\b|\b[a-z]{2,}[A-Z]\w*\b|;\s*(?=\n|$|\})"
    r"|\s=\s|</?\w|\"\w+\":|^\s*(?:#|//|\$|>>>)\s*\w",
    re.MULTILINE,
)
_SOURCE: Final = re.compile(
    r"\((?:1[89]|20)\d\d[a-z]?\)|\b(?:pp|págs?|Vol|vol|Bd|Hrsg|Hg|eds?|éd|ISBN|ISSN)\b\.? ?[\d:.)]"
    r"|\b(?:doi|DOI)\b|\bet al\b|\bS\. \d+\s?[\u2013-]\s?\d+|\bp\. \d+"
)
_ENDED: Final = re.compile(r"[.!?:;)\]\"'\u201d\u00bb\u2019\u3002\uff01\uff1f%]\s*$")
_BROKEN: Final = re.compile(r"(?:\u2026|\.{3}|[,\u2013\u2014-])\s*$")
_INNER_END: Final = re.compile(r"[.!?]\s+\S")


def measure_form(text: str, sentences: Sequence[Sentence], grammar: Grammar | None) -> float:
    """Return what the form of a text leaves of its build, 0 to 1."""
    words = sum(sentence.words for sentence in sentences)
    if not words:
        return 0.0
    is_listing = len(_SOURCE.findall(text)) >= MIN_SOURCE_MARKS
    if is_listing or _is_program(text, words) or _is_full_of_blanks(text, words):
        return NO_PROSE
    asked = sum(sentence.is_question for sentence in sentences)
    is_broken = read_ending(text, sentences, grammar) == "broken" or _goes_in_circles(sentences)
    if is_broken or _is_verse(text) or asked >= MAX_ASKED * len(sentences):
        return BROKEN_OFF
    is_said = any(s.has_predicate or s.is_measured for s in sentences)
    return 1.0 if is_said or grammar is None else VERBLESS


def _is_program(text: str, words: int) -> bool:
    marks = len(_CODE.findall(text))
    return marks >= MIN_CODE_MARKS and marks >= MIN_CODE_SHARE * words


def _is_full_of_blanks(text: str, words: int) -> bool:
    """Return whether blanks are left in a text: a single one in a long text may be meant."""
    blanks = len(_BLANK.findall(text))
    return blanks > 1 or blanks * MIN_WORDS_A_BLANK > words


def read_ending(text: str, sentences: Sequence[Sentence], grammar: Grammar | None) -> Ending:
    """Return whether the last sentence has an end, none that can be seen, or breaks off.

    It breaks off at a dash, at a word that leads on, or where others before it have an end.
    """
    if not sentences:
        return "open"
    last = sentences[-1]
    if _BROKEN.search(text):
        return "broken"
    if _ENDED.search(text) or last.words < 2:  # noqa: PLR2004 - a word alone is a signature
        return "closed"
    low = last.tokens[-1].low
    leads_on = grammar is not None and low in (
        grammar.articles | grammar.prepositions | grammar.conjunctions
    )
    is_cut = _INNER_END.search(text) is not None and last.words >= _MIN_CUT_WORDS
    return "broken" if leads_on or is_cut else "open"


def _goes_in_circles(sentences: Sequence[Sentence]) -> bool:
    """Return whether a text says the same few words again and again."""
    said = Counter(
        token.low[:_MIN_STEM]
        for sentence in sentences
        for token in sentence.tokens
        if token.is_content and len(token.low) >= _MIN_STEM
    )
    total = said.total()
    return total >= MIN_CONTENT and len(said) <= MIN_DISTINCT * total


def is_repeating(sentences: Sequence[Sentence]) -> bool:
    """Return whether a quarter of a text's content words are others of them again, in any form."""
    said = Counter(
        fold(token.low)[:_MIN_SAME]
        for sentence in sentences
        for token in sentence.tokens
        if token.is_content and len(token.low) >= _MIN_SAME
    )
    return len(said) <= MAX_OWN_SHARE * said.total() if said else False


def _is_verse(text: str) -> bool:
    lines = [line for line in re.split(r"\n|\s/\s", text.strip()) if line.strip()]
    short = [line for line in lines if len(line.split()) <= MAX_VERSE_WORDS]
    is_list = any(line.lstrip()[:1] in "-*\u2022\u25cf0123456789" for line in lines)
    return len(lines) >= MIN_VERSES and len(short) == len(lines) and not is_list
