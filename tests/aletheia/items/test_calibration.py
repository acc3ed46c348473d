"""One scale for all models, and what a pair of items is worth on it."""

import json
import logging
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.items.calibration import (
    DUPLICATE_AT,
    UNJUDGED_COSINE_FROM,
    Accuracy,
    Calibration,
    calibration_file,
    identity,
    measure_accuracy,
    shipped_calibration,
)
from aletheia.items.labelled_pairs import hash_labels
from aletheia.items.similarity_fitting import MIN_PRECISION
from tests.aletheia.items.scales import make_scale

SHIPPED = "sentence-transformers/all-MiniLM-L6-v2"

SCALE = Calibration("m", ((0.0, 0.0), (0.5, 0.8), (0.6, 0.9), (0.95, 0.97), (1.0, 1.0)))

OLD: dict[str, Any] = {
    "model": SHIPPED,
    "knots": [[0.0, 0.0], [0.558243, 0.8], [0.604605, 0.9], [0.941726, 0.97], [1.0, 1.0]],
    "labels": "afb7dbde82e66c3db87e446952af13414a0b3fc974569ccb16fe01f0c9bf6807",
    "fitted": {"pairs": 496, "duplicates": 192, "precision": 0.53, "recall": 0.93, "f1": 0.68},
    "tested": {"pairs": 372, "duplicates": 144, "precision": 0.53, "recall": 0.99, "f1": 0.69},
}
"""A calibration as it was stored before similarity was a probability."""


def test_a_calibration_of_before_keeps_its_scale_and_drops_nothing_unjudged():
    old = Calibration.from_document(OLD)
    assert old.is_calibrated
    assert old.to_cosine(DUPLICATE_AT) == 0.604605
    assert old.measure("one text", "another one", 0.604605) == DUPLICATE_AT
    assert old.min_cosine == 0.558243
    assert old.unjudged_from is None


def test_a_calibration_of_before_that_was_precise_still_drops_from_its_threshold_on():
    tested = Accuracy(pairs=372, duplicates=144, precision=MIN_PRECISION, recall=0.6, f1=0.74)
    old = replace(Calibration.from_document(OLD), tested=tested)
    assert old.unjudged_from == DUPLICATE_AT


def test_without_calibration_a_pair_has_no_score():
    assert identity("m").measure("one text", "the same text", 1.0) is None
    assert identity("m").unjudged_from is None


def test_a_score_is_a_probability_and_rises_with_the_cosine():
    scale = make_scale("m")
    scores = [scale.measure("one text", "another", cosine) for cosine in (0.0, 0.5, 0.75, 1.0)]
    assert scores == sorted(score for score in scores if score is not None)
    assert scores[2] == pytest.approx(0.5)


def test_weighted_pairs_count_as_much_as_their_weights():
    called, labels = np.array([True, True, False]), np.array([True, False, True])
    plain = measure_accuracy(called, labels)
    assert (plain.precision, plain.recall, plain.f1) == (0.5, 0.5, 0.5)
    weighted = measure_accuracy(called, labels, np.array([3.0, 1.0, 1.0]))
    assert (weighted.precision, weighted.recall) == (0.75, 0.75)
    assert (weighted.pairs, weighted.duplicates) == (3, 2)


@given(st.floats(0, 1))
def test_a_score_has_one_cosine(score: float):
    assert SCALE.to_score(SCALE.to_cosine(score)) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(("cosine", "score"), [(-1, 0), (0, 0), (0.6, 0.9), (1, 1), (1.1, 1)])
def test_a_cosine_beyond_the_ends_has_the_score_of_the_end(cosine: float, score: float):
    assert SCALE.to_score(cosine) == score


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan])
def test_a_score_off_the_scale_has_no_cosine(score: float):
    with pytest.raises(ValueError):
        SCALE.to_cosine(score)


@pytest.mark.parametrize(
    "knots",
    [
        pytest.param(((0.0, 0.0),), id="one"),
        pytest.param(((0.0, 0.0), (0.5, 0.9), (0.5, 0.95), (1.0, 1.0)), id="not rising"),
        pytest.param(((0.0, 0.0), (0.5, 0.9), (0.7, 0.8), (1.0, 1.0)), id="falling"),
        pytest.param(((0.0, 0.1), (1.0, 1.0)), id="not from 0"),
        pytest.param(((0.0, 0.0), (1.0, 0.9)), id="not to 1"),
        pytest.param(((0.0, 0.0), (math.nan, 0.5), (1.0, 1.0)), id="no number"),
    ],
)
def test_a_scale_that_does_not_rise_from_0_to_1_is_refused(knots: tuple[tuple[float, float], ...]):
    with pytest.raises(ValueError, match="knots"):
        Calibration("m", knots)


def test_a_calibration_comes_back_from_its_document():
    scale = make_scale("m")
    stored = json.loads(json.dumps(asdict(scale)))
    assert Calibration.from_document(stored | {"_id": "m"}) == scale
    assert Calibration.from_document(asdict(identity("m"))) == identity("m")


@pytest.mark.parametrize(
    "values", [{"drop_at": 1.5}, {"grey_from": -0.1}, {"reach": math.nan}], ids=str
)
def test_a_threshold_off_the_scale_is_refused(values: dict[str, float]):
    with pytest.raises(ValueError, match="off the scale"):
        replace(make_scale("m"), **values)


@pytest.mark.parametrize("document", [{}, {"model": "m", "knots": 5, "labels": ""}])
def test_a_document_of_something_else_is_refused(document: dict[str, Any]):
    with pytest.raises(ValueError):
        Calibration.from_document(document)


def test_a_model_without_calibration_gets_the_identity_and_a_warning(
    caplog: pytest.LogCaptureFixture,
):
    with caplog.at_level(logging.WARNING):
        found = shipped_calibration("nobody/knows-this")
    assert found.to_cosine(DUPLICATE_AT) == DUPLICATE_AT
    assert found.fitted is None
    assert "nobody/knows-this is not calibrated" in caplog.text


def test_the_shipped_calibration_is_of_the_labelled_items_as_they_are():
    shipped = shipped_calibration(SHIPPED)
    assert shipped.model == SHIPPED
    assert shipped.labels == hash_labels(), "fit it again: python -m bench.dedup --write"
    assert shipped.fitted is not None
    assert shipped.tested is not None
    assert shipped.similarity is not None
    assert shipped.tested.precision >= MIN_PRECISION
    assert shipped.calibration_error is not None
    assert shipped.calibration_error <= 0.05


def test_case_makes_no_difference_to_where_a_calibration_is():
    assert calibration_file(SHIPPED.upper()) == calibration_file(SHIPPED)


def test_no_name_of_a_model_leads_out_of_the_directory():
    assert "/" not in calibration_file("../../etc/passwd").name


def test_a_far_pair_is_never_sure_whatever_its_words_are_worth():
    scale = make_scale("m", drop_from=0.95)
    far = scale.to_cosine(UNJUDGED_COSINE_FROM)
    assert scale.is_sure(1.0, far)
    assert not scale.is_sure(1.0, far - 0.001)
    assert scale.drop_at is not None
    assert not scale.is_sure(scale.drop_at - 0.001, 1.0)
