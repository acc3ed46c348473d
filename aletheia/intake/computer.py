"""Computing batches: group by group, every result kept before it is reported."""

import asyncio
import contextlib
import logging
from collections.abc import Generator, Sequence

from aletheia import telemetry
from aletheia.analysis.processor import OUTAGES, Finished
from aletheia.errors import AletheiaError, BadAnswer, ComputeFailed, Refused, TooSlow, Unavailable
from aletheia.intake.concurrency import all_of, isolated
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.models import Claim, Outcome, RowState
from aletheia.intake.ports import Processors
from aletheia.intake.wording import Wording
from aletheia.logs import about_tasks
from aletheia.store.backoff import MAX_WAIT_S, Backoff

log = logging.getLogger(__name__)


class Computer:
    """Computes claims with the processors of their types."""

    def __init__(self, processors: Processors, held: HeldClaims) -> None:
        self._processors, self._held = processors, held
        self._calls = asyncio.Semaphore(held.settings.concurrency_limit)
        self._backoff = Backoff(held.settings.retry_base_seconds, MAX_WAIT_S)

    async def compute(self, batch: Batch) -> int:
        """Compute a batch and pass on what is kept; return how many results that were."""
        before = self._held.tally.computed
        try:
            if batch.ready:
                batch.kept.put_nowait(batch.ready)
            groups: dict[tuple[str, str], list[Claim]] = {}
            for claim in batch.work:
                groups.setdefault((claim.task.type, claim.group), []).append(claim)
            about = {telemetry.TASKS: len(batch.work)}
            with telemetry.span(telemetry.COMPUTE, parent=batch.traceparent, attributes=about):
                parts = [(key, part) for key in groups for part in self._parts(key, groups[key])]
                await all_of(*(self._compute_group(batch, *key, part) for key, part in parts))
        finally:
            batch.kept.put_nowait(None)
        return self._held.tally.computed - before

    def _parts(self, key: tuple[str, str], claims: Sequence[Claim]) -> list[Sequence[Claim]]:
        """Return claims of one type and group as its processor takes them at once."""
        size = self._processors.inputs_per_call(key[0]) or len(claims)
        return [claims[start : start + size] for start in range(0, len(claims), size)]

    async def _compute_group(
        self, batch: Batch, task_type: str, group: str, claims: Sequence[Claim]
    ) -> None:
        left, tries = await self._try(batch, task_type, group, claims), 0
        while left:
            tries += 1
            await asyncio.sleep(self._backoff.pause_s(tries))
            # What failed in company is tried alone, so that one bad input fails alone.
            again = [await self._try(batch, task_type, group, [claim]) for claim in left]
            left = [claim for claims in again for claim in claims]

    async def _try(
        self, batch: Batch, task_type: str, group: str, claims: Sequence[Claim]
    ) -> list[Claim]:
        """Compute some claims once; return those to try again."""
        claims = [claim for claim in claims if claim in self._held]
        if self._held.is_out_of_grace:
            await self._held.release(claims)
            return []
        if not claims:
            return []
        again: list[Claim] = []
        inputs = [claim.task.input for claim in claims]
        try:
            async with self._calls:
                with _computing(claims):
                    results = self._processors.process(task_type, group, inputs)
                    async with contextlib.aclosing(results):
                        async for finished in results:
                            again += await self._keep(batch, group, claims, finished)
            problem: AletheiaError = ComputeFailed("no_result", "the processor gave no result")
        except AletheiaError as raised:
            if isinstance(raised, Unavailable) and raised.dependency == "store":
                raise
            problem = raised
        except Exception as fault:
            log.exception("computing %s tasks failed unexpectedly", task_type)
            problem = ComputeFailed("internal_error", type(fault).__name__)
        tried = {claim.row_id for claim in again}
        unanswered = [claim for claim in claims if claim.state is RowState.PROCESSING]
        left = [c for c in unanswered if c in self._held and c.row_id not in tried]
        return again + (await self._settle(batch, task_type, group, left, problem) if left else [])

    async def _settle(
        self,
        batch: Batch,
        task_type: str,
        group: str,
        left: Sequence[Claim],
        problem: AletheiaError,
    ) -> list[Claim]:
        """Settle what a call did not answer, for what it ended with; return what to try again."""
        if isinstance(problem, TooSlow) and len(left) > 1:
            return list(left)  # alone it shows which of them it was
        if is_costly(problem):
            # It may be the same next time, and each time costs something: so it counts.
            final = [claim for claim in left if not self._held.has_attempts(claim)]
            left = [claim for claim in left if self._held.has_attempts(claim)]
            await self._held.ledger.claims.count_attempts(left)
            await self._keep_failures(batch, [(claim, problem) for claim in final])
        if isinstance(problem, OUTAGES):
            await self._wait(task_type, group, left, problem)
            return []
        return await self._settle_failures(batch, [(claim, problem) for claim in left])

    async def _keep(
        self, batch: Batch, group: str, claims: Sequence[Claim], finished: Sequence[Finished]
    ) -> list[Claim]:
        """Keep results, settle failures; return the claims to try again."""
        good: dict[str, tuple[Claim, Outcome]] = {}
        bad: list[tuple[Claim, AletheiaError]] = []
        for answer in finished:
            if not 0 <= answer.index < len(claims):
                raise ComputeFailed("bad_result", f"the processor answered input {answer.index!r}")
            claim = claims[answer.index]
            if claim.state is not RowState.PROCESSING or claim.row_id in good:
                continue  # answered before; the first answer counts
            try:
                good[claim.row_id] = (claim, outcome_of(answer, self._wording(claim)))
            except AletheiaError as problem:
                bad.append((claim, problem))
        if good:
            self._held.troubles.pop(group, None)
        await self._keep_outcomes(batch, list(good.values()))
        for _, outcome in good.values():
            self._held.tally.count_use(outcome)
        return await self._settle_failures(batch, bad)

    async def _settle_failures(
        self, batch: Batch, failures: Sequence[tuple[Claim, AletheiaError]]
    ) -> list[Claim]:
        again = [c for c, problem in failures if problem.retryable and self._held.has_attempts(c)]
        await self._held.ledger.claims.count_attempts(again)
        await self._keep_failures(batch, [pair for pair in failures if pair[0] not in again])
        return again

    async def _keep_failures(
        self, batch: Batch, failures: Sequence[tuple[Claim, AletheiaError]]
    ) -> None:
        outcomes = [(claim, self._wording(claim).failed(problem)) for claim, problem in failures]
        await self._keep_outcomes(batch, outcomes)

    async def _keep_outcomes(self, batch: Batch, outcomes: Sequence[tuple[Claim, Outcome]]) -> None:
        async def keep(part: Sequence[tuple[Claim, Outcome]]) -> list[Claim]:
            ours = await self._held.ledger.reports.keep(part)
            return self._held.keep_ours([claim for claim, _ in part], ours)

        async def keep_failure(unstorable: tuple[Claim, Outcome], _fault: Exception) -> list[Claim]:
            claim, _ = unstorable
            problem = ComputeFailed("unstorable_result", "the result cannot be written down")
            return await keep([(claim, self._wording(claim).failed(problem))])

        if not outcomes:
            return
        kept = await isolated(keep, outcomes, keep_failure)
        self._held.tally.computed += len(kept)
        batch.kept.put_nowait(kept)

    def _wording(self, claim: Claim) -> Wording:
        return self._held.ledger.rows.wording(claim.entry)

    async def _wait(
        self, task_type: str, group: str, claims: Sequence[Claim], problem: AletheiaError
    ) -> None:
        until = self._held.defer(task_type, group, problem)
        await self._held.ledger.claims.wait(claims, until, problem)
        self._held.drop(claims)
        self._held.tally.waiting += len(claims)
        log.error("%d tasks wait for %s %r: %s", len(claims), task_type, group, problem)


@contextlib.contextmanager
def _computing(claims: Sequence[Claim]) -> Generator[None]:
    """Mark the lines of a block, and its calls to models, as those of some claims, and note it."""
    with about_tasks([claim.entry.id for claim in claims]) as computation:
        for claim in claims:
            claim.note_computation(computation.id)
        yield


def is_costly(problem: AletheiaError) -> bool:
    """Return whether a provider did something about a request in vain, and will again."""
    if isinstance(problem, Refused):
        return problem.is_about_content
    return isinstance(problem, BadAnswer)


def outcome_of(answer: Finished, wording: Wording) -> Outcome:
    """Return the report of a result; raise the error that is there in place of one."""
    if answer.error is not None:
        raise answer.error
    if answer.result is None:
        raise ComputeFailed("bad_result", "the processor gave neither a result nor an error")
    try:
        return wording.succeeded(answer.result, answer.usage, answer.record)
    except (TypeError, ValueError) as problem:
        raise ComputeFailed("bad_result", f"the result is not JSON: {problem}") from problem
