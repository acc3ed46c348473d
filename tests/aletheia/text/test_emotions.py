"""Words that show an emotion."""

import math

import pytest

from aletheia.text.emotions import EMOTIONS, count_emotions


def found(text: str) -> dict[str, float]:
    counted = zip(EMOTIONS, count_emotions(text), strict=True)
    return {name: float(value) for name, value in counted if value}


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("I am so HAPPY", "joy"),
        ("She wept.", "sadness"),
        ("They were outraged.", "anger"),
        ("He panicked", "fear"),
        ("An unexpected guest", "surprise"),
        ("How repulsive", "disgust"),
    ],
)
def test_a_word_shows_its_emotion(text: str, emotion: str):
    assert found(text) == {emotion: math.log(2)}


@pytest.mark.parametrize(
    "text", ["I am not afraid.", "I don\u2019t hate it", "never sad", "", "\ud800"]
)
def test_what_is_negated_or_not_there_does_not_count(text: str):
    assert found(text) == {}


def test_a_negation_reaches_three_words_far():
    assert found("not one of them was afraid") == {"fear": math.log(2)}
