"""What several processes do at once with one store; started by name, so that each is a new one."""

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, TypeAlias

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Documents
from aletheia.errors import BreakerOpen, RateLimited
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import Grant, RateLimiter, RateLimits
from aletheia.store.clock import Clock

Contender: TypeAlias = Callable[[Documents, Any], Awaitable[Any]]


def compete(directory: Path, contender: Contender, plan: Any, *, processes: int) -> list[Any]:
    """Run one coroutine function in several processes, begun together; return their answers."""
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(processes), context.SimpleQueue()
    started = [
        context.Process(target=_run, args=(directory, contender, plan, start, answers), daemon=True)
        for _ in range(processes)
    ]
    for process in started:
        process.start()
    given: list[Any] = []
    for _ in started:
        answer = answers.get()
        if isinstance(answer, BaseException):
            raise answer
        given.append(answer)
    return given


def _run(
    directory: Path,
    contender: Contender,
    plan: Any,
    start: Barrier,
    answers: "SimpleQueue[Any]",
) -> None:
    async def run() -> Any:
        documents = EmbeddedDocuments(directory)
        await documents.open()
        try:
            start.wait()
            return await contender(documents, plan)
        finally:
            await documents.close()

    try:
        answers.put(asyncio.run(run()))
    except BaseException as error:
        start.abort()
        answers.put(error)
        raise


async def acquire_until_refused(
    documents: Documents, plan: tuple[RateLimits, float]
) -> list[Grant]:
    limits, now = plan
    limiter = RateLimiter(documents, limits, clock=Clock(lambda: now))
    grants: list[Grant] = []
    try:
        while True:
            grants.append(await limiter.acquire("openai"))
    except RateLimited:
        return grants


async def fail_once(documents: Documents, now: float) -> None:
    breaker = CircuitBreaker(documents, threshold=4, cooldown_s=60, clock=Clock(lambda: now))
    await breaker.fail(await breaker.admit("openai"), "503")


async def try_to_probe(documents: Documents, now: float) -> bool:
    breaker = CircuitBreaker(documents, threshold=4, cooldown_s=60, clock=Clock(lambda: now))
    try:
        permit = await breaker.admit("openai")
    except BreakerOpen:
        return False
    return permit.probe is not None
