"""What a local model runs on."""

from collections.abc import Callable, Sequence

import torch

from aletheia.analysis.model_settings import Device, Precision
from aletheia.errors import Misconfigured


def find_gpus() -> Sequence[int]:
    """Return the free memory of each graphics processor that CUDA sees, bytes, by its number."""
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]


def has_mps() -> bool:
    """Return whether there is one of Apple's graphics processors."""
    return torch.backends.mps.is_available()


def choose_device(
    wanted: Device,
    precision: Precision,
    *,
    gpus: Callable[[], Sequence[int]] = find_gpus,
    mps: Callable[[], bool] = has_mps,
) -> str:
    """Return the device to run on in PyTorch's words, such as `cpu` or `cuda:1`.

    Of several graphics processors it is the one with the most free memory.

    Raises:
        Misconfigured: what is wanted is not there, or cannot compute in int8.
    """
    if precision == "int8" and wanted in {"cuda", "mps"}:
        reason = f"{wanted!r} runs no model in int8; set it to cpu, or LOCAL_MODEL_PRECISION"
        raise Misconfigured("LOCAL_MODEL_DEVICE", f"{reason} to float32")
    if precision == "int8" or wanted == "cpu":
        return "cpu"
    if wanted in {"auto", "cuda"} and (free := gpus()):
        return f"cuda:{max(range(len(free)), key=free.__getitem__)}"
    if wanted in {"auto", "mps"} and mps():
        return "mps"
    if wanted == "auto":
        return "cpu"
    raise Misconfigured("LOCAL_MODEL_DEVICE", f"is {wanted!r}, and there is none here")


def device_bytes(device: str) -> int:
    """Return what models take in the memory of a graphics processor, bytes; 0 of others."""
    return torch.cuda.memory_allocated(device) if device.startswith("cuda") else 0
