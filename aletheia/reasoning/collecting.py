"""Collecting a snapshot: sources read in parallel, each with its own time limit (SPEC §5).

A source that fails, hangs, or answers with something that does not fit leaves its error under
`additional_metrics.errors` and does not stop the others.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, TypeAlias, cast

from pydantic import ValidationError

from aletheia.errors import AletheiaError, Misconfigured
from aletheia.reasoning.snapshot import ERRORS, SystemSnapshot, key_of
from aletheia.store.clock import SYSTEM_CLOCK, Clock, moment

log = logging.getLogger(__name__)

GROUP: Final = "aletheia.collectors"
"""Entry points of sources from other packages: a `Collector`, or a function that makes one."""

MAX_ERROR_CHARS: Final = 200

ADDITIONAL: Final = "additional_metrics"

Facts: TypeAlias = Mapping[str, Any]
"""Fields of a snapshot; `additional_metrics` of several sources are laid side by side."""

Collect: TypeAlias = Callable[[datetime], Awaitable[Facts]]
"""Reads what a source knows at a moment."""


@dataclass(frozen=True, slots=True)
class Collector:
    """A source of a snapshot; one named as an earlier one takes its place."""

    name: str
    collect: Collect
    timeout_s: float | None = None  # `None`: as set for all


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of a source."""

    facts: Facts
    error: str = ""
    seconds: float = 0.0


async def collect_snapshot(
    collectors: Sequence[Collector], *, timeout_s: float, clock: Clock = SYSTEM_CLOCK
) -> SystemSnapshot:
    """Read all sources at once, and return what they know.

    `timeout_s`: of a source that has no limit of its own.
    """
    now = moment(clock.now())
    chosen = list({collector.name: collector for collector in collectors}.values())
    asked = [_ask(collector, now, timeout_s, clock) for collector in chosen]
    answers = dict(zip([it.name for it in chosen], await asyncio.gather(*asked), strict=True))
    fields: dict[str, Any] = {}
    metrics: dict[str, Any] = {"sources": len(chosen)}
    errors = {key_of(name): answer.error for name, answer in answers.items() if answer.error}
    for name, answer in answers.items():
        if answer.error:
            continue
        try:
            _check(answer.facts, now)
        except (ValidationError, TypeError, ValueError) as error:
            log.warning("source %s is left out: %s", name, error)
            errors[key_of(name)] = _describe(error)
        else:
            fields |= {key: value for key, value in answer.facts.items() if key != ADDITIONAL}
            metrics |= answer.facts.get(ADDITIONAL, {})
    metrics["collect_ms"] = {
        key_of(name): round(answer.seconds * 1000, 1) for name, answer in answers.items()
    }
    if errors:
        metrics[ERRORS] = errors
    return SystemSnapshot.model_validate({**fields, "timestamp": now, ADDITIONAL: metrics})


async def _ask(collector: Collector, now: datetime, timeout_s: float, clock: Clock) -> _Answer:
    began_s = clock.steady_s()
    limit_s = collector.timeout_s or timeout_s
    try:
        async with asyncio.timeout(limit_s):
            facts = await collector.collect(now)
    except TimeoutError:
        return _Answer({}, f"no answer within {limit_s:g} s", clock.steady_s() - began_s)
    except AletheiaError as error:
        return _Answer({}, _shorten(f"{error.code}: {error}"), clock.steady_s() - began_s)
    except Exception as error:
        log.exception("source %s went wrong", collector.name)
        return _Answer({}, _describe(error), clock.steady_s() - began_s)
    return _Answer(facts, seconds=clock.steady_s() - began_s)


def _check(facts: Facts, now: datetime) -> None:
    """Raise what is wrong with the facts of one source."""
    metrics: object = facts.get(ADDITIONAL, {})
    if not isinstance(metrics, Mapping):
        raise TypeError(f"{ADDITIONAL} is no object")
    reserved = {ERRORS, "sources", "collect_ms"} & set(cast("Mapping[str, Any]", metrics))
    unknown = set(facts) - set(SystemSnapshot.model_fields)
    if reserved or unknown or "timestamp" in facts:
        raise ValueError(f"it sets {sorted(reserved | unknown | ({'timestamp'} & set(facts)))}")
    SystemSnapshot.model_validate({**facts, "timestamp": now})


def _describe(error: Exception) -> str:
    # Without the text of an unknown error, which may hold an address, a key or what users wrote.
    return type(error).__name__


def _shorten(text: str) -> str:
    return " ".join(text.split())[:MAX_ERROR_CHARS]


def load_collectors(points: Iterable[EntryPoint] | None = None) -> list[Collector]:
    """Return the sources of other packages.

    `points`: the entry points; `None` takes those of what is installed.

    Raises:
        Misconfigured: an entry point is no source.
    """
    found: list[Collector] = []
    for point in entry_points(group=GROUP) if points is None else points:
        try:
            loaded: Any = point.load()
            collector = loaded if isinstance(loaded, Collector) else loaded()
        except Exception as error:
            raise Misconfigured(
                f"entry point {point.name}", f"cannot be loaded: {error}"
            ) from error
        if not isinstance(collector, Collector):
            raise Misconfigured(f"entry point {point.name}", f"is no Collector: {collector!r}")
        found.append(collector)
    return found
