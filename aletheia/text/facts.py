"""Numbers, units and negations of a text, which embeddings hardly see (SPEC §4, Dedup).

Numbers are read in digits of any language, with either decimal sign, and in words of English,
German, Dutch, French, Spanish, Italian and Portuguese. Negations are known in the same languages,
where the surroundings are the same. What a word makes of an aligned text is `differences`' matter.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from typing import Any, Final, Literal, TypeAlias

import yaml

from aletheia.text.normalisation import normalise

Difference: TypeAlias = Literal[
    "number", "unit", "negation", "date", "version", "sign", "opposite", "name", "word", "order"
]
"""In what two texts differ in meaning; this module finds the first three."""

_LISTS: Final[Mapping[str, Any]] = yaml.safe_load(
    resources.files("aletheia.text").joinpath("fact_words.yaml").read_text("utf-8")
)

_RATES: Final[Mapping[str, str]] = _LISTS["rates"]
_PER: Final = frozenset(_LISTS["per"].split())

UNITS: Final[Mapping[str, tuple[str, Fraction]]] = {
    name: (dimension, Fraction(factor))
    for dimension, units in _LISTS["units"].items()
    for factor, names in units.items()
    for name in names.split()
}
"""Unit, as it is written in lower case: dimension, and how many base units it is."""

_BETWEEN: Final = frozenset(_LISTS["between"].split())
_ENGLISH, _GERMAN = (normalise(words).split() for words in _LISTS["small"])
_TENS: Final = {
    word: 10 * value
    for words in _LISTS["tens"]
    for value, word in enumerate(normalise(words).split(), start=2)
}
_WORDS: Final = {
    **{word: value for words in (_ENGLISH, _GERMAN) for value, word in enumerate(words)},
    **_TENS,
    **{
        f"{unit}und{ten}": value + tens
        for value, unit in enumerate(("ein", *_GERMAN[2:10]), start=1)
        for ten, tens in _TENS.items()
        if ten.endswith("ig")  # in German
    },
    **{word: value for value, words in _LISTS["other"].items() for word in words.split()},
}
_UNCOUNTED: Final = frozenset({"one", "eins"})
"""Mostly no number, as in `the one that`; read only before a unit."""

NUMBER_WORDS: Final = {word: value for word, value in _WORDS.items() if word not in _UNCOUNTED}
"""Words for numbers, in lower case."""

_MAGNITUDES: Final[Mapping[str, int]] = {
    name: value for value, names in _LISTS["magnitudes"].items() for name in names.split()
}
_NUMERIC: Final = _WORDS.keys() | _MAGNITUDES.keys()
"""Words of which a number may consist."""

CUES: Final = frozenset(_LISTS["cues"].split())
"""Words that negate."""

_CUES_AFTER: Final = frozenset(_LISTS["cues_after"].split())
_IDLE_WORDS: Final = frozenset(_LISTS["idle"].split())
FUNCTION_WORDS: Final = _IDLE_WORDS.union(_LISTS["function"].split())
"""Words without a meaning of their own."""

_DIGIT: Final = re.compile(r"\d")
_NUMBER: Final = re.compile(r"-?\d[\d.,']*")
_GROUPED: Final = re.compile(r"\d{1,3}([.,'])\d{3}(?:\1\d{3})*")
_DIGIT_GROUPS: Final = re.compile(r"(?<![\d.,'])(\d{1,3})((?: \d{3})+)(?![\d.,'])")
_FRACTION: Final = re.compile(r"[1-7]/[23458]")
_FRACTION_OR_RANGE: Final = re.compile(rf"(?<!\S){_FRACTION.pattern}(?!\S)|(?<=\d)[-:/](?=\d)")
_HALF_OF_DAY: Final = re.compile(r"(?<=\d )([ap]) m\b")
_GROUP: Final = 3

_NO_UNIT: Final = "", Fraction(1)
_CURRENCIES: Final = frozenset("€$£¥")
_MAX_COUNTED_WORDS: Final = 2
"""Words between a number and its `per`."""

_STEM: Final = 5
_MAX_WORD: Final = 30
"""A longer token is a phrase of a script without spaces."""

_DIGITS: Final = range(1, 10)
_OPPOSITE: Final = re.compile(r"(?:un|non|in|im|ir|dis)(\w{4,})")
"""A prefix that negates a word; where it does not, the rest is no word and matches nothing."""

_PREFIXED: Final = frozenset("unid")
"""What such a word begins with."""

_EDGE: Final = ""
"""What stands before a text's first word and after its last."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number, with its unit if it has one.

    It may have several values: 1.000 is both 1000 and 1 where the text does not show which.
    """

    values: frozenset[Fraction]
    dimension: str = ""  # of the unit, such as `m`
    factor: Fraction = Fraction(1)  # base units in one of the unit
    per: str = ""  # dimension of what it is a rate of, such as `month`; empty if it is none
    per_factor: Fraction = Fraction(1)  # base units in one of that

    def is_same(self, other: "Quantity") -> bool:
        """Return whether both may be the same amount; a missing unit or rate may be any."""
        if self == other:
            return True
        has_units, are_rates = self.dimension and other.dimension, self.per and other.per
        if has_units and self.dimension != other.dimension:
            return False
        if are_rates and self.per != other.per:
            return False
        if not has_units and not are_rates:
            return not self.values.isdisjoint(other.values)
        left, right = Fraction(1), Fraction(1)
        if has_units:
            left, right = self.factor, other.factor
        if are_rates:
            left, right = left / self.per_factor, right / other.per_factor
        if left == right:
            return not self.values.isdisjoint(other.values)
        return bool(
            {value * left for value in self.values} & {value * right for value in other.values}
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a text that a small change of words reverses."""

    quantities: tuple[Quantity, ...]  # its numbers, each once
    stated: frozenset[tuple[str, str, str]]  # content words between their neighbours, as stems
    negated: frozenset[tuple[str, str, str]]  # those of them that are negated
    words: tuple[str, ...]  # its words in order, as stems, without function words


@lru_cache(maxsize=4096)
def read_facts(text: str) -> Facts:
    """Read a text's numbers, units and negations."""
    tokens = _split(text)
    stated, negated = _read_negations(tokens)
    words = tuple(_stem(token) for token in tokens if token not in _IDLE_WORDS)
    return Facts(read_quantities(text), stated, negated, words)


@lru_cache(maxsize=4096)
def read_quantities(text: str) -> tuple[Quantity, ...]:
    """Read a text's numbers, each once."""
    return tuple(dict.fromkeys(_read_quantities(_split(text))))


def _split(text: str) -> list[str]:
    return _HALF_OF_DAY.sub(r"\1m", normalise(text)).split()


def find_unsaid(text: Facts, other: Facts) -> list[Quantity]:
    """Return the numbers of a text that another one does not give."""
    return [q for q in text.quantities if not any(q.is_same(p) for p in other.quantities)]


def find_difference(text: Facts, other: Facts) -> Difference | None:
    """Return in what two texts contradict each other: a number, a unit, a negation, in this order.

    A number that only one of them gives is no contradiction; if each has one of its own, it is.
    """
    return classify_difference(text, other, find_unsaid(text, other), find_unsaid(other, text))


def classify_difference(
    text: Facts, other: Facts, left: Sequence[Quantity], right: Sequence[Quantity]
) -> Difference | None:
    """Return what `find_difference` does, where it is known which numbers are not in both.

    Args:
        text: facts of one text.
        other: facts of the other.
        left: numbers that only the one gives, by `find_unsaid`.
        right: numbers that only the other gives.
    """
    if left and right:
        has_new_number = any(not any(q.values & p.values for p in right) for q in left)
        return "number" if has_new_number else "unit"
    if _is_negated(text, other) or _is_negated(other, text):
        return "negation"
    return None


def _is_negated(text: Facts, other: Facts) -> bool:
    """Return whether a text negates what the other states in the same surroundings."""
    unsaid = {word for _, word, _ in other.negated}
    return any(word in other.stated and word[1] not in unsaid for word in text.negated)


def _read_quantities(tokens: Sequence[str]) -> Iterator[Quantity]:
    plain = " ".join(tokens)
    split, decimal = tokens, None
    if _DIGIT.search(plain):
        plain = _DIGIT_GROUPS.sub(lambda m: m[0].replace(" ", "'"), plain)
        split = _FRACTION_OR_RANGE.sub(lambda m: m[0] if len(m[0]) > 1 else " ", plain).split()
        decimal = _decimal_sign(split)
    position = 0
    while position < len(split):
        if split[position].isalpha() and split[position] not in _NUMERIC:
            position += 1
            continue
        values, used = _read_number(split, position, decimal)
        if not used:
            position += 1
            continue
        before = _at(split, position - 1)
        if before == "minus":
            values = frozenset(-value for value in values)
        after = position + used
        while after < len(split) and split[after] in _BETWEEN:
            after += 1
        name = _at(split, after)
        if name == "per" and _at(split, after + 1) == "cent":
            name, after = "%", after + 1
        unit, per = _read_unit(name)
        if not unit[0] and before in _CURRENCIES:
            unit = UNITS[before]
        if unit[0] or split[position] not in _UNCOUNTED:
            yield Quantity(values, *unit, *(per or _read_rate(split, after)))
        position += used


def _read_unit(name: str) -> tuple[tuple[str, Fraction], tuple[str, Fraction] | None]:
    """Read a unit such as `km`, `km/h` or `mph`: of what it is and, of a rate, per what."""
    numerator, _, denominator = _RATES.get(name, name).partition("/")
    unit, per = UNITS.get(numerator), UNITS.get(denominator)
    if per is None:
        return unit or UNITS.get(name) or _NO_UNIT, None
    return unit or (numerator, Fraction(1)), per


def _read_rate(tokens: Sequence[str], position: int) -> tuple[str, Fraction]:
    """Return per what a number is, such as `month` in `200 parts a month`."""
    for at in range(position, position + _MAX_COUNTED_WORDS + 1):
        if _at(tokens, at) in _PER:
            found = UNITS.get(_at(tokens, at + 1))
            return found if found is not None and found[0] in {"s", "month"} else _NO_UNIT
    return _NO_UNIT


def _read_number(
    tokens: Sequence[str], position: int, decimal: str | None
) -> tuple[frozenset[Fraction], int]:
    """Read the number that begins at a token: its values and how many tokens it takes."""
    token = tokens[position]
    used = 1
    if _FRACTION.fullmatch(token):
        values = frozenset({Fraction(token)})
    elif _NUMBER.fullmatch(token):
        values = _read_digits(token, decimal)
        if _FRACTION.fullmatch(part := _at(tokens, position + 1)):
            values = frozenset(value + Fraction(part) for value in values)
            used = 2
    elif token in _WORDS:
        value = _WORDS[token]
        if token in _TENS and _WORDS.get(_at(tokens, position + 1)) in _DIGITS:
            value += _WORDS[tokens[position + 1]]
            used = 2
        values = frozenset({Fraction(value)})
    elif token in _MAGNITUDES and _at(tokens, position - 1) in {"a", "one"}:
        return frozenset({Fraction(_MAGNITUDES[token])}), 1
    else:
        return frozenset(), 0
    while (magnitude := _MAGNITUDES.get(_at(tokens, position + used))) is not None:
        values = frozenset(value * magnitude for value in values)
        used += 1
    return values, used


def _at(tokens: Sequence[str], position: int) -> str:
    return tokens[position] if 0 <= position < len(tokens) else ""


def _decimal_sign(tokens: Sequence[str]) -> str | None:
    """Return the decimal sign of a text; `None` if its numbers do not show it."""
    for token in tokens:
        if token.isalpha() or not _NUMBER.fullmatch(token):
            continue
        signs = [c for c in token if c in ".,"]
        if {".", ","} <= set(signs):
            return signs[-1]
        if len(signs) > 1 and _GROUPED.fullmatch(token.lstrip("-")):
            return "." if signs[0] == "," else ","
        if len(signs) == 1 and len(token.rpartition(signs[0])[2]) != _GROUP:
            return signs[0]
    return None


def _read_digits(token: str, decimal: str | None) -> frozenset[Fraction]:
    """Read digits with separators: what they are worth, both ways where that is open."""
    number = token.strip(".,'").replace("'", "")
    signs = {c for c in number if c in ".,"}
    readings = {decimal} if decimal else signs | {None}
    if len(signs) == 1 and number.count(next(iter(signs))) > 1:
        readings = {None}
    elif signs and not decimal and not _GROUPED.fullmatch(number.lstrip("-")):
        readings = signs
    values: set[Fraction] = set()
    for reading in readings:
        digits = "".join(c for c in number if c not in ".," or c == reading)
        whole = digits.replace(",", ".")
        if whole.count(".") <= 1:
            values.add(Fraction(whole))
    return frozenset(values or {Fraction(re.sub(r"[.,]", "", number))})


def _read_negations(
    tokens: Sequence[str],
) -> tuple[frozenset[tuple[str, str, str]], frozenset[tuple[str, str, str]]]:
    """Collect content words with their neighbours, and those of them that are negated."""
    words: list[str] = [_EDGE]
    turned: set[int] = set()
    opposites: dict[int, str] = {}
    is_pending = False
    for token in tokens:
        if token in CUES:
            is_pending = True
            if token in _CUES_AFTER:
                turned.add(len(words) - 1)
        elif token not in FUNCTION_WORDS:
            if is_pending:
                turned.add(len(words))
                is_pending = False
            if token[0] in _PREFIXED and (opposite := _OPPOSITE.match(token)) is not None:
                opposites[len(words)] = _stem(opposite[1])
            words.append(_stem(token))
    words.append(_EDGE)
    stated: set[tuple[str, str, str]] = set()
    negated: set[tuple[str, str, str]] = set()
    for at in range(1, len(words) - 1):
        before, word, after = words[at - 1 : at + 2]
        stated.add((before, word, after))
        if at in turned:
            negated.add((before, word, after))
        elif at in opposites:
            negated.add((before, opposites[at], after))
    return frozenset(stated), frozenset(negated)


def find_opposite(word: str) -> str | None:
    """Return what a word such as `unknown` denies; `None` for others."""
    found = _OPPOSITE.fullmatch(word)
    return found and found[1]


def _stem(word: str) -> str:
    return word if len(word) > _MAX_WORD or not word.isalpha() else word[:_STEM]
