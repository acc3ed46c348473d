"""Which rows share a band, however many there are and whenever they came."""

import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia.items.band_table import BandTable

BANDS = 12


def compare_all(rows: NDArray[np.uint32], asked: NDArray[np.uint32]) -> list[list[int]]:
    return [
        np.flatnonzero((rows == asked[:, [place]]).any(axis=0)).tolist()
        for place in range(asked.shape[1])
    ]


@pytest.mark.parametrize("values", [40, 2**32], ids=["many alike", "hardly any alike"])
@pytest.mark.parametrize("sizes", [(1, 700, 500, 3, 3000, 40, 2), (0, 5000, 1, 1, 600, 100)])
def test_all_rows_that_share_a_band_are_found_and_no_others(sizes: tuple[int, ...], values: int):
    random = np.random.default_rng(3)
    table, rows = BandTable(BANDS), np.empty((BANDS, 0), np.uint32)
    for size in sizes:
        more = random.integers(0, values, (BANDS, size), np.uint32)
        table.append(more)
        rows = np.concatenate([rows, more], axis=1)
        asked = random.integers(0, values, (BANDS, 6), np.uint32)
        if size:
            asked[:, 0], asked[7, 1], asked[0, 2] = rows[:, -1], rows[7, 0], more[0, 0]
        assert table.find(asked) == compare_all(rows, asked)


def test_the_smallest_and_the_greatest_key_are_found():
    ends = np.array([[0] * 3000, [2**32 - 1] * 3000], np.uint32)
    table = BandTable(2)
    table.append(ends)
    assert table.find(ends[:, :1]) == [list(range(3000))]
    assert table.find(ends[::-1, :1]) == [[]]


def test_an_empty_table_finds_nothing():
    assert BandTable(BANDS).find(np.zeros((BANDS, 2), np.uint32)) == [[], []]
