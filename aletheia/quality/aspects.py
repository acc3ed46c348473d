"""The aspects of a department: what it deals with, in the words of its description.

They are the runs of words between function words, verbs and punctuation: of "Reviews contracts and
advises on data protection" they are "contracts" and "data protection". One more is the whole, to
which every item of another belongs; without a description it is the only one, and has all items.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aletheia.items.departments import Department
from aletheia.quality.orders import drop_orders
from aletheia.quality.reading import WORD, WORDS, Reading, stem_of
from aletheia.quality.sentences import UNSPACED

WHOLE: Final = "the department as a whole"
"""Name of the aspect that every item of the department belongs to."""

MAX_ASPECTS: Final = 12
"""Of a longer description, the aspects that are named most often count."""

MAX_ASPECTS_PER_ITEM: Final = 3
"""An item that names more of them only lists them; the first ones count."""

_MAX_DESCRIPTION_CHARS: Final = 8000
_MAX_WORDS: Final = 4
_WORD_OR_MARK: Final = re.compile(rf"{WORD.pattern}|[^\w\s]|\d+")


@dataclass(frozen=True, slots=True)
class Aspect:
    """A name in the department's own words, and their stems; `WHOLE` has none."""

    name: str
    stems: frozenset[str]


def find_aspects(department: Department) -> tuple[Aspect, ...]:
    """Return at most `MAX_ASPECTS`, in the order of the description, and `WHOLE` behind them."""
    names: dict[frozenset[str], str] = {}
    counts: Counter[frozenset[str]] = Counter()
    said = drop_orders(department.description)
    for run in _runs_of(said[:_MAX_DESCRIPTION_CHARS]):
        stems = frozenset(map(stem_of, run))
        known = next((known for known in names if known <= stems or stems <= known), None)
        if known is None:
            names[stems] = _join(run)
        counts[known or stems] += 1
    chosen = {stems for stems, _ in counts.most_common(MAX_ASPECTS)}
    own = [Aspect(name, stems) for stems, name in names.items() if stems in chosen]
    return (*own, Aspect(WHOLE, frozenset()))


class AspectFinder:
    """Finds which of a department's aspects, `WHOLE` last, texts name; `stems` are those of all."""

    def __init__(self, aspects: Sequence[Aspect]) -> None:
        self._own = aspects[:-1]
        self._places: dict[str, list[int]] = {}
        for place, aspect in enumerate(self._own):
            for stem in aspect.stems:
                self._places.setdefault(stem, []).append(place)
        self.stems = frozenset(self._places)

    def find(self, reading: Reading) -> list[int]:
        """Return the places of the aspects that a text names, the first named first.

        Two thirds of an aspect's words suffice, or half of them and the longest among these.
        """
        hits: dict[int, list[str]] = {}
        for stem in reading.order:
            for place in self._places.get(stem, ()):
                hits.setdefault(place, []).append(stem)
        named = [place for place, found in hits.items() if _is_named(found, self._own[place])]
        return named[:MAX_ASPECTS_PER_ITEM]


def _is_named(found: Sequence[str], aspect: Aspect) -> bool:
    has_longest_stem = max(map(len, found)) == max(map(len, aspect.stems))
    return len(found) >= len(aspect.stems) * (1 / 2 if has_longest_stem else 2 / 3)


def _runs_of(text: str) -> list[list[str]]:
    """Split a text at function words, numbers, punctuation, and verbs that begin a clause."""
    runs: list[list[str]] = [[]]
    for word in _WORD_OR_MARK.findall(text):
        # IT is a name, "it" is none.
        is_name = word.isupper() and len(word) > 1
        is_end = not word[0].isalpha() or (stem_of(word) in WORDS["stop"] and not is_name)
        if is_end or (not runs[-1] and word.casefold() in WORDS["verbs"] and not is_name):
            runs.append([])
        else:
            runs[-1].append(word)
    specific = [run for run in runs if not WORDS["vague"].issuperset(map(stem_of, run))]
    return [run[-_MAX_WORDS:] if run[0].isascii() else run for run in specific]


def _join(run: Sequence[str]) -> str:
    return ("" if re.fullmatch(f"[{UNSPACED}]", run[0]) else " ").join(run)
