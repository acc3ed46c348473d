"""What a child process may use, and how it holds itself to that."""

import ctypes
import math
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MAX_DESCRIPTORS: Final = 256
"""Files that a child may have open."""

MAX_WRITTEN_BYTES: Final = 200_000_000
"""Size of a file that a child may write."""

NICENESS: Final = 10
"""What children yield to: beside a process of the usual 0 on the same core they get a tenth of it,
so that embeddings do not wait for media, and still enough to end within their limits."""

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_AUTOGROUP: Final = Path("/proc/self/autogroup")
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one job may use; the memory is that of its process."""

    processor_s: float  # of all its threads, seconds
    wall_s: float  # for which it is waited for, seconds; the time its reader takes is not counted
    piece_s: float | None = None  # the same for each piece of its result; `None` is no bound
    result_bytes: int = 256_000_000  # of all pieces of its result, as JSON


def limit_process(memory_bytes: int) -> None:
    """Bound the address space of this process, and the files that it opens and writes.

    What does not fit is a `MemoryError` of Python's, or the end of a library that cannot go on.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_WRITTEN_BYTES, MAX_WRITTEN_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS, MAX_DESCRIPTORS))


def leave_network() -> bool:
    """Leave the network, and the loopback, for ever; return whether the system has let us.

    It does so for root, and where users may have namespaces of their own; most containers refuse
    it, which changes nothing. Call it before there is a second thread. Takes less than a ms.
    """
    if sys.platform != "linux":
        return False
    library: Any = ctypes.CDLL(None)
    unshare = getattr(library, "unshare", None)
    if unshare is None:
        return False
    return unshare(_CLONE_NEWNET) == 0 or unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0


def yield_processor() -> None:
    """Yield the processors to processes that somebody waits for."""
    with suppress(OSError):
        os.nice(max(0, NICENESS - os.nice(0)))
    # Where sessions are scheduled as groups, it is the group that has to yield.
    with suppress(OSError):
        _AUTOGROUP.write_text(str(NICENESS))


def limit_processor(processor_s: float) -> None:
    """End this process by SIGXCPU when it has used so much processor time from now on."""
    until = math.ceil(time.process_time() + processor_s)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until, hard))


def die_with(parent: int) -> None:
    """End this process with its parent, whatever it is busy with, where the system offers that.

    Elsewhere, and in a library that never returns, the end of its requests does it.
    """
    if sys.platform == "linux":
        library: Any = ctypes.CDLL(None)
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def resident_bytes() -> int:
    """Return this process's resident memory; without /proc, its peak so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()
