import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aletheia.adapters.mock.embedder import MockEmbedder, mock_vector
from aletheia.analysis.ports import Embedder, Embedding


async def embed(embedder: Embedder, model: str, texts: list[str]) -> list[Embedding]:
    answers: dict[int, Embedding] = {}
    async for group in embedder.embed(model, texts):
        for answer in group:
            assert isinstance(answer.result, Embedding)
            assert answer.index not in answers
            answers[answer.index] = answer.result
    return [answers[index] for index in range(len(texts))]


def test_it_says_that_it_is_a_mock():
    assert (MockEmbedder().provider, MockEmbedder().is_mock) == ("mock", True)


@pytest.mark.parametrize("name", ["any/model", "../..", "", "ÄÖÜ", "text-embedding-3-small"])
def test_every_model_name_is_served_as_it_is(name: str):
    assert MockEmbedder().canonical_model(name) == name


def test_no_name_is_the_default():
    assert MockEmbedder(default_model="m").canonical_model(None) == "m"


async def test_all_texts_are_answered_in_order_with_unit_vectors():
    answers = await embed(MockEmbedder(), "m", [f"text {i}" for i in range(200)])

    assert len(answers) == 200
    assert {answer.vector.dtype for answer in answers} == {np.dtype(np.float32)}
    assert {answer.vector.shape for answer in answers} == {(384,)}
    assert all(abs(np.linalg.norm(answer.vector) - 1) < 1e-6 for answer in answers)


async def test_tokens_are_words():
    assert (await embed(MockEmbedder(), "m", ["three short words"]))[0].tokens == 3


@pytest.mark.parametrize("dimensions", [1, 2, 1536])
def test_vectors_have_the_length_asked_for_and_are_never_zero(dimensions: int):
    vector = mock_vector("m", "", dimensions)

    assert vector.shape == (dimensions,)
    assert np.linalg.norm(vector) == pytest.approx(1)


@pytest.mark.parametrize(("model", "text"), [("m", "b"), ("n", "a"), ("ma", ""), ("m", "a ")])
def test_another_model_or_text_gives_another_vector(model: str, text: str):
    assert abs(float(mock_vector("m", "a", 384) @ mock_vector(model, text, 384))) < 0.3


def test_a_text_with_half_a_surrogate_pair_has_a_vector():
    assert mock_vector("m", "\ud800", 8).shape == (8,)


def test_the_vectors_are_the_same_in_every_process_and_on_every_platform():
    code = "from aletheia.adapters.mock.embedder import *; print(mock_vector('m', 'ä', 4).tolist())"
    root = Path(__file__).parents[4]

    said = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
    ).stdout

    assert mock_vector("m", "ä", 4).tolist() == EXPECTED
    assert said.strip() == str(EXPECTED)


EXPECTED = [-0.5467539429664612, 0.12243559211492538, -0.8078984022140503, 0.18267422914505005]
"""Written down once; a change of these numbers is a change of every stored mock vector."""
