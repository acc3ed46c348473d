"""Faster matrix products and attention on a CPU, each with the way back."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.activations import GELUActivation

UNPADDED: Final = "aletheia_unpadded"
"""Name of `unpadded_attention` in transformers."""

PACK: Final = "_reorder_linear_weight"
MULTIPLY: Final = "_linear_pointwise"
"""Operators of oneDNN in PyTorch, the ones its own compiler uses for frozen weights."""

Undo: TypeAlias = Callable[[], None]


class PackedLinear(nn.Module):
    """A linear layer with weights laid out for oneDNN, which is faster than PyTorch's MKL."""

    def __init__(self, linear: nn.Linear, *, with_gelu: bool = False) -> None:
        super().__init__()
        pack = getattr(torch.ops.mkldnn, PACK)
        self._packed = pack(linear.weight.detach())
        self._bias = linear.bias
        self._after: tuple[str, list[Any], str] = (
            ("gelu", [], "none") if with_gelu else ("none", [], "")
        )
        self._multiply: Callable[..., torch.Tensor] = getattr(torch.ops.mkldnn, MULTIPLY)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply, `(…, in)` to `(…, out)`."""
        return self._multiply(rows, self._packed, self._bias, *self._after)


def unpadded_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    window_lengths: list[int],
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention within each window of a sequence, for `AttentionInterface`.

    Takes `(1, heads, tokens, d)`, returns `(1, tokens, heads, d)` and no weights.
    """
    if attention_mask is not None or sliding_window or getattr(module, "is_causal", False):
        raise NotImplementedError("only full attention within a text")
    parts = zip(
        torch.split_with_sizes(query, window_lengths, 2),
        torch.split_with_sizes(key, window_lengths, 2),
        torch.split_with_sizes(value, window_lengths, 2),
        strict=True,
    )
    attended = [nn.functional.scaled_dot_product_attention(*p, scale=scaling) for p in parts]
    return torch.cat(attended, 2).transpose(1, 2), None


def pack_linears(model: nn.Module) -> Undo | None:
    """Pack the weights of linear layers; return how to undo it, or `None` if it cannot be done."""
    if not torch.backends.mkldnn.is_available():
        return None
    replaced: list[tuple[nn.Module, str, nn.Module]] = []

    def replace(parent: nn.Module, name: str, new: nn.Module) -> None:
        replaced.append((parent, name, getattr(parent, name)))
        setattr(parent, name, new)

    def undo() -> None:
        for parent, name, old in replaced:
            setattr(parent, name, old)

    try:
        for parent in list(model.modules()):
            has_gelu = _is_gelu(getattr(parent, "intermediate_act_fn", None))
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear and child.weight.dtype is torch.float32:
                    is_followed = has_gelu and name == "dense"
                    replace(parent, name, PackedLinear(child, with_gelu=is_followed))
                    if is_followed:
                        replace(parent, "intermediate_act_fn", nn.Identity())
    except (RuntimeError, AttributeError, NotImplementedError):
        undo()
        return None
    return undo if replaced else None


def _is_gelu(activation: object) -> bool:
    """Check for the exact GELU; its approximations are not fused."""
    return isinstance(activation, GELUActivation) or (
        isinstance(activation, nn.GELU) and activation.approximate == "none"
    )


cast("Any", AttentionInterface).register(UNPADDED, unpadded_attention)
