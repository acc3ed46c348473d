"""Embeddings by https://platform.openai.com/docs/api-reference/embeddings/create."""

import asyncio
import base64
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import numpy as np
import orjson
from yarl import URL

from aletheia.adapters.embedding.parts import (
    TOO_LONG,
    Called,
    Part,
    Vector,
    halve,
    read_each,
    read_vector,
    says_too_long,
)
from aletheia.adapters.embedding.remote import (
    ANSWER_BYTES,
    TEXT_ANSWER_BYTES,
    EmbedderPlan,
    RemoteEmbedder,
)
from aletheia.adapters.http import find_proxy
from aletheia.adapters.http_answers import as_object
from aletheia.adapters.openai.tokens import (
    BYTES_PER_TOKEN,
    Encoding,
    TokenTables,
    count_bytes,
    split_text,
)
from aletheia.adapters.openai.wire import (
    MAX_ANSWER_BYTES,
    Api,
    ErrorAnswer,
    check_model_name,
    is_count,
)
from aletheia.errors import (
    ABOUT_CONTENT,
    AletheiaError,
    BadAnswer,
    ComputeFailed,
    InvalidTask,
    Unreachable,
    WrongCount,
)
from aletheia.llm.prices import Tokens

OPENAI: Final = "openai"
"""What results and errors call the provider, whoever runs the server."""

MAX_INPUTS: Final = 2048
MAX_TOKENS: Final = 300_000
MAX_TEXT_TOKENS: Final = 8192
"""OpenAI's limits: texts in a request, tokens in a request, tokens in a text."""

INLINE_BYTES: Final = 100_000
"""Texts of more bytes than this are tokenised in a thread."""

REACH_TIMEOUT_S: Final = 10.0
"""For a connection to a server that could not be reached before."""

_TOO_LONG_CODES: Final = frozenset({"context_length_exceeded", "max_tokens_per_request"})
_SAYS_NO_EMBEDDINGS: Final = re.compile(r"embeddings from this model", re.IGNORECASE)
_SAYS_BAD_INPUT: Final = re.compile(r"\binput\b", re.IGNORECASE)
"""How OpenAI, vLLM, llama.cpp and text-embeddings-inference put it; only few errors have codes."""


class OpenAIEmbedder(RemoteEmbedder):
    """Embeds through `POST /embeddings`.

    Tokens are counted by tiktoken's tables where they can be had, and are else taken to be as many
    as the text has bytes; OpenAI then says whether a text is too long.
    """

    provider = OPENAI
    max_inputs, max_tokens = MAX_INPUTS, MAX_TOKENS
    max_text_tokens = MAX_TEXT_TOKENS
    max_text_bytes = MAX_TEXT_TOKENS * BYTES_PER_TOKEN

    def __init__(self, api: Api, plan: EmbedderPlan, tables: TokenTables | None = None) -> None:
        super().__init__(plan)
        self._api, self._tables = api, tables or TokenTables()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._api.base_url!r}, ***)"

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        await self._api.open()
        self._tables.ready(self._plan.default_model)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._api.close()

    def canonical_model(self, model: str | None) -> str:
        """Return the name as it came, which only OpenAI knows, or raise `InvalidTask`."""
        return self._plan.default_model if model is None else check_model_name(model)

    async def call(self, model: str, texts: Sequence[str]) -> Called:
        """Send one request of 1 to 2,048 texts, once; errors are those of `Api.ask`, and `Refused`.

        `InvalidTask`: `model_not_found`, `unsupported_model`, `input_too_long`, `invalid_text`.
        """
        asked: dict[str, Any] = {"input": texts, "model": model, "encoding_format": "base64"}
        if self._plan.dimensions is not None:
            asked["dimensions"] = self._plan.dimensions
        max_bytes = min(MAX_ANSWER_BYTES, ANSWER_BYTES + TEXT_ANSWER_BYTES * len(texts))
        answer = await self._api.ask("POST", "embeddings", orjson.dumps(asked), max_bytes=max_bytes)
        if isinstance(answer, ErrorAnswer):
            raise self._translate(answer)
        try:
            vectors = read_vectors(answer, len(texts))
        except ValueError as error:
            raise BadAnswer(OPENAI, str(error), status=HTTPStatus.OK) from None
        if (tokens := read_tokens(answer)) is None:
            tokens = sum(self._token_bound(model, text) for text in texts)
        return Called(self._check_vectors(model, vectors), Tokens(tokens))

    async def _reach(self) -> None:
        url = URL(self._api.base_url)
        if url.host is None or find_proxy(url):
            return  # a proxy says itself whether it reaches the server
        try:
            async with asyncio.timeout(REACH_TIMEOUT_S):
                _, writer = await asyncio.open_connection(url.host, url.port)
        except (OSError, TimeoutError) as error:
            raise Unreachable(OPENAI, f"no connection ({type(error).__name__})") from None
        writer.close()

    async def _send(self, model: str, parts: Sequence[Part]) -> Called:
        return await self.call(model, [part.text for part in parts])

    def _translate(self, answer: ErrorAnswer) -> AletheiaError:
        if code := _read_task_fault(answer):
            said = answer.show(self._api.key)
            return InvalidTask(code, said or f"{OPENAI} refused the text with {answer.status}")
        return answer.to_error(OPENAI, self._api.key)

    def _token_bound(self, model: str, text: str) -> int:  # noqa: ARG002 - as the base names it
        return min(count_bytes(text), self.max_text_tokens)

    async def _cut(
        self, model: str, texts: Sequence[tuple[int, str]]
    ) -> list[list[Part] | InvalidTask]:
        sizes = [count_bytes(text) for _, text in texts]
        is_open = max(sizes) > self.max_text_tokens or sum(sizes) > self.max_tokens
        # Where bytes settle everything, nobody waits for tables.
        encoding = await self._tables.find(model) if is_open else self._tables.ready(model)
        if encoding is None:
            return [[Part(owner, text, self._token_bound(model, text))] for owner, text in texts]

        def cut() -> list[list[Part] | InvalidTask]:
            return [self._cut_one(encoding, owner, text) for owner, text in texts]

        return cut() if sum(sizes) <= INLINE_BYTES else await asyncio.to_thread(cut)

    def _cut_one(self, encoding: Encoding, owner: int, text: str) -> list[Part] | InvalidTask:
        windows = split_text(encoding, text, self.max_text_tokens)
        if len(windows) == 1 or self._plan.long_text == "chunk":
            return [Part(owner, *window) for window in windows]
        if self._plan.long_text == "truncate":
            return [Part(owner, *windows[0], is_truncated=True)]
        tokens = sum(count for _, count in windows)
        return InvalidTask(
            TOO_LONG,
            f"the text has about {tokens:,} tokens, the model reads {self.max_text_tokens:,}",
        )

    def _shorten(self, model: str, part: Part) -> list[Part]:
        """Return half of a part, or in windows both halves, as only the server knows the limit."""
        is_truncated = self._plan.long_text == "truncate"
        halves = (halve(part.text) or ())[: 1 if is_truncated else None]
        return [
            Part(part.owner, half, self._token_bound(model, half), is_truncated) for half in halves
        ]


def read_vectors(answer: dict[str, Any], count: int) -> list[Vector | ComputeFailed]:
    """Read as many vectors, in the order of the texts; `WrongCount`, `ValueError` if not.

    What has no index takes the places that are left, in order; what cannot be read is `MISSING`,
    unless that is so of all.
    """
    data = answer.get("data")
    if not isinstance(data, list):
        raise ValueError("no list of vectors")  # noqa: TRY004 - readers raise ValueError
    entries = [as_object(entry) for entry in cast("list[object]", data)]
    if len(entries) != count:
        raise WrongCount(OPENAI, len(entries), count)
    places: dict[int, dict[str, Any]] = {}
    missing = [entry for entry in entries if entry.get("index") is None]
    is_in_order = True
    for position, entry in enumerate(entries):
        index = _read_index(entry.get("index"))
        if index is None:
            continue
        if type(index) is not int or not 0 <= index < count or index in places:
            shown = index if isinstance(index, int) else "that is no number"
            raise ValueError(f"a vector with index {shown}"[:60])
        is_in_order = is_in_order and index == position
        places[index] = entry
    if len(missing) > 1 and not is_in_order:
        raise ValueError("vectors without index among others in another order")
    free = (place for place in range(count) if place not in places)
    places.update(zip(free, missing, strict=True))
    return read_each([places[place].get("embedding") for place in range(count)], _read_embedding)


def _read_index(index: object) -> object:
    """Return a whole number as one, also where it is written with a point or in quotes."""
    if isinstance(index, float) and index.is_integer():
        return int(index)
    if isinstance(index, str) and re.fullmatch(r"[0-9]{1,9}", index, re.ASCII):
        return int(index)
    return index


def _read_embedding(embedding: object) -> Vector:
    """Read a vector as base64 of little-endian float32, or as a list, or raise `ValueError`."""
    if not isinstance(embedding, str):
        return read_vector(embedding)
    try:
        raw = base64.b64decode(embedding, validate=True)
    except ValueError:
        raise ValueError("a vector that is not base64") from None
    if len(raw) % 4:
        raise ValueError("a vector of broken numbers")
    return np.frombuffer(raw, "<f4").astype(np.float32, copy=False)


def read_tokens(answer: dict[str, Any]) -> int | None:
    """Read how many tokens the server counted; `None` where it counts none."""
    counts = as_object(answer.get("usage"))
    for name in ("prompt_tokens", "total_tokens"):
        tokens = counts.get(name)
        # Servers that count nothing say 0.
        if tokens and is_count(tokens):
            return tokens
    return None


def _read_task_fault(answer: ErrorAnswer) -> str | None:
    """Return the code of the task's fault that a refusal speaks of; `None` if it is no task's."""
    if answer.is_missing_model:
        return "model_not_found"
    if answer.is_about_request and _SAYS_NO_EMBEDDINGS.search(answer.message):
        return "unsupported_model"
    is_about_input = not answer.param or answer.param.startswith("input")
    is_large = answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    says_long = is_about_input and says_too_long(answer.status, answer.message)
    if is_large or says_long or answer.code in _TOO_LONG_CODES:
        return TOO_LONG
    said = f"{answer.param} {answer.message}"
    is_bad = is_about_input and answer.status in ABOUT_CONTENT and _SAYS_BAD_INPUT.search(said)
    return "invalid_text" if is_bad else None
