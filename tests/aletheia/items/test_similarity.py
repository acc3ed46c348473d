"""What the probability of a pair is made of."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aletheia.items.similarity import (
    FEATURES,
    SimilarityModel,
    find_alignment,
    list_words,
    measure_features,
    measure_word_nearness,
)
from aletheia.items.word_vectors import WordVectors
from tests.aletheia.items.scales import make_scale

ONE = "Ring the big bell at noon."
OTHER = "Ring the large bell at 12 every day."


def model() -> SimilarityModel:
    similarity = make_scale("m").similarity
    assert similarity is not None
    return similarity


def features(one: str, other: str, words: WordVectors | None = None) -> dict[str, float]:
    return dict(zip(FEATURES, measure_features(one, other, 0.8, words, 0.25), strict=True))


async def embed(words: Sequence[str]) -> NDArray[np.float32]:
    """Know that big is near to large."""
    known = {"big": (1.0, 0.0, 0.0), "large": (0.8, 0.6, 0.0)}
    return np.array([known.get(word, (0.0, 0.0, 1.0)) for word in words], np.float32)


async def test_words_count_that_are_near_to_one_of_the_other_text():
    words = WordVectors(embed)
    await words.prepare(list_words([ONE, OTHER]))
    plain = features("Ring a big bell.", "Ring a large bell.", words)
    assert plain["covered"] == pytest.approx((2 + 0.8) / 3)
    assert plain["overlap"] == pytest.approx(2 / 3)
    assert plain["close"] == plain["differing"] == 1


def test_without_vectors_a_word_counts_as_much_as_on_average():
    assert features("Ring a big bell.", "Ring a large bell.")["covered"] == pytest.approx(2.25 / 3)


def test_parts_that_words_have_in_common_count():
    assert features("Treppenhausfenster putzen", "Fenster putzen")["parts_more"] > 0.8
    assert features("Treppenhausfenster putzen", "Fenster putzen")["parts"] > 0.6
    assert features("Treppenhausfenster putzen", "Dach decken")["parts_more"] < 0.1


def test_a_model_of_before_has_no_weights_of_parts_and_says_what_it_said():
    every = model()
    before = replace(every, weights=tuple(w for w in every.weights if "parts" not in w.feature))
    found = measure_features(ONE, OTHER, 0.8, None, 0.25)
    assert before.explain(found) == {
        name: value for name, value in every.explain(found).items() if "parts" not in name
    }
    assert 0 < before.to_probability(found) < 1


def test_numbers_that_only_one_text_gives_are_a_share_of_all():
    assert features("Wait 5 days.", "Wait 5 days, not 7.")["common_numbers"] == pytest.approx(2 / 3)
    assert features("Wait.", "Wait.")["common_numbers"] == 0


@given(st.text(max_size=60), st.text(max_size=60), st.floats(-1, 1))
def test_features_of_any_texts_are_finite_and_the_same_in_either_order(
    one: str, other: str, cosine: float
):
    found = measure_features(one, other, cosine, None, 0.25)
    assert np.isfinite(found).all()
    assert found == pytest.approx(measure_features(other, one, cosine, None, 0.25))
    assert 0 <= model().to_probability(found) <= 1
    assert find_alignment(one, other) == find_alignment(other, one)


def test_what_each_feature_adds_makes_the_probability():
    similarity = replace(model(), bias=-1.0)
    found = measure_features(ONE, OTHER, 0.8, None, 0.25)
    logit = sum(similarity.explain(found).values()) - 1.0
    assert similarity.to_probability(found) == pytest.approx(1 / (1 + np.exp(-logit)))


@pytest.mark.parametrize("damage", ["short", "nan", "scale", "bias"])
def test_weights_of_other_features_are_refused(damage: str):
    weights, bias = model().weights, 0.0
    if damage == "short":
        weights = weights[1:]
    elif damage == "nan":
        weights = (replace(weights[0], weight=float("nan")), *weights[1:])
    elif damage == "scale":
        weights = (replace(weights[0], scale=0.0), *weights[1:])
    else:
        bias = float("inf")
    with pytest.raises(ValueError):
        SimilarityModel(weights, bias, 0.25)


async def test_nearness_of_words_is_measured_where_texts_differ():
    words = WordVectors(embed)
    await words.prepare(["big", "large"])
    assert measure_word_nearness([("big", "large")], words) == pytest.approx(0.8)
    assert measure_word_nearness([("big", "big")], words) == 0
