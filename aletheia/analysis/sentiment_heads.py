"""Linear models of the sentiment of English texts, fitted by `python -m bench.sentiment_fit`.

One works with the lexicon alone; others belong to one embedding model each, whose vectors they
weigh beside it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from aletheia.text.emotions import EMOTIONS, count_emotions
from aletheia.text.polarity import FEATURES, measure_polarity, spell_emoji

Sentiment: TypeAlias = Literal["negative", "neutral", "positive"]

SENTIMENTS: Final[tuple[Sentiment, ...]] = get_args(Sentiment)

LEXICON: Final = "lexicon"
"""Name of the head that needs no embedding model."""

Vector = NDArray[np.floating[Any]]


class Linear(BaseModel):
    """Weights of the features, then of the dimensions of the vector, and what is added."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    weights: tuple[float, ...]
    bias: float

    def apply(self, values: Vector) -> float:
        """Return the weighted sum of some values."""
        return float(np.dot(np.asarray(self.weights), values)) + self.bias


class Head(BaseModel):
    """The fitted weights for one embedding model, or for none."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    model: str = Field(description="Full name of the embedding model; `lexicon` is none.")
    dimensions: int = Field(ge=0)
    scale: float = Field(gt=0, description="What vectors are multiplied by.")
    sentiment: dict[Sentiment, Linear]
    emotions: dict[str, Linear]
    fitted_on: dict[str, int] = Field(description="Texts by where they are from.")

    @model_validator(mode="after")
    def _check_sizes(self) -> "Head":
        wanted = len(FEATURES) + self.dimensions
        of_emotions = len(EMOTIONS) + wanted
        if set(self.sentiment) != set(SENTIMENTS) or set(self.emotions) != set(EMOTIONS):
            raise ValueError("its classes are others")
        if any(len(linear.weights) != wanted for linear in self.sentiment.values()):
            raise ValueError(f"{wanted} weights are needed for each sentiment")
        if any(len(linear.weights) != of_emotions for linear in self.emotions.values()):
            raise ValueError(f"{of_emotions} weights are needed for each emotion")
        return self


@dataclass(frozen=True, slots=True)
class Scores:
    """Probabilities of the sentiments, which sum to 1, and of each emotion by itself."""

    sentiments: Mapping[Sentiment, float]
    emotions: Mapping[str, float]


def measure_text(text: str) -> tuple[Vector, Vector]:
    """Return the features of a text: for its sentiment, and beside those for its emotions."""
    return measure_polarity(text), count_emotions(spell_emoji(text))


def score_text(head: Head, text: str, vector: Vector | None) -> Scores:
    """Return the scores of a text; `vector` is `(d,)` of the head's model, `None` of no model."""
    of_sentiment, of_emotions = measure_text(text)
    tail = np.zeros(0) if vector is None else np.asarray(vector, np.float64) * head.scale
    values = np.concatenate([of_sentiment, tail])
    sums = np.array([head.sentiment[name].apply(values) for name in SENTIMENTS])
    exponents = np.exp(sums - sums.max())
    probabilities = exponents / exponents.sum()
    more = np.concatenate([of_emotions, values])
    return Scores(
        dict(zip(SENTIMENTS, map(float, probabilities), strict=True)),
        {name: _squash(head.emotions[name].apply(more)) for name in EMOTIONS},
    )


@cache
def find_head(model: str) -> Head | None:
    """Return the head of an embedding model, by its full name; `None` where there is none."""
    path = head_file(model)
    return Head.model_validate_json(path.read_bytes()) if path.is_file() else None


def head_file(model: str) -> Traversable:
    """Return the file of a model's head, which need not exist; names ignore case."""
    name = re.sub(r"[^a-z0-9.-]+", "--", model.casefold())
    return resources.files("aletheia.analysis").joinpath("heads", f"{name}.json")


def _squash(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(value, -30.0, 30.0))))
