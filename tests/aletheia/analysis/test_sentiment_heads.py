"""The linear models of sentiment."""

import numpy as np
import pytest
from pydantic import ValidationError

from aletheia.analysis.sentiment_heads import (
    LEXICON,
    SENTIMENTS,
    Head,
    find_head,
    score_text,
)
from aletheia.settings import DEFAULT_MODELS
from aletheia.text.emotions import EMOTIONS


@pytest.fixture
def lexicon() -> Head:
    found = find_head(LEXICON)
    assert found is not None
    return found


def test_the_default_model_and_the_lexicon_have_heads(lexicon: Head):
    of_model = find_head("sentence-transformers/all-MiniLM-L6-v2")
    assert of_model is not None
    assert of_model.dimensions == 384
    assert lexicon.dimensions == 0
    assert DEFAULT_MODELS["local"] in of_model.model


@pytest.mark.parametrize("model", ["nomic-embed-text", "", "../lexicon", "text-embedding-3-small"])
def test_other_models_have_none(model: str):
    assert find_head(model) is None


def test_probabilities_sum_to_one_and_follow_the_words(lexicon: Head):
    for text, wanted in (("A great success!", "positive"), ("A terrible failure.", "negative")):
        scores = score_text(lexicon, text, None)
        assert sum(scores.sentiments.values()) == pytest.approx(1.0)
        assert max(SENTIMENTS, key=lambda name: scores.sentiments[name]) == wanted
        assert set(scores.emotions) == set(EMOTIONS)
        assert all(0 <= value <= 1 for value in scores.emotions.values())


def test_the_vector_counts_beside_the_words():
    head = find_head("sentence-transformers/all-MiniLM-L6-v2")
    assert head is not None
    one, other = (score_text(head, "So so.", np.eye(384)[place]) for place in (0, 1))
    assert one.sentiments != other.sentiments


def test_a_vector_of_another_length_is_no_vector_of_the_model():
    head = find_head("sentence-transformers/all-MiniLM-L6-v2")
    assert head is not None
    with pytest.raises(ValueError):
        score_text(head, "So so.", np.zeros(5))


def test_a_head_with_missing_weights_is_refused(lexicon: Head):
    values = lexicon.model_dump()
    values["sentiment"]["neutral"]["weights"] = values["sentiment"]["neutral"]["weights"][:-1]
    with pytest.raises(ValidationError, match="weights are needed"):
        Head.model_validate(values)
    with pytest.raises(ValidationError, match="classes are others"):
        Head.model_validate({**lexicon.model_dump(), "emotions": {}})
