"""How weights are fitted, and what is known of them afterwards."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia.items.similarity import FEATURES
from aletheia.items.similarity_fitting import (
    DEPARTMENTS,
    MIN_CALLED,
    PRIOR,
    VARIANTS,
    VARIANTS_IN_OTHER_WORDS,
    Candidates,
    PairKind,
    find_threshold,
    fit_logistic,
    fit_model,
    measure_calibration_error,
    measure_reliability,
    predict,
    predict_left_out,
    weigh_pairs,
)


def draw(pairs: int, seed: int, *, gap: float = 0.3, guarded: bool = False) -> Candidates:
    """Draw pairs whose cosines tell them apart as well as `gap` is wide."""
    random = np.random.default_rng(seed)
    is_duplicate = random.random(pairs) < 0.3
    features = random.normal(0.0, 0.1, (pairs, len(FEATURES)))
    features[:, 0] = np.clip(0.4 + gap * is_duplicate + random.normal(0, 0.1, pairs), -1, 1)
    topics = random.integers(0, 12, pairs)
    return Candidates(features, is_duplicate, np.full(pairs, guarded), topics, weigh(is_duplicate))


def weigh(is_duplicate: NDArray[np.bool_]) -> NDArray[np.float64]:
    kinds: list[PairKind] = ["repetition" if label else "other" for label in is_duplicate.tolist()]
    return weigh_pairs(kinds)


def test_weights_make_each_kind_as_rare_as_among_real_candidates():
    counts: dict[PairKind, int] = {
        "repetition": 30,
        "variant": 60,
        "variant in other words": 90,
        "other": 20,
    }
    kinds: list[PairKind] = [kind for kind, count in counts.items() for _ in range(count)]
    weights = dict.fromkeys(kinds, 0.0)
    for kind, weight in zip(kinds, weigh_pairs(kinds).tolist(), strict=True):
        weights[kind] += weight
    assert sum(weights.values()) == pytest.approx(200)
    assert weights["repetition"] / 200 == pytest.approx(PRIOR)
    assert weights["variant"] / 200 == pytest.approx(VARIANTS)
    assert weights["variant in other words"] / 200 == pytest.approx(VARIANTS_IN_OTHER_WORDS)


def test_pairs_of_departments_weigh_the_same_and_have_their_share_of_all():
    departments: list[PairKind] = ["of a department"] * 16
    kinds: list[PairKind] = ["repetition", "variant", "variant in other words", "other"]
    kinds += departments
    weights = weigh_pairs(kinds)
    assert weights.sum() == pytest.approx(20)
    assert weights[4:].sum() / 20 == pytest.approx(DEPARTMENTS)
    assert np.ptp(weights[4:]) == pytest.approx(0)
    assert weights[0] / weights[:4].sum() == pytest.approx(PRIOR)


@pytest.mark.parametrize("kind", ["repetition", "other"])
def test_pairs_of_one_kind_cannot_be_weighed(kind: PairKind):
    kinds: list[PairKind] = [kind] * 5
    with pytest.raises(ValueError, match="to tell apart"):
        weigh_pairs(kinds)


def test_the_logistic_finds_the_odds_of_a_flag():
    flags = np.array([1.0] * 400 + [0.0] * 400)[:, np.newaxis]
    labels = np.array([True] * 300 + [False] * 100 + [True] * 100 + [False] * 300)
    (weight,), bias = fit_logistic(flags, labels, np.ones(800))
    chances = 1 / (1 + np.exp(-(bias + weight * flags[[0, -1], 0])))
    assert chances == pytest.approx([0.75, 0.25], abs=0.02)


def test_what_is_said_of_other_pairs_is_so():
    model = fit_model(draw(4000, 1), 0.3)
    held_out = draw(4000, 2)
    bins = measure_reliability(predict(model, held_out.features), held_out)
    assert measure_calibration_error(bins) < 0.02
    assert sum(found.pairs for found in bins) == 4000
    assert sum(found.weight for found in bins) == pytest.approx(1)


def test_a_pair_is_predicted_by_weights_that_its_topic_had_no_part_in():
    drawn = draw(400, 3, gap=0.0)
    # A feature that gives away the labels of one topic alone.
    drawn.features[:, 1] = np.where(drawn.topics == 0, 5.0 * drawn.is_duplicate, 0.0)
    of_topic = drawn.topics == 0
    fitted = predict(fit_model(drawn, 0.3), drawn.features)
    left_out = predict_left_out(drawn, 0.3)
    labels = drawn.is_duplicate[of_topic]
    assert fitted[of_topic][labels].mean() > 2 * left_out[of_topic][labels].mean()
    assert np.isfinite(left_out).all()


def test_a_feature_that_is_no_number_is_not_fitted():
    drawn = draw(50, 4)
    drawn.features[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        fit_model(drawn, 0.3)


def scored(*parts: tuple[float, bool, int]) -> tuple[NDArray[np.float64], Candidates]:
    """Make pairs of a probability and a label, so many of each."""
    chances = np.array([chance for chance, _, count in parts for _ in range(count)])
    labels = np.array([label for _, label, count in parts for _ in range(count)])
    size = len(labels)
    zeros = np.zeros((size, len(FEATURES)))
    topics = np.zeros(size, np.intp)
    return chances, Candidates(zeros, labels, np.zeros(size, bool), topics, weigh(labels))


SURE = scored((0.99, True, 50), (0.92, True, 50), (0.92, False, 60), (0.01, False, 1000))


def test_the_threshold_is_where_enough_of_what_is_called_repeats():
    assert find_threshold([SURE], 0.9) == 0.99
    assert find_threshold([SURE], 0.9, precision=0.01) == 0.9


def test_the_threshold_holds_in_each_part_or_there_is_none():
    worse = scored((0.99, True, 50), (0.99, False, 60), (0.01, False, 100))
    assert find_threshold([SURE, worse], 0.9) is None


def test_of_few_pairs_nothing_is_known():
    few = scored((0.99, True, MIN_CALLED - 1), (0.01, False, 100))
    assert find_threshold([few], 0.9) is None


def test_pairs_that_differ_in_what_matters_have_no_part_in_it():
    chances, pairs = scored((0.99, True, 50), (0.99, False, 60), (0.01, False, 1000))
    is_guarded = (chances > 0.5) & ~pairs.is_duplicate
    guarded = replace(pairs, is_guarded=is_guarded)
    assert find_threshold([(chances, guarded)], 0.9) == 0.9
