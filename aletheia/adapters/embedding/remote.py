"""What embedders behind an HTTP API have in common.

A call of `embed` becomes as few requests as the provider's limits allow. Equal texts are sent
once. A request that the provider refuses because of what is in it is sent again in halves, so that
a bad text fails alone. Nothing is retried here: who calls decides on that.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import numpy as np

from aletheia.adapters.embedding.parts import TOO_LONG, AnswerSheet, Called, Part, Vector
from aletheia.adapters.metering import key_of
from aletheia.analysis.ports import Embedded, LongText
from aletheia.errors import AletheiaError, BadAnswer, ComputeFailed, InvalidTask, Refused
from aletheia.llm.calls import CallPlan, Guard
from aletheia.llm.prices import Tokens

MAX_REFUSALS: Final = 64
"""How many requests of one `embed` may be refused before what is left of them fails together.

Finding one bad text among 2,048 takes 12.
"""

MAX_UNEXPLAINED: Final = 12
"""How many requests may be refused for no stated reason before one succeeds: as many as it takes
to come from 2,048 texts down to one, which then either passes or does not."""

_UNEXPLAINED: Final = frozenset({400, 413, 422})
"""Statuses that may be due to what is in a request."""

MODEL_FAULTS: Final = frozenset({"model_not_found", "unsupported_model"})
"""Codes of an `InvalidTask` that are the model's fault, not a text's."""


class RemoteEmbedder(ABC):
    """An embedder whose model runs behind an HTTP API.

    Args:
        default_model: what runs for tasks that name no model.
        dimensions: length to ask of the vectors; `None` takes what the model gives.
        long_text: what happens to a text longer than the model reads.
        concurrency: requests in flight at once, over all calls of `embed`.
        max_inputs: most texts in a request.
        max_tokens: most tokens in a request, unless one text alone has more.
        max_text_bytes: a longer text is refused unread, UTF-8 bytes.
        guard: guards every request.
    """

    provider: str
    is_mock: bool = False

    def __init__(
        self,
        *,
        default_model: str,
        dimensions: int | None,
        long_text: LongText,
        concurrency: int,
        max_inputs: int,
        max_tokens: int,
        max_text_bytes: int,
        guard: Guard,
    ) -> None:
        self._default_model = default_model
        self._asked_dimensions = dimensions
        self._seen_dimensions: dict[str, int] = {}
        self._long_text: LongText = long_text
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._max_inputs, self._max_tokens = max_inputs, max_tokens
        self._max_text_bytes = max_text_bytes
        self._guard = guard

    @abstractmethod
    def canonical_model(self, model: str | None) -> str:
        """See `aletheia.analysis.ports.Embedder.canonical_model`."""

    async def capacity(self, model: str, texts: Sequence[str]) -> int:
        """See `aletheia.analysis.ports.Embedder.capacity`."""
        tokens = [self._token_bound(model, text) for text in texts]
        requests = pack(tokens, max_inputs=self._max_inputs, max_tokens=self._max_tokens)
        return await self._guard.room(
            self.provider,
            model,
            "embedding",
            [[tokens[index] for index in request] for request in requests],
        )

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
        """Send one request.

        Raises:
            InvalidTask: the request was refused because of the model, or of a text in it.
            ComputeFailed: one of the texts makes the model fail.
            AletheiaError: anything else.
        """

    @abstractmethod
    def _shorten(self, part: Part) -> list[Part]:
        """Return what to send for a part that was refused as too long; nothing if it fails."""

    def _group(self, parts: Sequence[Part]) -> list[list[Part]]:
        """Distribute parts over requests."""
        groups = pack(
            [part.tokens for part in parts],
            max_inputs=self._max_inputs,
            max_tokens=self._max_tokens,
        )
        return [[parts[index] for index in group] for group in groups]

    @abstractmethod
    async def _reach(self) -> None:
        """Check whether the provider can be reached.

        Raises:
            Unreachable: no connection comes about.
        """

    async def _recover(self, model: str) -> bool:  # noqa: ARG002 - for those who can
        """Try to get hold of a model that was not found; `True` if it is there now."""
        return False

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """Embed texts, each answered once, in groups as they are done, in any order.

        What the requests in flight bring is answered even if another one fails for good.

        Raises:
            InvalidTask: `model_not_found`, `unsupported_model`.
            AletheiaError: the provider cannot be used; the texts not answered were not embedded.
        """
        sheet = AnswerSheet(texts)
        queue = deque(await self._open(model, sheet))
        requests: dict[asyncio.Task[Called | AletheiaError], list[Part]] = {}
        try:
            while True:
                if answers := sheet.take_answers(is_last=not queue and not requests):
                    yield answers
                while queue and len(requests) < self._concurrency:
                    if group := sheet.still_wanted(queue.popleft()):
                        requests[asyncio.create_task(self._request(model, group))] = group
                if not requests:
                    break
                done, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
                for request in done:
                    queue.extendleft(self._settle(sheet, requests.pop(request), request.result()))
                if sheet.failure is not None:
                    queue.clear()
        finally:
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
        if sheet.failure is not None:
            raise sheet.failure

    async def _open(self, model: str, sheet: AnswerSheet) -> list[list[Part]]:
        """Check the texts and plan the first requests."""
        fitting: list[tuple[int, str]] = []
        for owner, text in enumerate(sheet.texts):
            if fault := fault_of(text, max_bytes=self._max_text_bytes):
                sheet.fail(owner, fault)
            else:
                fitting.append((owner, text))
        if not fitting:
            return []
        parts: list[Part] = []
        for (owner, _), cut in zip(fitting, await self._cut(model, fitting), strict=True):
            if isinstance(cut, InvalidTask):
                sheet.fail(owner, cut)
            else:
                sheet.expect(owner, len(cut))
                parts += cut
        return self._group(parts)

    async def _request(self, model: str, parts: Sequence[Part]) -> Called | AletheiaError:
        """Send a request, twice where the model had to be fetched first."""
        outcome = await self._request_once(model, parts)
        is_missing = isinstance(outcome, InvalidTask) and outcome.code == "model_not_found"
        try:
            if is_missing and await self._recover(model):
                return await self._request_once(model, parts)
        except AletheiaError as error:
            return error
        return outcome

    async def _request_once(self, model: str, parts: Sequence[Part]) -> Called | AletheiaError:
        plan = CallPlan(
            self.provider,
            model,
            "embedding",
            key_of(model, [part.text for part in parts]),
            Tokens(sum(part.tokens for part in parts)),
            texts=len(parts),
        )
        async with self._slots:
            try:
                return await self._guard(plan, lambda: self._send(model, parts), reach=self._reach)
            except AletheiaError as error:
                return error

    def _settle(
        self, sheet: AnswerSheet, group: Sequence[Part], outcome: Called | AletheiaError
    ) -> list[list[Part]]:
        """Take in what became of a request.

        Returns:
            Requests that follow from it, the last one to be sent first.
        """
        if isinstance(outcome, Called):
            sheet.take(group, outcome)
        elif _is_about_texts(outcome):
            sheet.refusals += 1
            return self._after_refusal(sheet, group, outcome)
        elif _may_be_about_texts(outcome) and (
            sheet.has_success or sheet.refusals < MAX_UNEXPLAINED
        ):
            sheet.refusals += 1
            return self._after_unexplained(sheet, group, outcome)
        else:
            sheet.failure = sheet.failure or outcome
        return []

    def _after_refusal(
        self, sheet: AnswerSheet, group: Sequence[Part], fault: AletheiaError
    ) -> list[list[Part]]:
        may_shorten = fault.code == TOO_LONG and self._long_text != "fail"
        if len(group) == 1 and not may_shorten:
            sheet.fail(group[0].owner, fault)
            return []
        if sheet.refusals >= MAX_REFUSALS:
            # It is retryable, and a further attempt is made at each of these texts alone.
            tangled = ComputeFailed("refused_in_company", f"too many bad texts at once: {fault}")
            for part in group:
                sheet.fail(part.owner, tangled)
            return []
        if len(group) > 1:
            # By length, so that one half has all that may be too long, or nearly so.
            ordered = sorted(group, key=lambda part: part.tokens)
            middle = len(ordered) // 2
            return [ordered[middle:], ordered[:middle]]
        (part,) = group
        shorter = self._shorten(part)
        if not shorter:
            sheet.fail(part.owner, fault)
            return []
        sheet.expect(part.owner, len(shorter) - 1)
        return self._group(shorter)[::-1]

    def _after_unexplained(
        self, sheet: AnswerSheet, group: Sequence[Part], refusal: AletheiaError
    ) -> list[list[Part]]:
        """Look for the text behind a refusal that speaks of none."""
        if len(group) == 1:
            sheet.suspect(group[0].owner, refusal)
            return []
        if sheet.refusals >= MAX_REFUSALS:
            sheet.failure = sheet.failure or refusal
            return []
        middle = len(group) // 2
        return [list(group[:middle]), list(group[middle:])]

    def _check_vectors(
        self, model: str, vectors: Sequence[Vector]
    ) -> tuple[Vector | ComputeFailed, ...]:
        """Check the vectors of one answer; those that cannot be used are left out one by one.

        Raises:
            BadAnswer: none has the length that was asked for, or that of the model's others.
        """
        lengths = Counter(len(vector) for vector in vectors)
        usual = lengths.most_common(1)[0][0]
        expected = self._asked_dimensions or self._seen_dimensions.get(model) or usual
        if not expected or expected not in lengths:
            reason = f"vectors of {usual} dimensions for {model!r} in place of {expected or 'any'}"
            raise BadAnswer(self.provider, reason)
        self._seen_dimensions[model] = expected
        if set(lengths) == {expected}:
            stacked = np.stack(vectors)
            if np.isfinite(stacked).all() and stacked.any(axis=1).all():
                return tuple(vectors)
        return tuple(self._check_vector(vector, expected) for vector in vectors)

    def _check_vector(self, vector: Vector, expected: int) -> Vector | ComputeFailed:
        if len(vector) != expected:
            fault = f"{len(vector)} dimensions in place of {expected}"
        elif not np.isfinite(vector).all():
            fault = "numbers that are not finite"
        elif not vector.any():
            fault = "length 0"
        else:
            return vector
        return ComputeFailed("bad_vector", f"{self.provider} gave a vector of {fault}")


def _is_about_texts(error: AletheiaError) -> bool:
    """Check whether a request failed because of what is in it."""
    return isinstance(error, (InvalidTask, ComputeFailed)) and error.code not in MODEL_FAULTS


def _may_be_about_texts(error: AletheiaError) -> bool:
    """Check whether a refusal that names no text may be due to one all the same."""
    return isinstance(error, Refused) and error.status in _UNEXPLAINED


def fault_of(text: str, *, max_bytes: int) -> InvalidTask | None:
    """Return why no provider can embed a text, as far as that is seen without tokenising it."""
    if not text.strip():
        return InvalidTask("empty_text", "the text is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return InvalidTask("invalid_text", "the text has lone surrogates, which are not Unicode")
    if size > max_bytes:
        return InvalidTask(TOO_LONG, f"the text has {size:,} bytes, more than {max_bytes:,}")
    return None


def pack(tokens: Sequence[int], *, max_inputs: int, max_tokens: int) -> list[list[int]]:
    """Distribute texts over requests, in order.

    Args:
        tokens: of each text, at most.
        max_inputs: texts in a request.
        max_tokens: tokens in a request; a text that has more has a request of its own.

    Returns:
        Indices into `tokens`, by request, ascending.
    """
    groups: list[list[int]] = []
    room = -1
    for index, count in enumerate(tokens):
        if not groups or count > room or len(groups[-1]) == max_inputs:
            groups.append([])
            room = max_tokens
        groups[-1].append(index)
        room -= count
    return groups
