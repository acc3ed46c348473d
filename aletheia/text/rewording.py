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

from aletheia.text.facts import UNITS
from aletheia.text.normalisation import normalise
from aletheia.text.wording import FREQUENCY_WORDS, LANGUAGES, Wording, stem_word

_LISTS: Final[Mapping[str, Any]] = yaml.safe_load(
    resources.files("aletheia.text").joinpath("rewording_words.yaml").read_text("utf-8")
)

_LIGHT: Final = {language: frozenset(_LISTS["light"][language].split()) for language in LANGUAGES}
_ONE_SIDED: Final = {
    language: frozenset(_LISTS["one_sided"][language].split()) for language in LANGUAGES
}
_BINDING: Final = frozenset(_LISTS["binding"].split())
_FREQUENCIES: Final = frozenset(map(stem_word, FREQUENCY_WORDS))
_TIMES: Final = frozenset(
    stem_word(word)
    for word in (
        *_LISTS["times"].split(),
        *(u for u, (d, _) in UNITS.items() if d in {"s", "month"}),
    )
)
_ENDINGS: Final = {
    language: frozenset(("", *endings.split())) for language, endings in _LISTS["endings"].items()
}
_MIN_COMMON: Final = 3
"""Letters that two forms of one word begin with, at least; one more where one is no longer."""

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
    language = find_language(one, two)
    if not language or not (missing or added):
        return one.sequence, two.sequence
    renamed = _match(missing, added, one, two, language)
    used = {*renamed, *renamed.values()}
    lost, new = set(missing) - used, set(added) - used
    gone = _LIGHT[language] & (lost | new)
    few = _ONE_SIDED[language]
    if lost.isdisjoint(few) or new.isdisjoint(few):
        gone |= few & (lost | new)
    return (
        tuple(word for word in one.sequence if word not in gone),
        tuple(renamed.get(word, word) for word in two.sequence if word not in gone),
    )


def measure_meanings(one: Wording, two: Wording) -> tuple[float, float]:
    """Return the share of either text's content that the other has in a word of one meaning."""
    left, right = frozenset(one.content), frozenset(two.content)
    common = len(left & right)
    language = find_language(one, two)
    if language and common < min(len(left), len(right)):
        common += len(_match(sorted(left - right), sorted(right - left), one, two, language))
    return common / max(1, len(left)), common / max(1, len(right))


def _match(
    missing: Sequence[str], added: Sequence[str], one: Wording, two: Wording, language: str
) -> dict[str, str]:
    """Return which of the missing words each of the added ones stands for, if any."""
    groups = _SYNONYMS[language]
    by_group: dict[int, list[str]] = {}
    by_beginning: dict[str, list[str]] = {}
    for word in missing:
        for group in groups.get(word, ()):
            by_group.setdefault(group, []).append(word)
        by_beginning.setdefault(_begin(one.forms.get(word, word), language), []).append(word)
    found: dict[str, str] = {}
    taken: set[str] = set()
    for word in added:
        form = two.forms.get(word, word)
        synonyms = [m for group in groups.get(word, ()) for m in by_group.get(group, ())]
        alike = [
            m
            for m in by_beginning.get(_begin(form, language), ())
            if is_form(one.forms.get(m, m), form, language)
        ]
        match = next((m for m in (*synonyms, *alike) if m not in taken), None)
        if match is not None:
            taken.add(match)
            found[word] = match
    return found


def _begin(word: str, language: str) -> str:
    """Return the letters that all forms of a word begin with."""
    if language == "de":
        word = word.translate(_UMLAUTS)
        if len(word) > 2 * _MIN_COMMON:
            word = word.removeprefix("ge")
    return word[:_MIN_COMMON]


def find_language(one: Wording, two: Wording) -> str:
    """Return the language of both texts, of `LANGUAGES`; empty where it is not clear."""
    counts = [left + right for left, right in zip(one.common, two.common, strict=True)]
    best = max(counts)
    return LANGUAGES[counts.index(best)] if best and counts.count(best) == 1 else ""


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
        and (at > _MIN_COMMON or (word[at:] and other[at:]))
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

    The part has to begin with a word such as `after`, a number or how often something is done: of
    two steps, or of who does what to whom, the order counts.
    """
    return _moves_first(left, right, frozenset(content)) or _moves_first(
        right, left, frozenset(content)
    )


def _moves_first(left: Sequence[str], right: Sequence[str], content: frozenset[str]) -> bool:
    """Return whether the beginning of the one stands farther behind in the other."""
    if len(left) != len(right) or not left or not _may_begin(left[0], content):
        return False
    for size in range(1, len(left)):
        part, rest = left[:size], left[size:]
        if part[-1] not in content:
            continue
        for at in range(1, len(rest) + 1):
            if (*rest[:at], *part, *rest[at:]) == tuple(right):
                return True
            # As in `every two weeks, we change the filter` and `the filter is changed every …`.
            if _is_time(part) and (*rest[at:], *rest[:at], *part) == tuple(right):
                return True
    return False


def _is_time(part: Sequence[str]) -> bool:
    """Return whether a part says when or how often: `weekly`, `every #2 month`, `#2 time a day`."""
    if len(part) == 1:
        return part[0] in _FREQUENCIES
    has_number = any(word.startswith("#") for word in part[:2])
    return has_number and not _TIMES.isdisjoint(part[1:3])


def _may_begin(word: str, content: frozenset[str]) -> bool:
    """Return whether a part that may stand anywhere begins with a word: `after`, `#2`, `weekly`."""
    is_adverbial = word.startswith("#") or word in _FREQUENCIES
    return is_adverbial or (word not in content and word not in _BINDING)


def is_agentless(one: Wording, two: Wording) -> bool:
    """Return whether a text says of nobody that they do what the other says is done.

    As in `Scan each letter`, `On scanne chaque lettre`, `Se escanea cada carta`: the verb comes
    first there, and later in the other one. Nobody can have changed places with what it is done to.
    """
    left, right = unify(one, two)
    language = find_language(one, two)
    if language == "es" and left[:1] == ("se",):
        left, right = left[1:], _without(right, "se")
    if not left or left[0] not in right or left[0] not in one.content:
        return False
    verb = left[0]
    is_first = {
        "en": _is_imperative(one.forms.get(verb, ""), two.forms.get(verb, "")),
        "fr": one.sequence[:1] == ("on",),
        "es": one.sequence[:1] == ("se",),
    }
    rest, others = left[1:], _without(right, verb)
    content = (*one.content, *two.content)
    return is_first.get(language, False) and (rest == others or is_fronted(rest, others, content))


def _is_imperative(form: str, other: str) -> bool:
    return other.endswith("ed") and bool(form) and not form.endswith(("ed", "s", "ing"))


def _without(words: tuple[str, ...], word: str) -> tuple[str, ...]:
    """Return words without the first one of a kind."""
    if word not in words:
        return words
    at = words.index(word)
    return words[:at] + words[at + 1 :]


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
