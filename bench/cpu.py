"""Who used the processors while something was measured."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import psutil

from deployments.local import DIRECTORY_MARK, NAME_MARK

BUSY: Final = ("user", "nice", "system", "irq", "softirq", "steal")
"""Kinds of CPU time in which a processor serves nobody else."""

_Key: TypeAlias = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time between two moments.

    Attributes:
        seconds: by name of the program.
        others: what everything else on the machine used, as a share of all its processors.
    """

    seconds: Mapping[str, float]
    others: float


class Meter:
    """Counts CPU time from when it is made; processes that ended meanwhile count for others.

    Args:
        mark: directory that the programs to count are marked with.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._names: dict[_Key, str] = {}
        self._before = self._read()
        self._busy_before = _busy_s()
        self._began_at = time.monotonic()

    def read(self) -> Usage:
        """Say who used how much since the beginning."""
        elapsed = time.monotonic() - self._began_at
        busy = _busy_s() - self._busy_before
        seconds: dict[str, float] = {}
        for key, used in self._read().items():
            name = self._names[key]
            seconds[name] = seconds.get(name, 0.0) + used - self._before.get(key, 0.0)
        cores = psutil.cpu_count() or 1
        return Usage(seconds, max(0.0, busy - sum(seconds.values())) / (elapsed * cores))

    def _read(self) -> Mapping[_Key, float]:
        used: dict[_Key, float] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                key = (process.pid, process.create_time())
                if key not in self._names:
                    environment = process.environ()
                    if environment.get(DIRECTORY_MARK) != self._mark:
                        continue
                    self._names[key] = environment.get(NAME_MARK, "")
                times = process.cpu_times()
                used[key] = times.user + times.system
        return used


def _busy_s() -> float:
    times: Any = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in BUSY)
