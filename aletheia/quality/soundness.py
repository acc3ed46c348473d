"""How far items are sound, by themselves and as part of their set: what a set shows counts for all.

A text without its full stop is a note of somebody in a hurry, unless others of the set break off in
the middle; one unusual row of words is a style, and a whole set of them is salad.
"""

from collections.abc import Sequence
from typing import Final

from aletheia.quality.form import BROKEN_OFF
from aletheia.quality.reading import Reading

MIN_FAULTY: Final = 2
MIN_FAULTY_SHARE: Final = 0.2
"""Items of a set with a fault, and their share, from which others are taken to have it, too."""

MIN_REPEATING: Final = 4
MIN_REPEATING_SHARE: Final = 0.6
"""Items that say a word twice, and their share, from which a set explains words by themselves."""

MISMEASURED: Final = 0.25
"""What of an item counts whose figures are impossible: nobody knows what else of it is right."""

ORDER: Final = -0.45
DISORDER: Final = -0.75
"""Order of words, see `measure_order`, from which on items count in full, and below which not at
all: of good items one of fifty is below the first, of shuffled ones nine of ten below the other."""


def measure_soundness(readings: Sequence[Reading]) -> list[float]:
    """Return what faults of form leave of each item, 0 to 1."""
    repeating = sum(reading.is_repeating for reading in readings)
    is_circular = repeating >= max(MIN_REPEATING, MIN_REPEATING_SHARE * len(readings))
    faults = zip(
        _find_cut(readings), _find_mismeasured(readings), _measure_order(readings), strict=True
    )
    return [
        (BROKEN_OFF if is_cut or is_circular else 1.0)
        * (MISMEASURED if is_mismeasured else 1.0)
        * order
        for is_cut, is_mismeasured, order in faults
    ]


def _find_cut(readings: Sequence[Reading]) -> list[bool]:
    """Return which texts have no end, in a set whose texts break off."""
    is_cut = _is_common(sum(reading.ending == "broken" for reading in readings), readings)
    return [is_cut and reading.ending == "open" for reading in readings]


def _find_mismeasured(readings: Sequence[Reading]) -> list[bool]:
    """Return which items have impossible figures; where several have, all that have figures."""
    is_common = _is_common(sum(reading.impossible > 0 for reading in readings), readings)
    return [
        reading.impossible > 0 or (is_common and bool(reading.specifics)) for reading in readings
    ]


def _measure_order(readings: Sequence[Reading]) -> list[float]:
    """Return how usual each item's order of words is, 0 to 1, by its own and by those of all."""
    usual = sum(reading.word_order for reading in readings) / max(1, len(readings))
    found = [(reading.word_order + usual) / 2 for reading in readings]
    return [min(1.0, max(0.0, (order - DISORDER) / (ORDER - DISORDER))) for order in found]


def _is_common(count: int, readings: Sequence[Reading]) -> bool:
    return count >= max(MIN_FAULTY, MIN_FAULTY_SHARE * len(readings))
