"""The words of a text, read so that two texts can be aligned word by word (SPEC §4, Dedup).

A text is read into its words in order, without articles and forms of `be`. Words with a meaning of
their own are its content; the others, such as `by`, `not` and `you`, say who does what to whom.
Endings are taken off, as far as no other word comes of it: `employer` and `employee` stay two.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import yaml

from aletheia.text.facts import CUES, FUNCTION_WORDS, NUMBER_WORDS, UNITS
from aletheia.text.normalisation import normalise

_LISTS: Final[Mapping[str, Any]] = yaml.safe_load(
    resources.files("aletheia.text").joinpath("wording_words.yaml").read_text("utf-8")
)


def _split_lists(names: str) -> Iterator[str]:
    """Yield the words of the lists of all languages under a name."""
    for words in _LISTS[names].values():
        yield from normalise(words).split()


_IDLE: Final = frozenset(_split_lists("idle"))
_FUNCTION: Final = FUNCTION_WORDS.union(CUES, _split_lists("function")) - _IDLE
STOP_WORDS: Final = _FUNCTION | _IDLE
"""Words without a meaning of their own, of all languages that have lists, in normalised form."""

_NEGATIONS: Final = CUES.union(_split_lists("negations"))

_CALENDAR: Final[Mapping[str, str]] = {
    word: f"{kind} {number}"
    for kind, by_language in _LISTS["calendar"].items()
    for words in by_language.values()
    for number, synonyms in enumerate(words.split(), start=1)
    for word in synonyms.split("/")
    if word != "_"
}
"""Weekday, month, ordinal, frequency: what it is, so that the same in two languages is equal."""

_CAPITALISED: Final = frozenset(_LISTS["capitalised"].split())
"""Words of the calendar that are others in lower case, such as `may`."""

_OPPOSITES: Final = tuple(
    tuple(side.split() for side in line.split("|"))
    for lines in _LISTS["opposites"].values()
    for line in lines.strip().splitlines()
)

_TIMES: Final = frozenset(unit for unit, (kind, _) in UNITS.items() if kind in {"s", "month"})
_ALL: Final = "all"


_EVERY: Final = frozenset(_LISTS["every"].split())
_FREQUENCIES: Final[Mapping[tuple[str, int], str]] = {
    ("s", 3600): "hourly",
    ("s", 86400): "daily",
    ("s", 604800): "weekly",
    ("month", 1): "monthly",
    ("month", 12): "yearly",
}
_EVERY_UNIT: Final = {
    unit: _CALENDAR[_FREQUENCIES[kind, int(factor)]]
    for unit, (kind, factor) in UNITS.items()
    if (kind, factor) in _FREQUENCIES
}
"""What `every day` is in the calendar: the same as `daily`."""


def _index_scopes(kinds: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    """Return of which kind each word is."""
    return {
        word: kind
        for kind, by_language in kinds.items()
        for words in by_language.values()
        for word in normalise(words).split()
    }


_SCOPES: Final = _index_scopes(_LISTS["scopes"])
_EITHER_SCOPES: Final = tuple(map(_index_scopes, _LISTS["either_scopes"].values()))

_ELISION: Final = re.compile(
    r"\b([ldjmtsnc]|qu|jusqu|lorsqu|puisqu|all|dell|nell|sull|dall|un|quest|gl)['\u2019](?=\w)",
    re.IGNORECASE,
)
_SIGN_CHARACTERS: Final = frozenset("=≠<>≤≥≈±")
_SIGNS: Final = re.compile(f"[{''.join(sorted(_SIGN_CHARACTERS))}]")
_SPELLED_SIGNS: Final[Sequence[tuple[str, str]]] = (
    ("!==", "≠"),
    ("===", "="),
    ("=/=", "≠"),
    ("<>", "≠"),
    ("!=", "≠"),
    ("<=", "≤"),
    (">=", "≥"),
    ("⩽", "≤"),
    ("⩾", "≥"),
    ("==", "="),
)
_SIGN_OR_MINUS: Final = re.compile(r"[-=<>≠≤≥⩽⩾→⇒←⇐↔⇔\u2010-\u2015\u2212]")
_ARROWS: Final = re.compile(r"<?[-=]{1,2}>|<-{1,2}|[→⇒←⇐↔⇔]")
_LONE_MINUS: Final = re.compile(r"(?<![\w)\]])[\u2010\u2011\u2012\u2013\u2212\u2015]\s*(?=\d)")

_BEFORE_NAME: Final = r"(?<=[^\s.!?:;•*\u2013—\"“„»(\[-])\s+"
_NAME: Final = re.compile(rf"{_BEFORE_NAME}[\"“„'(]*(\w*[A-Z\u00c0-\u00de]\w*)")
_ALPHABETIC_FIRST: Final = re.compile(r"(?=\w*\d)[^\W\d_][\w.]*")
_ROMAN: Final = frozenset(
    ("ii", "iii", "iv", "vi", "vii", "viii", "ix", "xi", "xii", "xiii", "xiv", "xv", "xvi", "xx")
)
_WHOLE: Final = re.compile(r"-?\d+|-?\d{1,3}(?:[.,']\d{3})+")
_SEPARATORS: Final = re.compile(r"[.,']")

_MAX_NAMES_SHARE: Final = 0.35
"""A text with more capitalised words is a heading."""

_GERMAN: Final = frozenset(_LISTS["german"].split())
_MIN_GERMAN_SHARE: Final = 0.07
"""A text with so many words of German, or more, begins its nouns with a capital."""

_MAX_WORD: Final = 30
_MIN_STEM: Final = 3
_MIN_STEM_OF_VERB: Final = 4
_VOWELS: Final = frozenset("aeiouyäöüáéíóúàèìòùâêîôû")
_FIRST_OTHER_SCRIPT: Final = "\u0250"
"""Characters from here on are not of Latin script."""

_OTHER_SCRIPT: Final = re.compile(f"[{_FIRST_OTHER_SCRIPT}-\U0010ffff]")

_UNSPACED: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)
"""Letters of scripts that have no blanks between words: each counts as a word."""


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of a text, as stems; numbers stand by their value, such as `#30`."""

    sequence: tuple[str, ...]  # all but idle ones, in order
    content: tuple[str, ...]  # those of them that have a meaning of their own, in order
    forms: Mapping[str, str]  # of the content that is made of letters: a stem, and a word of it
    names: frozenset[str]  # capitalised within a sentence, or abbreviated in capitals
    calendar: frozenset[str]  # weekdays, months, ordinals, frequencies
    codes: frozenset[str]  # letters with numbers glued to them, Roman numbers
    signs: frozenset[str]  # comparison signs
    poles: frozenset[tuple[int, int]]  # words that have an opposite: which pair, and which side
    negations: int  # how many words negate
    scopes: frozenset[str]  # kinds of words that say of how many, of whom alone … it holds
    either_scopes: tuple[frozenset[str], ...]  # how sure, when, if: kinds of words that say so
    known_share: float  # of its words, those that lists have, and that have no meaning of their own
    is_latin: bool  # whether it is mostly in Latin script


@lru_cache(maxsize=8192)
def read_wording(text: str) -> Wording:
    """Read the words of a text."""
    spelled = _spell_signs(unicodedata.normalize("NFKC", text))
    names = _find_names(spelled)
    tokens = _split(normalise(_SIGNS.sub(r" \g<0> ", _ELISION.sub(r"\1 ", spelled))))
    forms: dict[str, str] = {}
    sequence: list[str] = []
    content: list[str] = []
    for token in tokens:
        if token in _IDLE and token not in names:
            continue
        if token in _FUNCTION:
            sequence.append(token)
            continue
        stem = _number(token) or stem_word(token)
        if token.isalpha():
            forms.setdefault(stem, token)
        sequence.append(stem)
        content.append(stem)
    return Wording(
        sequence=tuple(sequence),
        content=tuple(content),
        forms=forms,
        names=frozenset(stem_word(name) for name in names),
        calendar=frozenset(_find_dates(tokens, names)),
        codes=frozenset(token for token in tokens if _is_code(token)),
        signs=_SIGN_CHARACTERS.intersection(tokens),
        poles=frozenset(pole for stem in sequence for pole in _POLES.get(stem, ())),
        negations=sum(token in _NEGATIONS for token in tokens),
        scopes=frozenset(_find_scopes(tokens)),
        either_scopes=tuple(
            frozenset(kinds[token] for token in tokens if token in kinds)
            for kinds in _EITHER_SCOPES
        ),
        known_share=1 - len(content) / max(1, len(tokens)),
        is_latin=_is_latin(text),
    )


@lru_cache(maxsize=65536)
def stem_word(word: str) -> str:
    """Return a word without the endings that make no other word of it."""
    if not word.isalpha() or len(word) > _MAX_WORD:
        return word
    for ending in ("ies", "ied"):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + "y"
    for ending in ("ing", "ed"):
        stem = word[: -len(ending)]
        if word.endswith(ending) and len(stem) >= _MIN_STEM and not _VOWELS.isdisjoint(stem):
            is_doubled = stem[-1] == stem[-2] and stem[-1] not in "lsz"
            return stem[:-1] if is_doubled else stem.removesuffix("e")
    stem = word
    if stem.endswith("s") and not stem.endswith(("ss", "us", "is")) and len(stem) > _MIN_STEM:
        stem = stem[:-1]
    if stem.endswith(("en", "em")) and len(stem) > _MIN_STEM_OF_VERB + 1:
        stem = stem[:-2]
    return stem[:-1] if stem.endswith("e") and len(stem) > _MIN_STEM else stem


def _find_poles() -> dict[str, frozenset[tuple[int, int]]]:
    """Return, for the stem of each word that has an opposite, its pairs and its sides of them."""
    poles: dict[str, set[tuple[int, int]]] = {}
    for number, sides in enumerate(_OPPOSITES):
        for side, words in enumerate(sides):
            for word in words:
                poles.setdefault(stem_word(word), set()).add((number, side))
    return {stem: frozenset(found) for stem, found in poles.items()}


_POLES: Final[Mapping[str, frozenset[tuple[int, int]]]] = _find_poles()


def _spell_signs(text: str) -> str:
    """Write each comparison sign as one character, and every minus as a hyphen."""
    if not _SIGN_OR_MINUS.search(text):
        return text
    signed = _ARROWS.sub(_keep_signs, text)
    for spelled, sign in _SPELLED_SIGNS:
        signed = signed.replace(spelled, sign)
    return _LONE_MINUS.sub("-", signed)


def _keep_signs(found: re.Match[str]) -> str:
    """Return an arrow as a word of its own, and `<-` before a number as it is."""
    arrow = found[0]
    is_left, is_right = arrow[0] in "<←⇐↔⇔", arrow[-1] in ">→⇒↔⇔"
    if is_left and not is_right and found.string[found.end() :][:1].isdigit():
        return arrow
    return " ↔ " if is_left and is_right else " ← " if is_left else " → "


def _split(normalised: str) -> list[str]:
    tokens = normalised.split()
    if normalised.isascii() or not _UNSPACED.search(normalised):
        return tokens
    return [part for token in tokens for part in (token if _UNSPACED.search(token) else (token,))]


def _number(token: str) -> str | None:
    """Return a whole number by its value, such as `#1000` for `1,000`; `None` for other words."""
    value = NUMBER_WORDS.get(token)
    if value is None and not token.isalpha() and _WHOLE.fullmatch(token):
        return f"#{_SEPARATORS.sub('', token)}"
    return None if value is None else f"#{value}"


def _find_names(text: str) -> frozenset[str]:
    """Return the capitalised words within sentences, in lower case; none where nouns are so."""
    found = {match[1] for match in _NAME.finditer(text)}
    names = {name.casefold() for name in found}
    words = text.casefold().split()
    is_german = sum(word in _GERMAN for word in words) >= max(1, _MIN_GERMAN_SHARE * len(words))
    if is_german or len(names) > _MAX_NAMES_SHARE * len(words):
        names = {name.casefold() for name in found if name.isupper() and len(name) > 1}
    return frozenset(names) - {"i"}


def _find_dates(tokens: Sequence[str], names: frozenset[str]) -> Iterator[str]:
    is_every = False  # whether `every` stands before, but for articles
    for token in tokens:
        date = _CALENDAR.get(token)
        if date is not None and (token not in _CAPITALISED or token in names):
            yield date
        elif is_every and token in _EVERY_UNIT:
            yield _EVERY_UNIT[token]
        is_every = token in _EVERY or (is_every and token in _IDLE)


def _find_scopes(tokens: Sequence[str]) -> Iterator[str]:
    """Yield the kinds of scopes; `every` of `every month` or `every #2 weeks` is none."""
    said = [token for token in tokens if token not in _IDLE or token in _SCOPES]
    for at, token in enumerate(said):
        kind = _SCOPES.get(token)
        following = said[at + 1] if at + 1 < len(said) else ""
        if kind is not None and not (kind == _ALL and _is_time(following)):
            yield kind


def _is_time(token: str) -> bool:
    return token in _TIMES or token in _CALENDAR or _number(token) is not None


def _is_code(token: str) -> bool:
    if token.isalpha():
        return token in _ROMAN
    return _ALPHABETIC_FIRST.fullmatch(token) is not None


def _is_latin(text: str) -> bool:
    if not _OTHER_SCRIPT.search(text):
        return True
    characters = [character for character in text if character.isalpha()]
    others = sum(character >= _FIRST_OTHER_SCRIPT for character in characters)
    return 2 * others <= len(characters)
