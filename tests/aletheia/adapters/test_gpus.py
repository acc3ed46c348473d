"""Graphics processors are read where there are some, and absent where there are none."""

# The functions of the fake have the names that NVIDIA's library has.
# ruff: noqa: N802

from types import SimpleNamespace
from typing import Any

from aletheia.adapters.gpus import Gpu, find_library, read_gpus


class NoAnswer(Exception):
    """As the library's own error."""


class FakeLibrary:
    """NVIDIA's library over devices that a test sets: used and total memory, and how busy."""

    NVMLError = NoAnswer

    def __init__(self, *devices: tuple[int, int, int | None] | None) -> None:
        self.devices, self.is_open, self.has_driver = devices, False, True

    def nvmlInit(self) -> None:
        if not self.has_driver:
            raise NoAnswer("NVML Shared Library Not Found")
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        assert self.is_open
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, place: int) -> Any:
        if (device := self.devices[place]) is None:
            raise NoAnswer("GPU is lost")
        return device

    def nvmlDeviceGetMemoryInfo(self, device: Any) -> Any:
        return SimpleNamespace(used=device[0], total=device[1])

    def nvmlDeviceGetUtilizationRates(self, device: Any) -> Any:
        if device[2] is None:
            raise NoAnswer("Not Supported")
        return SimpleNamespace(gpu=device[2])


async def test_each_device_says_what_it_has_and_uses():
    library = FakeLibrary((10, 100, 25), (0, 50, 0))
    assert await read_gpus(lambda: library) == [Gpu("0", 10, 100, 0.25), Gpu("1", 0, 50, 0.0)]
    assert not library.is_open


async def test_a_device_that_is_lost_or_says_less_does_not_hide_the_others():
    library = FakeLibrary(None, (10, 100, None))
    assert await read_gpus(lambda: library) == [Gpu("1", 10, 100, None)]


async def test_without_a_driver_or_the_library_there_are_none():
    library = FakeLibrary((10, 100, 25))
    library.has_driver = False
    assert await read_gpus(lambda: library) == []
    assert await read_gpus(lambda: None) == []


async def test_the_library_of_this_machine_can_be_asked():
    found = await read_gpus(find_library)
    assert all(0 <= gpu.used_bytes <= gpu.total_bytes for gpu in found)
