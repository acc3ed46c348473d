"""The graphics processors of this machine, by NVIDIA's own library, which the extra `gpu` brings.

Without the library, a driver or a device there are none: nothing is shown, and nothing fails.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

log = logging.getLogger(__name__)

LIBRARY: Final = "pynvml"
MAX_GPUS: Final = 64
"""Devices that are read at most."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a device has, and how much of it is in use by all programs."""

    name: str  # its place in the machine, from 0
    used_bytes: int
    total_bytes: int
    busy_share: float | None  # 0 to 1, of the last moments; `None` where the device does not say


def find_library() -> Any:
    """Return NVIDIA's library, `None` where the extra `gpu` is not installed."""
    return import_module(LIBRARY) if find_spec(LIBRARY) is not None else None


async def read_gpus(find: Callable[[], Any] = find_library) -> Sequence[Gpu]:
    """Return the devices as they are now; in a thread, since a driver may take its time."""
    library = find()
    return [] if library is None else await asyncio.to_thread(_read, library)


def _read(library: Any) -> list[Gpu]:
    try:
        library.nvmlInit()
    except library.NVMLError as absent:  # no driver, or a device that is none of NVIDIA's
        log.debug("no graphics processor is seen: %s", absent)
        return []
    try:
        count = min(library.nvmlDeviceGetCount(), MAX_GPUS)
        found = (_read_one(library, place) for place in range(count))
        return [gpu for gpu in found if gpu is not None]
    finally:
        library.nvmlShutdown()


def _read_one(library: Any, place: int) -> Gpu | None:
    try:
        device = library.nvmlDeviceGetHandleByIndex(place)
        memory = library.nvmlDeviceGetMemoryInfo(device)
    except library.NVMLError as lost:
        log.warning("graphics processor %d does not answer: %s", place, lost)
        return None
    try:
        busy_share = library.nvmlDeviceGetUtilizationRates(device).gpu / 100
    except library.NVMLError:  # as of a part of a device
        busy_share = None
    return Gpu(str(place), int(memory.used), int(memory.total), busy_share)
