"""What embedders behind an HTTP API have in common: what is refused is sent again in halves."""

import asyncio
from abc import ABC, abstractmethod
from asyncio import FIRST_COMPLETED
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from aletheia.adapters.embedding.input_limits import InputLimits
from aletheia.adapters.embedding.parts import (
    TOO_LONG,
    AnswerSheet,
    Called,
    Part,
    Vector,
    check_vectors,
    find_fault,
)
from aletheia.adapters.metering import CANNOT, key_of
from aletheia.analysis.ports import Embedded, LongText
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    ComputeFailed,
    InvalidTask,
    Refused,
    TooLong,
    WrongCount,
)
from aletheia.llm.calls import CallPlan, Guard, PlannedCall, unguarded
from aletheia.llm.prices import Tokens

MAX_REFUSALS: Final = 64
"""Refusals in one `embed` until texts are sent one by one; a bad one among 2,048 takes 12."""

ANSWER_BYTES: Final = 2**20
TEXT_ANSWER_BYTES: Final = 2**19
"""Longest answer without vectors, and what each adds; 16,384 numbers written out are 360 kB."""

PROBE_TEXTS: Final = ("The weather is fine today.", "Water boils when it is hot.")
"""What is sent to see whether it is the provider that fails, or what was asked of it."""

READ_FROM_WORDS: Final = frozenset({"invalid_text", TOO_LONG})
"""Codes that rest on what a server said, which may have been meant otherwise."""

MODEL_FAULTS: Final = frozenset({"model_not_found", "unsupported_model"})
"""Codes of an `InvalidTask` that are the model's fault, not a text's."""


@dataclass(frozen=True, slots=True)
class EmbedderPlan:
    """How a provider is asked for vectors."""

    default_model: str
    dimensions: int | None = None  # asked of the vectors; `None` takes what the model gives
    long_text: LongText = "fail"
    concurrency: int = 5  # requests in flight, over all calls of `embed`
    guard: Guard = unguarded
    limits: InputLimits | None = None  # by default the provider's


class RemoteEmbedder(ABC):
    """An embedder whose model runs behind an HTTP API."""

    provider: str
    is_mock: bool = False
    max_inputs: int  # texts in a request, where there are no `limits`
    max_tokens: int  # in a request, unless one text alone has more
    max_text_bytes: int  # a longer text is refused unread

    def __init__(self, plan: EmbedderPlan) -> None:
        self._plan = plan
        self._seen_dimensions: dict[str, int] = {}
        self._slots = asyncio.Semaphore(plan.concurrency)
        self._limits = plan.limits or InputLimits(self.max_inputs)

    @abstractmethod
    def canonical_model(self, model: str | None) -> str:
        """See `aletheia.analysis.ports.Embedder.canonical_model`."""

    async def capacity(self, model: str, texts: Sequence[str]) -> int:
        """See `aletheia.analysis.ports.Embedder.capacity`."""
        max_inputs = (await self._limits.of(model)).size
        tokens = [self._token_bound(model, text) for text in texts]
        groups = pack(tokens, max_inputs=max_inputs, max_tokens=self.max_tokens)
        requests = [[tokens[index] for index in group] for group in groups]
        return await self._plan.guard.capacity(self.provider, model, "embedding", requests)

    @abstractmethod
    def _token_bound(self, model: str, text: str) -> int:
        """Bound the tokens of a text that is accepted, without asking anybody."""

    @abstractmethod
    async def _cut(
        self, model: str, texts: Sequence[tuple[int, str]]
    ) -> list[list[Part] | InvalidTask]:
        """Turn texts, each with its owner, into parts to send, or say why one cannot be sent."""

    @abstractmethod
    async def _send(self, model: str, parts: Sequence[Part]) -> Called:
        """Send one request; `InvalidTask` and `ComputeFailed` are about a text."""

    @abstractmethod
    def _shorten(self, model: str, part: Part) -> list[Part]:
        """Return what to send for a part that was refused as too long; nothing if it fails."""

    def _shorten_all(self, model: str, parts: Sequence[Part]) -> list[Part]:  # noqa: ARG002 - for those who can
        """Return what to send for parts that are all too long, where that is known."""
        return []

    def _group(self, parts: Sequence[Part], max_inputs: int) -> list[list[Part]]:
        """Distribute parts over requests."""
        tokens = [part.tokens for part in parts]
        groups = pack(tokens, max_inputs=max_inputs, max_tokens=self.max_tokens)
        return [[parts[index] for index in group] for group in groups]

    @abstractmethod
    async def _reach(self) -> None:
        """Raise `Unreachable` if no connection comes about."""

    async def _recover(self, model: str) -> bool:  # noqa: ARG002 - for those who can
        """Try to get hold of a model that was not found; `True` if it is there now."""
        return False

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """See `aletheia.analysis.ports.Embedder.embed`; requests in flight are always answered."""
        sheet = AnswerSheet(model, texts, await self._limits.of(model))
        sheet.queue.extend(await self._open(sheet))
        requests: set[asyncio.Task[list[list[Part]]]] = set()
        try:
            while True:
                if answers := sheet.take_answers():
                    yield answers
                waiting = sum(-(-len(group) // sheet.limit.size) for group in sheet.queue)
                for _ in range(min(waiting, self._plan.concurrency - len(requests))):
                    requests.add(asyncio.create_task(self._work(sheet)))
                if not requests:
                    break
                done, requests = await asyncio.wait(requests, return_when=FIRST_COMPLETED)
                for request in done:
                    sheet.queue.extendleft(reversed(request.result()))
                if sheet.failure is not None:
                    sheet.queue.clear()
        finally:
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
        await self._limits.save(model)
        if sheet.failure is not None:
            raise sheet.failure

    async def _open(self, sheet: AnswerSheet) -> list[list[Part]]:
        """Check the texts and plan the first requests."""
        fitting: list[tuple[int, str]] = []
        for owner, text in enumerate(sheet.texts):
            if fault := find_fault(text, max_bytes=self.max_text_bytes):
                sheet.answer(owner, fault)
            else:
                fitting.append((owner, text))
        if not fitting:
            return []
        parts: list[Part] = []
        for (owner, _), cut in zip(fitting, await self._cut(sheet.model, fitting), strict=True):
            if isinstance(cut, InvalidTask):
                sheet.answer(owner, cut)
            else:
                sheet.expect(owner, len(cut))
                parts += cut
        return self._group(parts, sheet.limit.size)

    async def _work(self, sheet: AnswerSheet) -> list[list[Part]]:
        """Send the next request; return those that follow from it."""
        async with sheet.limit.turn(len(sheet.queue[0]) if sheet.queue else 0):
            group = sheet.next_group()
            if not group:
                return []
            outcome = await self._request(sheet.model, group)
            if isinstance(outcome, Called):
                sheet.limit.note_passed(len(group))
            elif is_about_texts(outcome) and len(group) > 1:
                # No server answers too many texts with a bad answer, but for a wrong count.
                if not isinstance(outcome.__cause__, BadAnswer):
                    sheet.limit.note_refused([part.text for part in group], outcome)
            elif is_about_texts(outcome):
                outcome = await self._examine(sheet, group[0], outcome)
            return self._settle(sheet, group, outcome)

    async def _request(self, model: str, parts: Sequence[Part]) -> Called | AletheiaError:
        """Send a request, twice where the model had to be fetched first."""
        call, probe = self._plan_call(model, parts), self._plan_probe(model, parts)
        outcome = await self._send_guarded(call, probe)
        is_missing = isinstance(outcome, InvalidTask) and outcome.code == "model_not_found"
        try:
            if is_missing and await self._recover(model):
                return await self._send_guarded(call, probe)
        except AletheiaError as error:
            return error
        return outcome

    async def _send_guarded(
        self, call: PlannedCall[Called], probe: PlannedCall[Called] | None = None
    ) -> Called | AletheiaError:
        async with self._slots:
            try:
                return await self._plan.guard(call, probe)
            except AletheiaError as error:
                return error

    async def _examine(
        self, sheet: AnswerSheet, part: Part, refusal: AletheiaError
    ) -> AletheiaError:
        """Return what a text is charged with that was refused alone, or what is wrong with all."""
        is_vague = not isinstance(refusal, InvalidTask | ComputeFailed)
        if (is_vague or refusal.code in READ_FROM_WORDS) and not sheet.has_success:
            outcome = await self._send_guarded(self._plan_probe(sheet.model, [part]))
            if isinstance(outcome, AletheiaError):
                sheet.limit.forget()
                if not is_about_texts(outcome):
                    return outcome
                if is_vague:
                    return refusal
                return Refused(self.provider, HTTPStatus.BAD_REQUEST, str(refusal))
            sheet.has_success = True
        sheet.limit.note_blamed(part.text)
        if isinstance(refusal, Refused):
            return InvalidTask("refused_input", str(refusal))
        return ComputeFailed("bad_answer", str(refusal)) if is_vague else refusal

    def _plan_call(self, model: str, parts: Sequence[Part]) -> PlannedCall[Called]:
        texts = [part.text for part in parts]
        tokens = Tokens(sum(part.tokens for part in parts))
        key = key_of(model, texts)
        plan = CallPlan(self.provider, model, "embedding", key, tokens, texts=len(texts))
        is_suspected = all(part.is_suspected for part in parts)
        return PlannedCall(plan, lambda: self._send(model, parts), self._reach, is_suspected)

    def _plan_probe(self, model: str, parts: Sequence[Part]) -> PlannedCall[Called]:
        """Plan a request that has nothing to do with what is in another one."""
        suspects = {part.text for part in parts}
        text = next(text for text in PROBE_TEXTS if len(suspects) > 1 or text not in suspects)
        return self._plan_call(model, [Part(0, text, self._token_bound(model, text))])

    def _settle(
        self, sheet: AnswerSheet, group: list[Part], outcome: Called | AletheiaError
    ) -> list[list[Part]]:
        """Take in what became of a request; return the requests that follow from it."""
        if isinstance(outcome, Called):
            missing = sheet.take(group, outcome)
            return [suspect(missing)] if missing else []
        if not is_about_texts(outcome):
            sheet.failure = sheet.failure or outcome
        elif outcome.code == TOO_LONG and (shorter := self._shorten_all(sheet.model, group)):
            sheet.limit.note_blamed(group[0].text)
            return [shorter]
        elif len(group) > 1:
            return self._halve(sheet, suspect(group) if outcome.code == CANNOT else group)
        elif isinstance(outcome, InvalidTask | ComputeFailed):
            is_cut_again = outcome.code == TOO_LONG and self._plan.long_text != "fail"
            if is_cut_again and (shorter := self._shorten(sheet.model, group[0])):
                sheet.expect(group[0].owner, len(shorter) - 1)
                return self._group(shorter, len(shorter))
            sheet.answer(group[0].owner, outcome)
        else:
            sheet.failure = sheet.failure or outcome
        return []

    def _halve(self, sheet: AnswerSheet, group: list[Part]) -> list[list[Part]]:
        """Return smaller requests for the parts of one that was refused."""
        sheet.refusals += 1
        # By length, so that one half has all that may be too long, or nearly so.
        ordered = sorted(group, key=lambda part: part.tokens)
        if sheet.refusals > MAX_REFUSALS:
            return [[part] for part in ordered]
        if len(group) > sheet.limit.size:
            return [ordered]  # it is sent in pieces
        middle = len(ordered) // 2
        return [ordered[:middle], ordered[middle:]]

    def _check_vectors(
        self, model: str, found: Sequence[Vector | ComputeFailed]
    ) -> tuple[Vector | ComputeFailed, ...]:
        """Check the vectors of one answer; `BadAnswer` if none has the right length."""
        vectors = [vector for vector in found if not isinstance(vector, ComputeFailed)]
        lengths = Counter(len(vector) for vector in vectors)
        usual = lengths.most_common(1)[0][0]
        expected = self._plan.dimensions or self._seen_dimensions.get(model) or usual
        if not expected or expected not in lengths:
            reason = f"vectors of {usual} dimensions for {model!r} in place of {expected or 'any'}"
            raise BadAnswer(self.provider, reason)
        self._seen_dimensions[model] = expected
        checked = iter(check_vectors(vectors, expected, self.provider))
        return tuple(v if isinstance(v, ComputeFailed) else next(checked) for v in found)


def is_about_texts(error: AletheiaError) -> bool:
    """Check whether a request may have failed because of what is in it, or of how much that is."""
    if isinstance(error, Refused):
        return error.is_about_content
    if isinstance(error, InvalidTask | ComputeFailed):
        return error.code not in MODEL_FAULTS
    return isinstance(error, TooLong | WrongCount)


def suspect(parts: Sequence[Part]) -> list[Part]:
    """Mark parts of a request that failed, or lack a vector, while others passed."""
    return [replace(part, is_suspected=True) for part in parts]


def pack(tokens: Sequence[int], *, max_inputs: int, max_tokens: int) -> list[list[int]]:
    """Distribute texts over requests, in order, by index; one above `max_tokens` has its own."""
    groups: list[list[int]] = []
    capacity = -1
    for index, count in enumerate(tokens):
        if not groups or count > capacity or len(groups[-1]) == max_inputs:
            groups.append([])
            capacity = max_tokens
        groups[-1].append(index)
        capacity -= count
    return groups
