"""How many checks a second the rate limiter makes for several processes at once, and how well.

    python -m bench.limiter [CHECKS [PROCESSES]]

`bench.providers` calls `measure_limiter`.
"""

import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.errors import RateLimited
from aletheia.resilience.limits import Grant, RateLimiter, RateLimits, Strategy, Tier, counts_until
from aletheia.store.clock import Clock

PROVIDER: Final = "openai"

FAST: Final = 600
"""How much faster than time the clock of the checks runs: minutes and hours end all the while."""

LIMITS: Final = RateLimits(minute=300, hour=12_000, day=10**6, week=10**6, month=10**6)
"""A minute is 0.1 s of the bench, an hour 6 s: some checks are granted, some refused, in turn."""


@dataclass(frozen=True, slots=True)
class LimiterFigures:
    """What came of it.

    Attributes:
        checks: how many were made, over all processes.
        processes: how many made them at once.
        seconds: from the first to the last.
        checks_per_s: over all processes.
        granted: checks that were granted.
        refused: checks that were refused.
        violations: grants beyond a limit, of a unit that was granted before, or that only the
            store or only the caller knows of.
    """

    checks: int
    processes: int
    seconds: float
    checks_per_s: float
    granted: int
    refused: int
    violations: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one process is to do, by a clock that all of them share."""

    directory: Path
    checks: int
    strategy: Strategy
    epoch: float

    def clock(self) -> float:
        return self.epoch + (time.time() - self.epoch) * FAST


@dataclass(frozen=True, slots=True)
class _Answers:
    """The answers that one process got."""

    grants: list[Grant]
    refused: int
    began: float
    ended: float


def measure_limiter(
    *, checks: int = 100_000, processes: int = 4, strategy: Strategy = "rolling"
) -> LimiterFigures:
    """Ask from several processes as fast as they can, on an embedded store of their own."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="bench-limiter-") as directory:
        start, answers = context.Barrier(processes), context.SimpleQueue()
        plan = _Plan(Path(directory), checks // processes, strategy, time.time())
        workers = [
            context.Process(target=_run, args=(plan, start, answers), daemon=True)
            for _ in range(processes)
        ]
        for worker in workers:
            worker.start()
        reports: list[_Answers] = []
        for _ in workers:
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            reports.append(answer)
        differences = asyncio.run(_count_differences(Path(directory), reports))
    seconds = max(report.ended for report in reports) - min(report.began for report in reports)
    grants = [grant for report in reports for grant in report.grants]
    refused = sum(report.refused for report in reports)
    made = len(grants) + refused
    return LimiterFigures(
        checks=made,
        processes=processes,
        seconds=round(seconds, 2),
        checks_per_s=round(made / seconds, 1),
        granted=len(grants),
        refused=refused,
        violations=count_violations(grants, LIMITS, strategy) + differences,
    )


def count_violations(grants: list[Grant], limits: RateLimits, strategy: Strategy) -> int:
    """Count grants that should not have been, from nothing but the answers that callers got."""
    in_order = sorted(grants, key=lambda grant: grant.first)
    times = [grant.at for grant in in_order]
    violations = sum(b.first < a.first + a.weight for a, b in pairwise(in_order))
    violations += sum(later < earlier for earlier, later in pairwise(times))
    for tier in Tier:
        limit = limits.of(tier)
        violations += sum(
            counts_until(strategy, tier, earlier) > later
            for earlier, later in zip(times, times[limit:], strict=False)
        )
    return violations


async def _count_differences(directory: Path, reports: list[_Answers]) -> int:
    """Count grants that only the store or only their callers know of."""
    documents = EmbeddedDocuments(directory, is_durable=False)
    await documents.open()
    try:
        usage = await RateLimiter(documents, LIMITS).usage(PROVIDER)
    finally:
        await documents.close()
    return abs(usage[Tier.MONTH].used - sum(len(report.grants) for report in reports))


def _run(plan: _Plan, start: Barrier, answers: "SimpleQueue[_Answers | BaseException]") -> None:
    try:
        answers.put(asyncio.run(_check(plan, start)))
    except BaseException as error:
        start.abort()
        answers.put(error)
        raise


async def _check(plan: _Plan, start: Barrier) -> _Answers:
    documents = EmbeddedDocuments(plan.directory, is_durable=False)
    await documents.open()
    limiter = RateLimiter(documents, LIMITS, strategy=plan.strategy, clock=Clock(plan.clock))
    await limiter.prepare()
    grants: list[Grant] = []
    refused = 0
    start.wait()
    began = time.time()
    for _ in range(plan.checks):
        try:
            grants.append(await limiter.acquire(PROVIDER))
        except RateLimited:
            refused += 1
    ended = time.time()
    await documents.close()
    return _Answers(grants, refused, began, ended)


def main(checks: int = 100_000, processes: int = 4) -> None:
    """Measure both strategies and print the figures."""
    figures = {
        strategy: measure_limiter(checks=checks, processes=processes, strategy=strategy)
        for strategy in ("rolling", "fixed")
    }
    for strategy, one in figures.items():
        print(
            f"{strategy:8} {one.checks_per_s:10,.0f} checks/s   {one.granted:7,} granted "
            f"{one.refused:7,} refused   {one.violations} violations"
        )
    print(json.dumps({strategy: asdict(one) for strategy, one in figures.items()}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
