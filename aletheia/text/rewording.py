"""Whether two texts differ in their words only, and not in what these say (SPEC §4, Dedup).

Words of one meaning, and forms of one word, are made the same; what a text can lose without saying
anything else is left out. Lists are of English, German, French and Spanish; texts of other
languages are compared as they are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import yaml

from aletheia.text.normalisation import normalise
from aletheia.text.wording import LANGUAGES, Wording, stem_word

_LISTS: Final[Mapping[str, Any]] = yaml.safe_load(
    resources.files("aletheia.text").joinpath("rewording_words.yaml").read_text("utf-8")
)

_LIGHT: Final = {
    language: frozenset(_LISTS["light"][language].split()) for language in LANGUAGES
}
_ENDINGS: Final = {
    language: frozenset(("", *endings.split()))
    for language, endings in _LISTS["endings"].items()
}
_MIN_COMMON: Final = 4
"""Letters that two forms of one word begin with, at least."""

_UMLAUTS: Final = str.maketrans("äöü", "aou")
_GENDERS: Final = frozenset(("a", "as")), frozenset(("o", "os"))
"""Spanish endings that may make two words of one, such as `plazo` and `plaza`."""


def _index(lines: str) -> dict[str, frozenset[int]]:
    """Return, for the stem of each word, the numbers of its lines."""
    found: dict[str, set[int]] = {}
    for number, line in enumerate(lines.strip().splitlines()):
        for word in normalise(line).split():
            found.setdefault(word, set()).add(number)
            found.setdefault(stem_word(word), set()).add(number)
    return {word: frozenset(numbers) for word, numbers in found.items()}


_SYNONYMS: Final = {language: _index(_LISTS["synonyms"][language]) for language in LANGUAGES}


def unify(one: Wording, two: Wording) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words of two texts in order, with those of one meaning made the same."""
    left, right = Counter(one.sequence), Counter(two.sequence)
    missing, added = list((left - right).elements()), list((right - left).elements())
    language = one.language or two.language
    is_one = language in LANGUAGES and language == (two.language or language)
    if not is_one or not (missing or added):
        return one.sequence, two.sequence
    renamed: dict[str, str] = {}
    for word in added:
        match = next((m for m in missing if _is_same(m, word, one, two, language)), None)
        if match is not None:
            missing.remove(match)
            renamed[word] = match
    gone = _LIGHT[language].intersection((*missing, *added)).difference(
        renamed, renamed.values()
    )
    return (
        tuple(word for word in one.sequence if word not in gone),
        tuple(renamed.get(word, word) for word in two.sequence if word not in gone),
    )


def _is_same(word: str, other: str, one: Wording, two: Wording, language: str) -> bool:
    if word.startswith("#") or other.startswith("#"):
        return False
    groups = _SYNONYMS[language]
    if not groups.get(word, frozenset()).isdisjoint(groups.get(other, frozenset())):
        return True
    return is_form(one.forms.get(word, word), two.forms.get(other, other), language)


@lru_cache(maxsize=16384)
def is_form(word: str, other: str, language: str) -> bool:
    """Return whether two words of a language are forms of one, as far as endings show it."""
    endings = _ENDINGS.get(language)
    if endings is None or not (word.isalpha() and other.isalpha()):
        return False
    if language == "de":
        word, other = word.translate(_UMLAUTS), other.translate(_UMLAUTS)
        if word.startswith("ge") != other.startswith("ge"):
            word, other = word.removeprefix("ge"), other.removeprefix("ge")
    common = 0
    for letter, counterpart in zip(word, other, strict=False):
        if letter != counterpart:
            break
        common += 1
    return any(
        _are_endings(word[at:], other[at:], endings, language)
        for at in range(_MIN_COMMON, common + 1)
    )


def _are_endings(ending: str, other: str, endings: frozenset[str], language: str) -> bool:
    if ending not in endings or other not in endings:
        return False
    if language != "es":
        return True
    first, second = _GENDERS
    return not ((ending in first and other in second) or (ending in second and other in first))


def is_fronted(left: Sequence[str], right: Sequence[str], content: Iterable[str]) -> bool:
    """Return whether a text begins with a part that stands elsewhere in the other.

    The part has to begin with a word such as `after` or `every`, and neither ends nor begins with
    one that negates: of two steps, or of who does what to whom, the order counts.
    """
    return _moves_first(left, right, frozenset(content)) or _moves_first(
        right, left, frozenset(content)
    )


def _moves_first(left: Sequence[str], right: Sequence[str], content: frozenset[str]) -> bool:
    """Return whether the beginning of the one stands farther behind in the other."""
    if len(left) != len(right) or left[0] in content or left[0] in _BINDING:
        return False
    for size in range(_MIN_PART, len(left)):
        part, rest = left[:size], left[size:]
        if part[-1] not in content:
            continue
        for at in range(1, len(rest) + 1):
            if (*rest[:at], *part, *rest[at:]) == tuple(right):
                return True
    return False


_MIN_PART: Final = 2
_BINDING: Final = frozenset(
    "not no never nicht kein keine nie ne no nunca only nur seulement solo of von des der den dem "
    "and und et y or oder ou o than als que by durch par por".split()
)
"""What no such part begins with: what it says depends on where it stands."""


def count_common(left: Sequence[str], right: Sequence[str]) -> int:
    """Return how many words two texts have in the same order: the longest common subsequence."""
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | (1 << place)
    every = free = (1 << len(left)) - 1
    for word in right:
        taken = free & places.get(word, 0)
        free = ((free + taken) | (free - taken)) & every
    return len(left) - free.bit_count()
