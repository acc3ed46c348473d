"""Who used the processors while something was measured."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import psutil

from aletheia.adapters.local.process import COMMAND
from deployments.local import DIRECTORY_MARK, NAME_MARK

MODEL: Final = "model"
"""What the processes that run a local model count for, whichever program they belong to."""

BUSY: Final = ("user", "nice", "system", "irq", "softirq", "steal")
"""Kinds of CPU time in which a processor serves nobody else."""

Part: TypeAlias = tuple[str, str]
"""The name of a program, and `MODEL`; or the name alone, twice."""

_Key: TypeAlias = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time between two moments.

    Attributes:
        seconds: by part of a program.
        others: what everything else on the machine used, as a share of all its processors.
    """

    seconds: Mapping[Part, float]
    others: float

    def of(self, program: str) -> dict[str, float]:
        """Return the CPU seconds of one program: of its model, and of the rest by its own name."""
        return {part: used for (name, part), used in self.seconds.items() if name == program}


class Meter:
    """Counts CPU time from when it is made; processes that ended meanwhile count for others.

    Args:
        mark: directory that the programs to count are marked with.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._parts: dict[_Key, Part] = {}
        self._before = self._read()
        self._busy_before = _busy_s()
        self._began_at = time.monotonic()

    def read(self) -> Usage:
        """Return who used how much since the beginning."""
        elapsed = time.monotonic() - self._began_at
        busy = _busy_s() - self._busy_before
        seconds: dict[Part, float] = {}
        for key, used in self._read().items():
            part = self._parts[key]
            seconds[part] = seconds.get(part, 0.0) + used - self._before.get(key, 0.0)
        cores = psutil.cpu_count() or 1
        return Usage(seconds, max(0.0, busy - sum(seconds.values())) / (elapsed * cores))

    def _read(self) -> Mapping[_Key, float]:
        used: dict[_Key, float] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                key = (process.pid, process.create_time())
                if key not in self._parts:
                    environment = process.environ()
                    if environment.get(DIRECTORY_MARK) != self._mark:
                        continue
                    name = environment.get(NAME_MARK, "")
                    is_model = COMMAND[-1] in process.cmdline()
                    self._parts[key] = (name, MODEL if is_model else name)
                times = process.cpu_times()
                used[key] = times.user + times.system
        return used


def _busy_s() -> float:
    times: Any = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in BUSY)
