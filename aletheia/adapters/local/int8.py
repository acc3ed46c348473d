"""Local models computed in whole numbers of 8 bits, and what their vectors lose by it.

Weights have one scale for each output, inputs one for each token. So a text's vector does not
depend on the texts beside it, which one scale for a whole pass would make it do.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aletheia.adapters.local.sentences import SENTENCES
from aletheia.analysis.model_manager import QuantisationLoss

PACK: Final = "qlinear_prepack"
MULTIPLY: Final = "qlinear_pointwise"
"""Operators of oneDNN in PyTorch, the ones its own compiler uses for quantised weights."""

MAX_CODE: Final = 127
MIN_AMPLITUDE: Final = 1e-8
"""In place of the largest number of a row of zeros."""

MIN_MEAN_COSINE: Final = 0.98
"""A model whose vectors change more than that, on average, is refused in int8: all-MiniLM-L6-v2
keeps 0.996, and with one scale for a whole pass, as is usual, 0.977."""


class Int8Linear(nn.Module):
    """A linear layer with weights, and inputs, of 8 bits."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        operators: Any = torch.ops.onednn
        weight = linear.weight.detach()
        self._scales = weight.abs().amax(1).clamp_min(MIN_AMPLITUDE) / MAX_CODE
        codes = (weight / self._scales[:, None]).round().clamp(-MAX_CODE, MAX_CODE)
        self._packed = getattr(operators, PACK)(codes.to(torch.int8), None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int)
        bias = cast("torch.Tensor | None", linear.bias)
        self._bias = torch.zeros(len(weight)) if bias is None else bias.detach()
        self._multiply: Callable[..., torch.Tensor] = getattr(operators, MULTIPLY)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply, `(…, in)` to `(…, out)`."""
        flat = rows.reshape(-1, rows.shape[-1])
        amplitudes = flat.abs().amax(1, keepdim=True).clamp_min_(MIN_AMPLITUDE)
        codes = (flat * (MAX_CODE / amplitudes)).round_().to(torch.int8)
        weights = (self._packed, self._scales, self._zeros)
        output: tuple[Any, ...] = (None, 1.0, 0, torch.float32, "none", [], "")
        products = self._multiply(codes, 1.0, 0, *weights, *output)
        found = torch.addcmul(self._bias, products, amplitudes / MAX_CODE)
        return found.reshape(*rows.shape[:-1], -1)


def quantise_linears(model: nn.Module) -> int:
    """Replace each linear layer by an `Int8Linear`; return how many there were.

    Raises `RuntimeError`, `AttributeError` or `NotImplementedError` where oneDNN cannot do it.
    """
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, Int8Linear(child))
                count += 1
    return count


def measure_loss(
    embed: Callable[[Sequence[str]], NDArray[np.float32]], quantise: Callable[[], None]
) -> QuantisationLoss:
    """Measure what quantising a model changes, on sentences of many kinds and lengths.

    Args:
        embed: returns `(n, d)`, the model's vectors as it is now.
        quantise: quantises it; in between, and after, `embed` is called.
    """
    full = _unit(embed(SENTENCES))
    quantise()
    return compare_vectors(full, _unit(embed(SENTENCES)))


def compare_vectors(full: NDArray[np.float64], coarse: NDArray[np.float64]) -> QuantisationLoss:
    """Compare unit vectors, `(n, d)` both, with those they stand in for; `n` is 2 or more."""
    cosines = (full * coarse).sum(axis=1)
    before, after = full @ full.T, coarse @ coarse.T
    shifts = np.abs(before - after)[np.triu_indices(len(full), 1)]
    for similarities in (before, after):
        np.fill_diagonal(similarities, -np.inf)
    kept = before.argmax(axis=1) == after.argmax(axis=1)
    return QuantisationLoss(
        sentences=len(full),
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        max_shift=float(shifts.max()),
        nearest_kept=float(kept.mean()),
    )


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), MIN_AMPLITUDE)
