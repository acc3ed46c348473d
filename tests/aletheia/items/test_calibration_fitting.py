"""How an embedding model's scale is fitted to the labelled items."""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia.errors import BudgetExceeded, Deferred, RateLimited
from aletheia.items.calibration import DUPLICATE_AT, GREY_FROM, Calibration
from aletheia.items.calibration_fitting import calibrate, fit_calibration
from aletheia.items.labelled_pairs import hash_labels, read_texts
from aletheia.items.similarity_fitting import MIN_PRECISION
from aletheia.text.wording import read_wording
from tests.aletheia.items.test_similarity_fitting import draw

DIMENSIONS = 256


async def embed_words(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed a text as the stems that it has."""
    rows = np.full((len(texts), DIMENSIONS), 1e-3, np.float32)
    for row, text in zip(rows, texts, strict=True):
        for stem in read_wording(text).content:
            row[zlib.crc32(stem.encode()) % DIMENSIONS] += 1
    return rows


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    return fit_calibration("m", draw(3000, 1), draw(3000, 2), 0.3)


def test_a_threshold_is_as_precise_as_it_has_to_be(fitted: Calibration):
    assert fitted.tested is not None
    assert fitted.drop_at is not None
    assert fitted.drop_at >= DUPLICATE_AT
    assert fitted.tested.precision >= MIN_PRECISION
    assert fitted.unjudged_from == fitted.drop_at


def test_the_grey_zone_has_nearly_all_repetitions(fitted: Calibration):
    assert 0 < fitted.grey_from <= GREY_FROM
    assert fitted.reach is not None
    held_out = draw(3000, 2)
    in_reach = held_out.cosines[held_out.is_duplicate] >= fitted.reach
    assert in_reach.mean() >= 0.97


def test_knots_rise_from_0_to_1_and_say_what_a_cosine_alone_is_worth(fitted: Calibration):
    scores = [fitted.to_score(cosine) for cosine in np.linspace(-1, 1, 101)]
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (0, 1)


def test_pairs_that_cannot_be_told_apart_have_no_threshold_or_no_scale():
    hardly = fit_calibration("m", draw(3000, 1, gap=0.06), draw(3000, 2, gap=0.06), 0.3)
    assert hardly.unjudged_from is None
    with pytest.raises(ValueError, match="higher cosine"):
        fit_calibration("m", draw(3000, 1, gap=0.0), draw(3000, 2, gap=0.0), 0.3)


def test_pairs_that_all_differ_in_what_matters_are_never_dropped_unjudged():
    guarded = fit_calibration("m", draw(800, 1, guarded=True), draw(800, 2, guarded=True), 0.3)
    assert guarded.unjudged_from is None


async def test_a_model_is_fitted_to_one_split_and_tested_on_the_other_between_limits():
    asked: list[str] = []
    waits = [timedelta(seconds=0.2), timedelta(0)]

    async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        if asked and waits:
            raise RateLimited("ollama", datetime.now(UTC) + waits.pop())
        asked.extend(texts)
        return await embed_words(texts)

    found = await calibrate("m", embed)
    assert waits == []
    assert found.labels == hash_labels()
    assert found.similarity is not None
    assert found.fitted is not None
    assert found.tested is not None
    assert len(asked) == len(set(asked)), "nothing is embedded twice"
    assert {text.text for text in read_texts("test")} < set(asked)
    assert found.calibration_error is not None
    assert found.calibration_error < 0.1


@pytest.mark.parametrize(
    "problem",
    [
        RateLimited("ollama", None),
        BudgetExceeded("BUDGET_TOKENS_PER_DAY", 9, 9, 1, datetime.now(UTC)),
    ],
)
async def test_what_no_wait_helps_is_said(problem: Deferred):
    async def embed(_: Sequence[str]) -> NDArray[np.float32]:
        raise problem

    with pytest.raises(type(problem)):
        await calibrate("m", embed)
