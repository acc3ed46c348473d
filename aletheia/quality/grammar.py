"""How sentences are built in English, German, Spanish and French: closed classes and verb forms.

In other languages nothing is known of a sentence's build, and nothing is held against it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from aletheia.quality.packaged import read_packaged

_LISTS: Final[Mapping[str, Mapping[str, str]]] = read_packaged("grammar.yaml")

LANGUAGES: Final = tuple(_LISTS)
"""Languages (ISO 639-1) whose sentences can be read."""

MIN_KNOWN_WORDS: Final = 2
"""Function words of a language in a text, below which they may be names."""

_MAX_LANGUAGES: Final = 2
"""A word that more languages have says nothing about which one it is."""

_FUNCTION: Final = (
    *("articles", "prepositions", "conjunctions", "finite", "clauses", "subjects"),
    "particles",
)
_CLASSES: Final = (
    *("articles", "prepositions", "conjunctions", "finite", "clauses", "subjects", "numbers"),
    *("means", "steps", "examples", "temporal", "conditions", "negations", "negations_after"),
    *("agents", "not_verbs"),
)

_WORD: Final = re.compile(r"[^\W\d_]+")

_SEPARABLE: Final = (
    *("ab", "an", "auf", "aus", "ein", "fest", "frei", "los", "nach", "um", "vor", "weg", "zu"),
    *("zurück", "zusammen", "herunter", "heraus"),
)

_FRENCH_ER: Final = ["e", "es", "ent", "ez", "ons", "ait", "aient", "era", "eront", "erait", "er"]
_FRENCH_IR: Final = ["it", "is", "issent", "issez", "ira", "iront", "issait", "ir"]
_FRENCH_RE: Final = ["ent", "ez", "ait", "aient", "ra", "ront", "re"]
_SPANISH_AR: Final = [
    "a",
    "an",
    "e",
    "en",
    "o",
    "ó",
    "aron",
    "aba",
    "aban",
    "ará",
    "arán",
    "amos",
    "emos",
    "ad",
    "ar",
]
_SPANISH_ER: Final = [
    "e",
    "en",
    "a",
    "an",
    "o",
    "ió",
    "ieron",
    "ía",
    "ían",
    "emos",
    "amos",
    "ed",
    "id",
    "er",
    "ir",
]


@dataclass(frozen=True, slots=True)
class Grammar:
    """The closed classes of a language, in lower case, and forms of its common verbs."""

    language: str
    articles: frozenset[str]
    prepositions: frozenset[str]
    conjunctions: frozenset[str]
    finite: frozenset[str]
    clauses: frozenset[str]
    subjects: frozenset[str]
    numbers: frozenset[str]
    means: frozenset[str]
    steps: frozenset[str]
    examples: frozenset[str]
    temporal: frozenset[str]
    conditions: frozenset[str]
    negations: frozenset[str]
    negations_after: frozenset[str]
    agents: frozenset[str]
    not_verbs: frozenset[str]
    verbs: frozenset[str]  # without accents, as `fold` leaves them
    function: frozenset[str]  # words that say nothing by themselves


@lru_cache(maxsize=65_536)
def fold(word: str) -> str:
    """Return a word in lower case, without accents."""
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(character for character in plain if not unicodedata.combining(character))


@cache
def grammar_of(language: str | None) -> Grammar | None:
    """Return the grammar of a language (ISO 639-1); `None` where there is none."""
    lists = _LISTS.get(language or "")
    if language is None or lists is None:
        return None
    classes = {name: frozenset(lists[name].split()) for name in _CLASSES}
    verbs = {fold(form) for verb in lists["verbs"].split() for form in _forms(language, verb)}
    return Grammar(
        language=language,
        **classes,
        verbs=frozenset(verbs),
        function=_function_words(language),
    )


@lru_cache(maxsize=16_384)
def find_language(text: str, otherwise: str | None = None) -> str | None:
    """Return the language whose function words a text has most of, or `otherwise`."""
    words = Counter(word.casefold() for word in _WORD.findall(text))
    counts = {
        language: sum(words[word] for word in known.intersection(words))
        for language, known in _telling().items()
    }
    best, second = sorted(counts, key=lambda name: -counts[name])[:2]
    if counts[best] >= MIN_KNOWN_WORDS and counts[best] > counts[second]:
        return best
    return otherwise


@cache
def _function_words(language: str) -> frozenset[str]:
    lists = _LISTS[language]
    return frozenset(word for name in _FUNCTION for word in lists[name].split())


@cache
def _telling() -> Mapping[str, frozenset[str]]:
    """Return the words of each language that tell it from the others."""
    known = {language: _function_words(language) for language in LANGUAGES}
    return {
        language: frozenset(
            word
            for word in words
            if sum(word in others for others in known.values()) <= _MAX_LANGUAGES
        )
        for language, words in known.items()
    }


def _forms(language: str, verb: str) -> Iterator[str]:
    """Make the forms of a verb by its endings, some that do not exist among them."""
    match language:
        case "en":
            yield from _english(verb)
        case "de":
            yield from _german(verb)
        case "es":
            yield from _spanish(verb)
        case _:
            yield from _french(verb)


def _english(verb: str) -> Iterator[str]:
    yield verb
    if verb.endswith("y") and verb[-2] not in "aeiou":
        yield from (verb[:-1] + "ies", verb[:-1] + "ied")
    elif verb.endswith("e"):
        yield from (verb + "s", verb + "d")
    else:
        is_hissed = verb.endswith(("s", "x", "z", "ch", "sh", "o"))
        yield verb + ("es" if is_hissed else "s")
        yield from (verb + "ed", verb + verb[-1] + "ed")


def _german(verb: str) -> Iterator[str]:
    yield verb
    prefix = next((p for p in _SEPARABLE if verb.startswith(p) and len(verb) > len(p) + 4), "")
    bare = verb.removeprefix(prefix)
    stem = bare[:-2] if bare.endswith("en") else bare[:-1]
    for begin in {"", prefix}:
        for ending in ("t", "e", "en", "st", "te", "ten", "et", "ete", "eten"):
            yield begin + stem + ending
    yield from (f"{prefix}ge{stem}t", f"{prefix}ge{stem}et", f"{prefix}ge{stem}en")
    if prefix:
        yield f"{prefix}zu{bare}"


def _spanish(verb: str) -> Iterator[str]:
    stem = verb[:-2]
    endings = _SPANISH_AR if verb.endswith("ar") else _SPANISH_ER
    last = max(stem.rfind("e"), stem.rfind("o"))
    stems = {stem}
    if last >= 0:
        for other in ("ie", "i") if stem[last] == "e" else ("ue",):
            stems.add(stem[:last] + other + stem[last + 1 :])
    for form in stems:
        for ending in endings:
            yield form + ending
        for end, soft in (("c", "qu"), ("g", "gu"), ("z", "c")):
            if form.endswith(end) and verb.endswith("ar"):
                yield from (form[:-1] + soft + "e", form[:-1] + soft + "en")
    yield from (verb + "á", verb + "án", verb + "se")


def _french(verb: str) -> Iterator[str]:
    stem = verb[:-2]
    if verb.endswith("er"):
        stems = {stem, stem[:-1] + "i" if stem.endswith("y") else stem}
        stems.add(stem + "e" if stem.endswith("g") else stem)
        stems.add(stem + stem[-1] if stem.endswith(("l", "t")) else stem)
        yield from (form + ending for form in stems for ending in _FRENCH_ER)
    elif verb.endswith("re"):
        yield from (stem + ending for ending in ("", *_FRENCH_RE))
    else:
        yield from (stem + ending for ending in _FRENCH_IR)
