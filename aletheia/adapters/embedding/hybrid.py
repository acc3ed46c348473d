"""Embeddings from Ollama, and from OpenAI while Ollama is down (SPEC §2, `hybrid`)."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from aletheia.adapters.embedding.parts import TOO_LONG
from aletheia.analysis.ports import Embedded, Embedder, Embedding
from aletheia.errors import AletheiaError, BreakerOpen, Deferred, InvalidTask, Refused, Unavailable
from aletheia.resilience.breaker import is_breaker_failure
from aletheia.store.clock import SYSTEM_CLOCK

log = logging.getLogger(__name__)

ANY: Final = "(any model)"
"""Group of the texts whose task names no model; no model is called that."""


class HybridEmbedder:
    """Asks one provider first, and another one for what the first cannot do while it is down.

    `stand_ins` are models at the second by model at the first, which has to know them: another one
    stands in only where the task names none, or the operator says so, or vectors would mix.
    """

    provider = "hybrid"
    is_mock = False

    def __init__(
        self,
        first: Embedder,
        second: Embedder | None,
        *,
        default_model: str,
        default_stand_in: str,
        stand_ins: Mapping[str, str],
        clock: Callable[[], float] = SYSTEM_CLOCK.unix_s,
    ) -> None:
        self._first, self._second = first, second
        self._default_model = first.canonical_model(default_model)
        self._stand_ins = {first.canonical_model(name): other for name, other in stand_ins.items()}
        self._stand_ins[ANY] = self._stand_ins.get(self._default_model, default_stand_in)
        self._clock = clock

    def canonical_model(self, model: str | None) -> str:
        """Name a model of the first provider, or the group of those who name none."""
        return ANY if model is None else self._first.canonical_model(model)

    async def capacity(self, model: str, texts: Sequence[str]) -> int:
        """See `aletheia.analysis.ports.Embedder.capacity`."""
        try:
            return await self._first.capacity(self._at_first(model), texts)
        except BreakerOpen as problem:
            second, stand_in = self._second, self._stand_ins.get(model)
            if second is None or stand_in is None:
                raise
            try:
                return await second.capacity(stand_in, texts)
            except Deferred as refusal:
                log.info("%s; %s does not stand in: %s", problem, second.provider, refusal)
                if refusal.until is None or refusal.until >= (problem.until or refusal.until):
                    raise problem from refusal
                raise refusal from problem

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """See `aletheia.analysis.ports.Embedder.embed`; each embedding says who made it."""
        asked = self._at_first(model)
        left = set(range(len(texts)))
        try:
            async with aclosing(self._first.embed(asked, texts)) as answers:
                async for answered in answers:
                    left.difference_update(answer.index for answer in answered)
                    yield [_signed(answer, asked, self._first.provider) for answer in answered]
                return
        except AletheiaError as raised:
            if not is_down(raised, self._first.provider):
                raise
            problem = raised
        second, stand_in = self._second, self._stand_ins.get(model)
        if second is None or stand_in is None:
            raise problem
        places = sorted(left)
        log.warning(
            "%d texts for %s go to %s of %s: %s",
            *(len(places), asked, stand_in, second.provider, problem),
        )
        too_long = 0
        try:
            async with aclosing(second.embed(stand_in, [texts[i] for i in places])) as answers:
                async for answered in answers:
                    fitting = [answer for answer in answered if not _is_too_long(answer)]
                    too_long += len(answered) - len(fitting)
                    placed = [replace(answer, index=places[answer.index]) for answer in fitting]
                    made_by = (stand_in, second.provider)
                    yield [_signed(answer, *made_by, is_fallback=True) for answer in placed]
        except (Deferred, Unavailable, Refused, InvalidTask) as refusal:
            raise self._both(problem, refusal, second.provider) from refusal
        if too_long:
            # The first may read them: what becomes of long texts there is another setting.
            log.warning("%d texts are too long for %s and wait for the first", too_long, stand_in)
            raise problem

    def _at_first(self, model: str) -> str:
        return self._default_model if model == ANY else model

    def _both(self, problem: AletheiaError, refusal: AletheiaError, second: str) -> Unavailable:
        """Build the error that neither can be had, with the time when one is back."""
        wait_s, other_s = self._wait_s(problem), self._wait_s(refusal)
        return Unavailable(
            self._first.provider,
            f"{problem}; {second} does not stand in: {refusal}",
            # The first may be back any moment unless it says when; then whoever is back sooner.
            retry_after_s=None if wait_s is None else min(wait_s, other_s or wait_s),
        )

    def _wait_s(self, error: AletheiaError) -> float | None:
        if isinstance(error, Deferred):
            until = error.until
            return None if until is None else max(0.0, until.timestamp() - self._clock())
        return error.retry_after_s or None


def is_down(error: AletheiaError, provider: str) -> bool:
    """Check whether an error means that a provider is down; our limits and its 429 do not."""
    if isinstance(error, BreakerOpen):
        return error.dependency == provider
    return (
        isinstance(error, Unavailable)
        and error.dependency == provider
        and is_breaker_failure(error)
    )


def _is_too_long(answer: Embedded) -> bool:
    return isinstance(answer.result, InvalidTask) and answer.result.code == TOO_LONG


def _signed(answer: Embedded, model: str, provider: str, *, is_fallback: bool = False) -> Embedded:
    if not isinstance(answer.result, Embedding):
        return answer
    signed = replace(answer.result, model=model, provider=provider, is_fallback=is_fallback)
    return replace(answer, result=signed)
