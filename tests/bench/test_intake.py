"""When vectors count as the model's own."""

import numpy as np
import pytest

from bench.intake import check_vectors
from bench.programs import BenchFailed

REFERENCE = np.eye(3, 4, dtype=np.float32)


def test_vectors_that_differ_by_rounding_are_the_same():
    check_vectors("pipeline", REFERENCE + np.float32(1e-6), REFERENCE)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param([0, 0, 0, 0], id="zero"),
        pytest.param([np.nan, 0, 0, 0], id="not a number"),
        pytest.param([0, 1, 0, 0], id="of another text"),
        pytest.param([1, 0.05, 0, 0], id="a little beside"),
    ],
)
def test_one_vector_that_is_not_the_models_fails_the_bench(row: list[float]):
    found = REFERENCE.copy()
    found[0] = row
    with pytest.raises(BenchFailed, match="1 of 3"):
        check_vectors("pipeline", found, REFERENCE)


def test_a_missing_vector_fails_the_bench():
    with pytest.raises(BenchFailed, match="shape"):
        check_vectors("pipeline", REFERENCE[:2], REFERENCE)
