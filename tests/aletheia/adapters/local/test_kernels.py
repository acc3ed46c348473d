from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import nn

from aletheia.adapters.local.kernels import PackedLinear, unpadded_attention

seed = cast("Any", torch).manual_seed


@pytest.mark.parametrize("with_gelu", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 24), (3, 7, 24), (300, 24)])
def test_a_packed_layer_is_the_layer_it_stands_for(
    with_gelu: bool, has_bias: bool, shape: tuple[int, ...]
):
    seed(1)
    linear = nn.Linear(24, 40, bias=has_bias)
    rows = torch.randn(shape)
    after: Callable[[torch.Tensor], torch.Tensor] = nn.GELU() if with_gelu else nn.Identity()

    with torch.inference_mode():
        difference = PackedLinear(linear, with_gelu=with_gelu)(rows) - after(linear(rows))

    assert float(difference.abs().max()) < 1e-5


def test_unpadded_attention_keeps_windows_apart():
    seed(1)
    query, key, value = torch.randn(3, 1, 2, 7, 4)
    attend = nn.functional.scaled_dot_product_attention

    found, _ = unpadded_attention(
        nn.Identity(), query, key, value, None, window_lengths=[3, 4], scaling=0.5
    )

    expected = torch.cat(
        [
            attend(query[:, :, part], key[:, :, part], value[:, :, part], scale=0.5)
            for part in (slice(0, 3), slice(3, 7))
        ],
        2,
    )
    assert torch.allclose(found, expected.transpose(1, 2))


def test_unpadded_attention_refuses_what_it_cannot_do():
    heads = torch.randn(1, 2, 3, 4)
    causal: Any = nn.Identity()
    causal.is_causal = True

    for module, mask, window in (
        (causal, None, None),
        (nn.Identity(), torch.ones(3, 3), None),
        (nn.Identity(), None, 16),
    ):
        with pytest.raises(NotImplementedError):
            unpadded_attention(
                module, heads, heads, heads, mask, window_lengths=[3], sliding_window=window
            )
