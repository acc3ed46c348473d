"""The time that computing may take, and how a processor that needs more of it asks for that.

A limit holds from one set of answers of `process` to the next one; a call with one input is one
task (SPEC §3, `TASK_TIMEOUT`).
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeVar

from aletheia.analysis.processor import MAX_TIME_LIMIT_S
from aletheia.errors import TooSlow

T = TypeVar("T")


@dataclass(slots=True)
class _Limit:
    """A limit that is running: since when, by the loop's clock, and for how long, seconds."""

    timeout: asyncio.Timeout
    since_s: float
    length_s: float
    outer: "_Limit | None"  # of what this is computed for


_current: Final = ContextVar[_Limit | None]("time_limit", default=None)


def allow_time(seconds: float) -> None:
    """Allow what is being computed so many seconds in all, where that is more than it has.

    For a processor that finds out how much there is to do, such as the playing time of a
    recording. Where that is a part of another task, that one is allowed the time, too. Outside of
    `process` it does nothing; `MAX_TIME_LIMIT_S` is the longest.
    """
    ends_at = 0.0
    for limit in _list_running():
        ends_at = ends_at or limit.since_s + seconds
        _extend(limit, ends_at - limit.since_s)


def _extend(limit: _Limit, seconds: float) -> None:
    if limit.length_s < seconds and not limit.timeout.expired():
        limit.length_s = min(seconds, MAX_TIME_LIMIT_S)
        limit.timeout.reschedule(limit.since_s + limit.length_s)


@contextmanager
def not_counted() -> Generator[None]:
    """Do not count the time of a block, which waits for others that have limits of their own.

    Where this is computed as a part of another task, that one does not count it either.
    """
    limits = [limit for limit in _list_running() if not limit.timeout.expired()]
    now = asyncio.get_running_loop().time
    since_s = now()
    for limit in limits:
        limit.timeout.reschedule(limit.since_s + MAX_TIME_LIMIT_S)
    try:
        yield
    finally:
        for limit in limits:
            if not limit.timeout.expired():
                limit.length_s = min(limit.length_s + now() - since_s, MAX_TIME_LIMIT_S)
                limit.timeout.reschedule(limit.since_s + limit.length_s)


def _list_running() -> Iterator[_Limit]:
    """Yield the limits of what is being computed, the innermost first."""
    limit = _current.get()
    while limit is not None:
        yield limit
        limit = limit.outer


def find_share_left() -> float:
    """Return the share of the time limit that is left of what is being computed, 0 to 1.

    For a processor that can do without a part of its work. Outside of `process` all is left.
    """
    limit = _current.get()
    if limit is None:
        return 1.0
    now_s = asyncio.get_running_loop().time()
    return max(0.0, 1.0 - (now_s - limit.since_s) / limit.length_s)


async def next_within(results: AsyncIterator[T], limit_s: float, what: str) -> T | None:
    """Return what comes next, or `None` at the end.

    Raises:
        TooSlow: it has not come within the limit, in seconds; `what` names what was computed.
    """
    since_s = asyncio.get_running_loop().time()
    timeout = asyncio.timeout_at(since_s + limit_s)
    limit = _Limit(timeout, since_s, limit_s, _current.get())
    token = _current.set(limit)
    try:
        async with timeout:
            return await anext(results, None)
    except TimeoutError:
        if not timeout.expired():
            raise
        said = f"{what} was not computed within {limit.length_s:g} s"
        raise TooSlow(said) from None
    finally:
        _current.reset(token)
