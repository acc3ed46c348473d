"""Embeddings from an Ollama server."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import replace
from typing import Final

from aletheia.adapters.embedding.parts import TOO_LONG, Called, Part, halve
from aletheia.adapters.embedding.remote import EmbedderPlan, RemoteEmbedder
from aletheia.adapters.ollama.client import OLLAMA, OllamaClient, model_key, short_name
from aletheia.analysis.model_manager import PullProgress
from aletheia.analysis.model_uses import ModelUses
from aletheia.errors import AletheiaError, InvalidTask
from aletheia.llm.prices import Tokens

log = logging.getLogger(__name__)

MAX_INPUTS: Final = 128
"""Texts in a request: what a slow processor embeds well within `OLLAMA_TIMEOUT`."""

MAX_TOKENS: Final = 65_536
"""Tokens in a request, at most: 128 texts of 512."""

MAX_TEXT_BYTES: Final = 2**20

SHORT_WORDS: Final = 128
"""Up to here nobody asks how much a model reads: it is more."""

SPECIAL_TOKENS: Final = 2
"""Tokens that a model puts around a text."""

WORDS_PER_TOKEN: Final = 2 / 3
"""How many words a window may have for each token the model reads; a guess on the safe side."""


class OllamaEmbedder(RemoteEmbedder):
    """Embeds through `POST /api/embed`.

    A text that has more words than the model reads tokens is surely too long; all others are sent
    as they are, and what the server then refuses is truncated by the server, or cut here: in
    windows, and where the server refuses what it was asked to truncate.
    """

    provider = OLLAMA
    max_inputs, max_tokens, max_text_bytes = MAX_INPUTS, MAX_TOKENS, MAX_TEXT_BYTES

    def __init__(
        self,
        client: OllamaClient,
        plan: EmbedderPlan,
        supported_models: Sequence[str] = (),
        *,
        uses: ModelUses | None = None,
    ) -> None:
        super().__init__(plan)
        self._client, self._uses = client, uses
        names = [short_name(name) for name in (plan.default_model, *supported_models)]
        self._supported = {name.lower(): name for name in names}
        self._contexts: dict[str, int | None] = {}
        self._untruncated: set[str] = set()
        self._downloading = asyncio.Lock()

    def canonical_model(self, model: str | None) -> str:
        """Name a supported model in the spelling of the settings, or raise `InvalidTask`."""
        if model is None:
            return short_name(self._plan.default_model)
        name = self._supported.get(model_key(model))
        if name is None:
            known = ", ".join(sorted(self._supported.values()))
            reason = f"the model {model[:60]!r} is none of those served: {known}"
            raise InvalidTask("unsupported_model", reason)
        return name

    async def pull_missing(self) -> AsyncGenerator[PullProgress]:
        """Download the supported models that the server lacks; at the end `InvalidTask` for one."""
        installed = {model_key(model.name) for model in await self._client.installed()}
        unknown: InvalidTask | None = None
        for key, model in self._supported.items():
            if key in installed:
                continue
            try:
                async with aclosing(self._pull(model)) as steps:
                    async for progress in steps:
                        yield progress
            except InvalidTask as error:
                unknown = unknown or error
        if unknown is not None:
            raise unknown

    async def call(self, model: str, texts: Sequence[str], *, truncate: bool = False) -> Called:
        """Send one request, once; errors are those of `OllamaClient.embed` and of any request."""
        async with self._uses.using(OLLAMA, model) if self._uses else nullcontext():
            answer = await self._client.embed(
                model, texts, truncate=truncate, dimensions=self._plan.dimensions
            )
        tokens = answer.tokens or sum(self._token_bound(model, text) for text in texts)
        return Called(self._check_vectors(model, answer.vectors), Tokens(tokens))

    async def _reach(self) -> None:
        await self._client.version()

    async def _send(self, model: str, parts: Sequence[Part]) -> Called:
        texts = [part.text for part in parts]
        return await self.call(model, texts, truncate=parts[0].is_truncated)

    def _group(self, parts: Sequence[Part], max_inputs: int) -> list[list[Part]]:
        """Keep apart what the server is to truncate, as it does so to all of a request or none."""
        whole = [part for part in parts if not part.is_truncated]
        truncated = [part for part in parts if part.is_truncated]
        return [*super()._group(whole, max_inputs), *super()._group(truncated, max_inputs)]

    async def _cut(
        self, model: str, texts: Sequence[tuple[int, str]]
    ) -> list[list[Part] | InvalidTask]:
        self.canonical_model(model)
        if any(len(text.split()) > SHORT_WORDS for _, text in texts):
            await self._learn(model)
        context = self._contexts.get(model)
        return [self._cut_one(model, owner, text, context) for owner, text in texts]

    def _cut_one(
        self, model: str, owner: int, text: str, context: int | None
    ) -> list[Part] | InvalidTask:
        part = Part(owner, text, self._token_bound(model, text))
        words = len(text.split())
        if context is None or words <= context:
            return [part]
        if self._plan.long_text == "truncate":
            part = replace(part, is_truncated=True)
            return self._shorten(model, part) if model in self._untruncated else [part]
        if self._plan.long_text == "chunk":
            windows = _windows(text, max_words=_words_for(context))
            return [Part(owner, window, self._token_bound(model, window)) for window in windows]
        reason = f"the text has {words:,} words, the model reads {context:,} tokens"
        return InvalidTask(TOO_LONG, reason)

    def _shorten(self, model: str, part: Part) -> list[Part]:
        """Leave truncating to the server, once; in windows, return both halves."""
        if self._plan.long_text == "truncate" and not part.is_truncated:
            return [replace(part, is_truncated=True)]
        halves = halve(part.text) or ()
        if self._plan.long_text == "truncate":
            self._untruncated.add(model)
            context = self._contexts.get(model)
            window = _begin(part.text, _words_for(context)) if context else part.text
            halves = (window,) if window != part.text else halves[:1]
        return [
            replace(part, text=half, tokens=min(part.tokens, len(half.encode()) + SPECIAL_TOKENS))
            for half in halves
        ]

    def _shorten_all(self, model: str, parts: Sequence[Part]) -> list[Part]:
        """Cut all parts that the server was asked to truncate, and refuses."""
        if not all(part.is_truncated for part in parts):
            return []
        shorter = [self._shorten(model, part) for part in parts]
        return [part for (part,) in shorter] if all(shorter) else []

    async def _learn(self, model: str) -> None:
        """Ask once what a model reads; it is downloaded if it is not there."""
        if model in self._contexts:
            return
        try:
            self._contexts[model] = await self._client.context_length(model)
        except InvalidTask:
            await self._recover(model)
        except AletheiaError as error:
            # The request for vectors will say it, too, where limits and breakers see it.
            log.info("Ollama does not say what %r reads: %s", model, error)

    async def _recover(self, model: str) -> bool:
        async with self._downloading:
            try:
                self._contexts[model] = await self._client.context_length(model)
            except InvalidTask:
                async with aclosing(self._pull(model)) as steps:
                    async for _ in steps:
                        pass
                self._contexts[model] = await self._client.context_length(model)
        return True

    async def _pull(self, model: str) -> AsyncGenerator[PullProgress]:
        log.info("Ollama lacks the model %r and downloads it", model)
        async with aclosing(self._client.pull(model)) as steps:
            async for progress in steps:
                yield progress
        log.info("Ollama has the model %r now", model)

    def _token_bound(self, model: str, text: str) -> int:
        """Bound the tokens of a text that is accepted: every byte may be one."""
        size = len(text.encode()) + SPECIAL_TOKENS
        context = self._contexts.get(model)
        return size if context is None else min(size, context)


def _words_for(context: int) -> int:
    return max(1, int(context * WORDS_PER_TOKEN))


def _begin(text: str, max_words: int) -> str:
    """Return the text up to its so many-th word."""
    for number, word in enumerate(re.finditer(r"\S+", text)):
        if number == max_words:
            return text[: word.start()].rstrip()
    return text


def _windows(text: str, *, max_words: int) -> list[str]:
    """Halve a text until no part has more words than that."""
    halves = halve(text) if len(text.split()) > max_words else None
    if halves is None:
        return [text]
    return [window for half in halves for window in _windows(half, max_words=max_words)]
