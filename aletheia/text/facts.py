"""Numbers, units and negations of a text, which embeddings hardly see (SPEC §4, Dedup).

Numbers are read in digits of any language, with either decimal sign, and in English and German
words. Negations are known in English, German, French and Spanish, where the surroundings are the
same: two of five of the labelled pairs that differ in a negation. To count negations instead would
find nearly all, and keep two of five duplicates.
"""

# ruff: noqa: SIM905 - lists of words read better as lines

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from aletheia.text.normalisation import normalise

Difference: TypeAlias = Literal["number", "unit", "negation"]


def _units(*rows: tuple[str, str, Fraction | int]) -> Mapping[str, tuple[str, Fraction]]:
    return {
        name: (dimension, Fraction(factor))
        for names, dimension, factor in rows
        for name in names.split()
    }


UNITS: Final = _units(
    ("ms millisecond milliseconds millisekunde millisekunden", "s", Fraction(1, 1000)),
    ("s sec secs second seconds sekunde sekunden seconde secondes segundo segundos", "s", 1),
    ("min mins minute minutes minuten minuto minutos", "s", 60),
    ("h hr hrs hour hours stunde stunden heure heures hora horas", "s", 3600),
    ("day days tag tage tagen jour jours dia dias", "s", 86_400),
    ("week weeks woche wochen semaine semaines semana semanas", "s", 7 * 86_400),
    ("month months monat monate monaten mois meses", "month", 1),
    ("year years jahr jahre jahren année années año años", "month", 12),
    ("mm millimetre millimetres millimeter millimeters millimetern", "m", Fraction(1, 1000)),
    ("cm centimetre centimetres centimeter centimeters zentimeter", "m", Fraction(1, 100)),
    ("m metre metres meter meters metern mètre mètres metro metros", "m", 1),
    ("km kilometre kilometres kilometer kilometers kilometern", "m", 1000),
    ("inch inches zoll", "m", Fraction(254, 10_000)),
    ("foot feet ft fuß", "m", Fraction(3048, 10_000)),
    ("mile miles meile meilen", "m", Fraction(1_609_344, 1000)),
    ("m2 m^2 sqm quadratmeter", "m2", 1),
    ("m3 m^3 kubikmeter", "l", 1000),
    ("mg milligram milligrams milligramm", "g", Fraction(1, 1000)),
    ("g gram grams gramme grammes gramm", "g", 1),
    ("kg kilo kilos kilogram kilograms kilogramm", "g", 1000),
    ("t ton tons tonne tonnes tonnen", "g", 1_000_000),
    ("lb lbs pound pounds", "lb", 1),
    ("ml millilitre millilitres milliliter milliliters", "l", Fraction(1, 1000)),
    ("cl centilitre centilitres zentiliter", "l", Fraction(1, 100)),
    ("l litre litres liter liters litern", "l", 1),
    ("w watt watts", "w", 1),
    ("kw kilowatt kilowatts", "w", 1000),
    ("mw megawatt megawatts", "w", 1_000_000),
    ("wh", "wh", 1),
    ("kwh", "wh", 1000),
    ("mwh", "wh", 1_000_000),
    ("v volt volts", "v", 1),
    ("hz hertz", "hz", 1),
    ("khz kilohertz", "hz", 1000),
    ("mhz megahertz", "hz", 1_000_000),
    ("ghz gigahertz", "hz", 1_000_000_000),
    ("db decibel decibels dezibel", "db", 1),
    ("lufs", "lufs", 1),
    ("bar", "bar", 1),
    ("kb kilobyte kilobytes", "b", 1000),
    ("mb megabyte megabytes", "b", 1_000_000),
    ("gb gigabyte gigabytes", "b", 1_000_000_000),
    ("tb terabyte terabytes", "b", 1_000_000_000_000),
    ("% percent percents prozent pct", "%", 1),
    ("‰ promille", "%", Fraction(1, 10)),
    ("ppm", "ppm", 1),
    ("°c celsius", "°c", 1),
    ("°f fahrenheit", "°f", 1),
    ("kelvin", "k", 1),
    ("€ eur euro euros", "€", 1),
    ("$ usd dollar dollars dólares", "$", 1),
    ("£ gbp sterling", "£", 1),
    ("cent cents", "cent", 1),
    ("chf franken francs", "chf", 1),
    ("¥ jpy yen", "¥", 1),
    ("am", "am", 1),
    ("pm", "pm", 1),
)
"""Unit, as it is written in lower case: dimension, and how many base units it is.

Months and days are different dimensions, as no month has a fixed number of days.
"""

_BETWEEN: Final = frozenset(
    "degree degrees grad ° working business calendar full whole more further extra volle".split()
)
"""Words that may stand between a number and its unit."""

_SMALL: Final = (
    *("zero one two three four five six seven eight nine ten eleven twelve thirteen".split()),
    *("fourteen fifteen sixteen seventeen eighteen nineteen".split()),
)
_KLEIN: Final = (
    *("null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn".split()),
    *("vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn".split()),
)
_TENS: Final = {
    word: 10 * value
    for words in (
        "twenty thirty forty fifty sixty seventy eighty ninety",
        "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
    )
    for value, word in enumerate(normalise(words).split(), start=2)
}
_WORDS: Final = {
    **{normalise(word): value for value, word in enumerate(_SMALL)},
    **{normalise(word): value for value, word in enumerate(_KLEIN)},
    **_TENS,
    **{
        normalise(f"{unit}und{ten}"): value + tens
        for value, unit in enumerate(("ein", *_KLEIN[2:10]), start=1)
        for ten, tens in _TENS.items()
        if ten.endswith(("ig", "issig"))
    },
    "dozen": 12,
    "dutzend": 12,
}
_UNCOUNTED: Final = frozenset({"one", "eins"})
"""Mostly no number, as in `the one that`; read only before a unit."""

_MAGNITUDES: Final = {
    "hundred": 100,
    "hundert": 100,
    "thousand": 1000,
    "tausend": 1000,
    "million": 1_000_000,
    "millions": 1_000_000,
    "millionen": 1_000_000,
    "billion": 1_000_000_000,
}

_NUMBER: Final = re.compile(r"-?\d[\d.,']*")
_GROUPED: Final = re.compile(r"\d{1,3}([.,'])\d{3}(?:\1\d{3})*")
_DIGIT_GROUPS: Final = re.compile(r"(?<![\d.,'])(\d{1,3})((?: \d{3})+)(?![\d.,'])")
_FRACTION: Final = re.compile(r"[1-7]/[23458]")
_RANGE: Final = re.compile(r"(?<=\d)[-:/](?=\d)")
_HALF_OF_DAY: Final = re.compile(r"(?<=\d )([ap]) m\b")
_GROUP: Final = 3

_CUES: Final = frozenset(
    """not no never without none nor neither nobody nothing nowhere cannot dont doesnt didnt isnt
    arent wasnt werent wont cant couldnt shouldnt wouldnt mustnt hasnt havent hadnt
    nicht kein keine keinen keinem keiner keines nie niemals niemand nichts ohne weder
    pas jamais sans aucun aucune rien nunca sin ningún ninguna ninguno nada jamás""".split()
)
_CUES_AFTER: Final = frozenset("nicht nie niemals nichts pas jamais rien aucun nada".split())
"""Negations that may follow what they negate."""

_IDLE_WORDS: Final = frozenset(
    """a an the this that these those it its we us our you your they them their which who what is
    are was were be been being am do does did done has have had having of to and so too also just
    very then there here by for with in at
    der die das den dem des ein eine einen einem einer eines und so auch dann als ist sind war waren
    wird werden wurde wurden hat haben hatte es wir uns sich zu von in im am bei mit für
    le la les un une des du de et est sont il elle on nous vous ce se que qui dans pour avec au aux
    el los las una y es son en con para del al""".split()
)
"""Words that a text can lose or gain without changing its meaning."""

_FUNCTION_WORDS: Final = _IDLE_WORDS | frozenset(
    """he she i my will would shall should can could may might must on from into onto over under as
    one ones or but if than only any all each every some such when while where least most more less
    about up out off always ever still everybody everyone somebody someone anybody anyone
    immer stets jeder jede jedes alle jemand toujours siempre
    oder aber wenn nur sein kann können darf dürfen muss müssen soll sollen er sie ihr man an auf
    aus nach über unter um durch
    ou ils ne sur par à o por""".split()
)
"""Words that stand between others, wherever they are."""

_STEM: Final = 5
_MAX_WORD: Final = 30
"""A longer token is a phrase of a script without spaces."""

_DIGITS: Final = range(1, 10)
_OPPOSITE: Final = re.compile(r"(?:un|non|in|im|ir|dis)(\w{4,})")
"""A prefix that negates a word; where it does not, the rest is no word and matches nothing."""

_EDGE: Final = ""
"""What stands before a text's first word and after its last."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number, with its unit if it has one.

    Attributes:
        values: what the digits may mean; 1.000 is both 1000 and 1 where the text does not tell.
        dimension: of the unit, such as `m`; empty without one.
        factor: base units in one of the unit.
    """

    values: frozenset[Fraction]
    dimension: str = ""
    factor: Fraction = Fraction(1)

    def is_same(self, other: "Quantity") -> bool:
        """Return whether both may be the same amount; a missing unit may be any."""
        if not self.dimension or not other.dimension:
            return bool(self.values & other.values)
        return self.dimension == other.dimension and bool(
            {value * self.factor for value in self.values}
            & {value * other.factor for value in other.values}
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a text that a small change of words reverses.

    Attributes:
        quantities: its numbers, each once.
        stated: content words between their neighbours, all three shortened to their stems.
        negated: those of them that are negated.
        words: its words in order, as stems, without function words.
    """

    quantities: tuple[Quantity, ...]
    stated: frozenset[tuple[str, str, str]]
    negated: frozenset[tuple[str, str, str]]
    words: tuple[str, ...]


@lru_cache(maxsize=4096)
def read_facts(text: str) -> Facts:
    """Read a text's numbers, units and negations."""
    tokens = _HALF_OF_DAY.sub(r"\1m", normalise(text)).split()
    stated, negated = _read_negations(tokens)
    words = tuple(_stem(token) for token in tokens if token not in _IDLE_WORDS)
    return Facts(tuple(dict.fromkeys(_read_quantities(tokens))), stated, negated, words)


def find_difference(text: Facts, other: Facts) -> Difference | None:
    """Return in what two texts contradict each other: a number, a unit, a negation, in this order.

    A number that only one of them gives is no contradiction; if each has one of its own, it is.
    """
    left = [q for q in text.quantities if not any(q.is_same(p) for p in other.quantities)]
    right = [q for q in other.quantities if not any(q.is_same(p) for p in text.quantities)]
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
    split = list(_split_ranges(_DIGIT_GROUPS.sub(lambda m: m[0].replace(" ", "'"), plain).split()))
    decimal = _decimal_sign(split)
    position = 0
    while position < len(split):
        before = _at(split, position - 1)
        values, used = _read_number(split, position, decimal)
        if not used:
            position += 1
            continue
        if before == "minus":
            values = frozenset(-value for value in values)
        after = position + used
        while after < len(split) and split[after] in _BETWEEN:
            after += 1
        name = _at(split, after)
        if name == "per" and _at(split, after + 1) == "cent":
            name = "%"
        unit = UNITS.get(name) or (UNITS[before] if before in "€$£¥" and before else None)
        if unit is not None:
            yield Quantity(values, *unit)
        elif split[position] not in _UNCOUNTED:
            yield Quantity(values)
        position += used


def _split_ranges(tokens: Iterable[str]) -> Iterator[str]:
    for token in tokens:
        if _FRACTION.fullmatch(token):
            yield token
        else:
            yield from _RANGE.sub(" ", token).split()


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
    """Return the decimal sign of a text; `None` if its numbers do not tell."""
    for token in tokens:
        if not _NUMBER.fullmatch(token):
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
        if token in _CUES:
            is_pending = True
            if token in _CUES_AFTER:
                turned.add(len(words) - 1)
        elif token not in _FUNCTION_WORDS:
            if is_pending:
                turned.add(len(words))
                is_pending = False
            if (opposite := _OPPOSITE.match(token)) is not None:
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


def _stem(word: str) -> str:
    return word if len(word) > _MAX_WORD or not word.isalpha() else word[:_STEM]
