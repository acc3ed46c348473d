"""One scale for all models, and where its threshold is."""

import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aletheia.items.calibration import (
    DUPLICATE_AT,
    GREY_FROM,
    GREY_TO,
    Calibration,
    Split,
    calibrate,
    calibration_file,
    fit_calibration,
    hash_labels,
    identity,
    measure_accuracy,
    pair_up,
    read_texts,
    shipped_calibration,
)
from aletheia.text.normalisation import normalise

SHIPPED = "sentence-transformers/all-MiniLM-L6-v2"

SCALE = Calibration("m", ((0.0, 0.0), (0.5, 0.8), (0.6, 0.9), (0.95, 0.97), (1.0, 1.0)))


def fit(*pairs: tuple[float, bool]) -> Calibration:
    cosines, is_duplicate = zip(*pairs, strict=True)
    return fit_calibration("m", np.array(cosines), np.array(is_duplicate))


def test_the_threshold_lies_in_the_gap_with_the_best_f1():
    fitted = fit((0.9, True), (0.8, True), (0.5, False), (0.4, False))
    assert fitted.to_cosine(DUPLICATE_AT) == pytest.approx(0.65)
    assert fitted.fitted is not None
    assert (fitted.fitted.precision, fitted.fitted.recall, fitted.fitted.f1) == (1, 1, 1)


def test_pairs_of_one_cosine_are_on_one_side_of_the_threshold():
    at = fit((0.9, True), (0.7, True), (0.7, False), (0.7, True), (0.2, False)).to_cosine(0.9)
    assert at == pytest.approx(0.45)


@given(st.lists(st.tuples(st.integers(1, 99), st.booleans()), min_size=2, max_size=60))
def test_no_other_threshold_has_a_better_f1(drawn: list[tuple[int, bool]]):
    cosines = np.array([hundredth / 100 for hundredth, _ in drawn])
    is_duplicate = np.array([label for _, label in drawn])
    if is_duplicate.all() or not is_duplicate.any():
        return
    fitted = fit_calibration("m", cosines, is_duplicate)
    best = max(measure_accuracy(cosines >= at, is_duplicate).f1 for at in cosines)
    at = fitted.to_cosine(DUPLICATE_AT)
    assert measure_accuracy(cosines >= at, is_duplicate).f1 == best


@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=2, max_size=60))
def test_a_fitted_scale_rises_from_0_to_1(drawn: list[tuple[float, bool]]):
    try:
        fitted = fit(*drawn)
    except ValueError:
        return
    scores = [fitted.to_score(cosine) for cosine in np.linspace(-1, 1, 101)]
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (0, 1)
    assert fitted.to_score(fitted.to_cosine(DUPLICATE_AT)) == DUPLICATE_AT
    assert fitted.to_cosine(GREY_FROM) <= fitted.to_cosine(DUPLICATE_AT)
    assert fitted.to_cosine(DUPLICATE_AT) <= fitted.to_cosine(GREY_TO)


def test_the_grey_zone_spans_the_duplicates_but_for_their_ends():
    duplicates = [(0.5 + n / 200, True) for n in range(101)]
    fitted = fit(*duplicates, *[(0.55, False)] * 30, *[(0.3, False)] * 200)
    assert fitted.to_cosine(GREY_FROM) == pytest.approx(0.5 + 0.05 * 0.5)
    assert fitted.to_cosine(GREY_TO) == pytest.approx(0.5 + 0.90 * 0.5)


def test_a_bound_on_the_wrong_side_of_the_threshold_gives_way():
    fitted = fit((0.9, True), (0.9, True), (0.5, False))
    assert fitted.knots == ((0.0, 0.0), (0.7, 0.9), (0.9, 0.97), (1.0, 1.0))
    assert fitted.to_cosine(GREY_FROM) < 0.7


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([(0.9, True), (0.8, True)], id="no others"),
        pytest.param([(0.9, False), (0.8, False)], id="no duplicates"),
        pytest.param([(math.nan, True), (0.8, False)], id="no cosine"),
        pytest.param([(-0.5, True), (-0.6, False)], id="nothing above 0"),
    ],
)
def test_what_cannot_be_told_apart_is_not_fitted(pairs: list[tuple[float, bool]]):
    with pytest.raises(ValueError):
        fit(*pairs)


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
    fitted = fit((0.9, True), (0.8, True), (0.5, False))
    stored = json.loads(json.dumps(asdict(fitted)))
    assert Calibration.from_document(stored | {"_id": "m"}) == fitted
    assert Calibration.from_document(asdict(identity("m"))) == identity("m")


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
    sizes = [len(pair_up(read_texts("calibration"))), len(pair_up(read_texts("test")))]
    assert [shipped.fitted.pairs, shipped.tested.pairs] == sizes


def test_case_makes_no_difference_to_where_a_calibration_is():
    assert calibration_file(SHIPPED.upper()) == calibration_file(SHIPPED)


def test_no_name_of_a_model_leads_out_of_the_directory():
    assert "/" not in calibration_file("../../etc/passwd").name


async def test_a_model_is_tested_on_pairs_that_it_was_not_fitted_on():
    asked: list[set[str]] = []

    async def embed(texts: Sequence[str]) -> NDArray[np.float64]:
        """Know the labels in the first split, and nothing in the second."""
        asked.append(set(texts))
        known = {text.text: text for text in read_texts("calibration")}
        if not set(texts) <= set(known):
            return np.ones((len(texts), 3))
        points = [float(known[text].group) if not known[text].kind else -1.0 for text in texts]
        return np.array([[math.cos(p / 30), math.sin(p / 30), p < 0] for p in points])

    found = await calibrate("m", embed)
    assert asked[0].isdisjoint(asked[1])
    assert found.fitted is not None
    assert found.tested is not None
    assert (found.fitted.f1, found.tested.recall) == (1, 1)
    assert found.tested.precision == found.tested.duplicates / found.tested.pairs
    assert found.labels == hash_labels()


# The labelled items: that they are what they are said to be

SPLITS: tuple[Split, ...] = ("calibration", "test")
KINDS = {"number", "unit", "negation", "opposite", "subject", "scope", "point"}


def test_no_topic_and_no_text_is_in_both_splits():
    topics, texts = (
        [{getattr(text, name) for text in read_texts(split)} for split in SPLITS]
        for name in ("topic", "text")
    )
    assert topics[0].isdisjoint(topics[1])
    assert texts[0].isdisjoint(texts[1])


@pytest.mark.parametrize("split", SPLITS)
def test_items_are_paragraphs_and_all_different(split: Split):
    texts = [text.text for text in read_texts(split)]
    assert all(30 <= len(text.split()) <= 120 for text in texts)
    assert len({normalise(text) for text in texts}) == len(texts)


@pytest.mark.parametrize("split", SPLITS)
def test_each_group_has_three_more_ways_to_say_it_and_two_other_points(split: Split):
    groups = Counter((text.group, bool(text.kind)) for text in read_texts(split))
    assert {size for (_, is_other), size in groups.items() if is_other} == {2}
    assert {size for (_, is_other), size in groups.items() if not is_other} == {4}
    assert {text.kind for text in read_texts(split) if text.kind} <= KINDS


@pytest.mark.parametrize(
    ("split", "pairs", "duplicates"), [("calibration", 496, 192), ("test", 372, 144)]
)
def test_pairs_come_from_a_group_or_from_the_items_of_a_topic(
    split: Split, pairs: int, duplicates: int
):
    texts = read_texts(split)
    found = pair_up(texts)
    assert (len(found), sum(pair.is_duplicate for pair in found)) == (pairs, duplicates)
    for pair in found:
        one, other = texts[pair.one], texts[pair.other]
        assert one.topic == other.topic
        assert pair.is_duplicate == (one.group == other.group and not one.kind and not other.kind)
        assert not (one.kind and other.kind)
