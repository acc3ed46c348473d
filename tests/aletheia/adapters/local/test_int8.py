import numpy as np
import pytest
import torch
from torch import nn

from aletheia.adapters.local.int8 import (
    MIN_MEAN_COSINE,
    Int8Linear,
    compare_vectors,
    quantise_linears,
)
from aletheia.adapters.local.model import LocalModel
from aletheia.adapters.local.sentences import SENTENCES
from aletheia.adapters.local.source import packaged_copy


@pytest.fixture(scope="module")
def int8() -> LocalModel:
    found = packaged_copy()
    assert found is not None
    return LocalModel.load(found, precision="int8")


def test_a_product_in_int8_is_the_product_up_to_rounding():
    linear = nn.Linear(64, 32)
    rows = torch.randn(5, 7, 64) * torch.tensor([0.01, 1, 100, 3, 7, 1e-3, 5])[:, None]
    with torch.inference_mode():
        exact, coarse = linear(rows), Int8Linear(linear)(rows)
    assert coarse.shape == exact.shape
    error = (exact - coarse).norm(dim=-1) / (exact - linear.bias).norm(dim=-1)
    assert error.max().item() < 0.03


def test_a_row_of_zeros_gives_the_bias():
    linear = nn.Linear(8, 4)
    with torch.inference_mode():
        assert torch.equal(Int8Linear(linear)(torch.zeros(1, 8))[0], linear.bias)
        assert not Int8Linear(nn.Linear(8, 4, bias=False))(torch.zeros(2, 8)).any()


def test_linear_layers_are_replaced_wherever_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.ModuleDict({"deep": nn.Linear(4, 2)}), nn.ReLU())
    assert quantise_linears(model) == 2
    assert quantise_linears(model) == 0


def test_the_loss_of_a_model_is_measured_when_it_is_loaded(int8: LocalModel):
    loss = int8.loss
    assert loss is not None
    assert "int8" in int8.kernels
    assert loss.sentences == len(SENTENCES) >= 50
    assert MIN_MEAN_COSINE < loss.min_cosine < loss.mean_cosine < 1
    assert 0 < loss.max_shift < 0.05
    assert loss.nearest_kept > 0.9


def test_a_vector_does_not_depend_on_the_texts_beside_it(int8: LocalModel):
    texts = list(SENTENCES[:12])
    together = int8.embed(texts).vectors
    alone = np.concatenate([int8.embed([text]).vectors for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_a_model_that_loses_too_much_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aletheia.adapters.local.model.MIN_MEAN_COSINE", 1.0)
    found = packaged_copy()
    assert found is not None
    with pytest.raises(ValueError, match="int8 changes its vectors too much: cosine 0\\.99"):
        LocalModel.load(found, precision="int8")


def test_a_model_without_linear_layers_is_not_called_quantised(int8: LocalModel):
    with pytest.raises(ValueError, match="no linear layers"):
        int8.quantise()


def test_vectors_that_are_the_same_lose_nothing():
    vectors = np.eye(4)
    loss = compare_vectors(vectors, vectors)
    assert (loss.mean_cosine, loss.min_cosine, loss.max_shift) == (1, 1, 0)
    assert loss.nearest_kept == 1


def test_what_other_vectors_lose_is_the_worst_of_it():
    full = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    coarse = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    loss = compare_vectors(full, coarse)
    assert (loss.min_cosine, loss.max_shift) == (0, 1)
    assert loss.nearest_kept < 1
