"""Embeddings from OpenAI, or from any server that speaks its API.

See https://platform.openai.com/docs/api-reference/embeddings/create.
"""

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.request import getproxies

import numpy as np
from openai import AsyncOpenAI, omit
from yarl import URL

from aletheia.adapters.embedding.parts import TOO_LONG, Called, Part, Vector, halve, read_vector
from aletheia.adapters.embedding.remote import RemoteEmbedder
from aletheia.adapters.http import is_token, read_base_url
from aletheia.adapters.http_answers import as_object, as_text, make_bad_answer
from aletheia.adapters.openai.tokens import (
    BYTES_PER_TOKEN,
    Encoding,
    TokenTables,
    count_bytes,
    split_text,
)
from aletheia.adapters.openai.wire import ErrorAnswer, exchange, load_object, make_client
from aletheia.analysis.ports import LongText
from aletheia.errors import AletheiaError, InvalidTask, Misconfigured, Unreachable
from aletheia.llm.calls import Guard, unguarded

OPENAI: Final = "openai"
"""What results and errors call the provider, whoever runs the server."""

OPENAI_URL: Final = "https://api.openai.com/v1"

MAX_INPUTS: Final = 2048
MAX_TOKENS: Final = 300_000
MAX_TEXT_TOKENS: Final = 8192
"""OpenAI's limits: texts in a request, tokens in a request, tokens in a text."""

MAX_ANSWER_BYTES: Final = 256 * 2**20
"""Longest answer that is read, bytes; 2,048 vectors of 3,072 written out are 140 MB."""

INLINE_BYTES: Final = 100_000
"""Texts of more bytes than this are tokenised in a thread."""

REACH_TIMEOUT_S: Final = 10.0
"""For a connection to a server that could not be reached before."""

_MAX_NAME: Final = 256

_CLIENT_ERRORS: Final = range(400, 500)
_NOT_THE_TASKS: Final = frozenset({401, 402, 408, 429})
"""Statuses below 500 that say nothing against the request: no key, unpaid, too slow, too many."""

_TOO_LONG_CODES: Final = frozenset({"context_length_exceeded", "max_tokens_per_request"})

_SAYS_TOO_LONG: Final = re.compile(
    r"context (length|window|size)|input length|sequence length|too (long|large|many tokens)"
    r"|must have less than \d+ tokens|tokens per request",
    re.IGNORECASE,
)
_SAYS_NO_MODEL: Final = re.compile(
    r"model\b.*\b(not exist|not found|no access)|invalid model|unknown model", re.IGNORECASE
)
_SAYS_NO_EMBEDDINGS: Final = re.compile(r"embeddings from this model", re.IGNORECASE)
_SAYS_BAD_INPUT: Final = re.compile(r"\binput\b", re.IGNORECASE)
"""How OpenAI, vLLM, llama.cpp and text-embeddings-inference put it; only few errors have codes."""


class OpenAIEmbedder(RemoteEmbedder):
    """Embeds through `POST /embeddings`.

    Tokens are counted by tiktoken's tables where they can be had, and are else taken to be as many
    as the text has bytes. Without tables a text of more than 8,192 bytes may or may not be too
    long; it is sent, and OpenAI says. Proxies are those of the environment, such as `HTTPS_PROXY`.

    Args:
        api_key: the key; a server that asks for none takes any.
        base_url: root of the API, with its version.
        default_model: what runs for tasks that name no model.
        dimensions: length to ask of the vectors; `None` takes what the model gives.
        long_text: what happens to a text of more than `max_text_tokens`.
        timeout_s: bound on one request, to the last byte of its answer, seconds.
        concurrency: requests in flight at once.
        max_inputs: most texts in a request.
        max_tokens: most tokens in a request.
        max_text_tokens: most tokens in a text.
        guard: guards every request.
        tables: where encodings come from.
        max_answer_bytes: longest answer that is read.
        clock: seconds since the epoch.

    Raises:
        Misconfigured: the key cannot be sent in a header, or `base_url` is not an address.
    """

    provider = OPENAI

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str = OPENAI_URL,
        default_model: str = "text-embedding-3-small",
        dimensions: int | None = None,
        long_text: LongText = "fail",
        timeout_s: float = 60.0,
        concurrency: int = 5,
        max_inputs: int = MAX_INPUTS,
        max_tokens: int = MAX_TOKENS,
        max_text_tokens: int = MAX_TEXT_TOKENS,
        guard: Guard = unguarded,
        tables: TokenTables | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            default_model=default_model,
            dimensions=dimensions,
            long_text=long_text,
            concurrency=concurrency,
            max_inputs=max_inputs,
            max_tokens=max_tokens,
            max_text_bytes=max_text_tokens * BYTES_PER_TOKEN,
            guard=guard,
        )
        if not is_token(api_key):
            raise Misconfigured("OPENAI_API_KEY", "must be printable ASCII without spaces")
        self._api_key = api_key
        self._base_url = read_base_url("OPENAI_BASE_URL", base_url)
        self._timeout_s = timeout_s
        self._max_text_tokens = max_text_tokens
        self._tables = tables or TokenTables()
        self._max_answer_bytes = max_answer_bytes
        self._clock = clock
        self._client: AsyncOpenAI | None = None

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self._base_url!r}, ***)"

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        if self._client is None:
            self._client = make_client(
                self._api_key,
                self._base_url,
                timeout_s=self._timeout_s,
                provider=OPENAI,
                max_answer_bytes=self._max_answer_bytes,
            )
            self._tables.ready(self._default_model)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def canonical_model(self, model: str | None) -> str:
        """Return the name as it came; whether there is such a model only OpenAI knows.

        Raises:
            InvalidTask: `unsupported_model`; no model has such a name.
        """
        if model is None:
            return self._default_model
        if len(model) > _MAX_NAME or not model.isprintable():
            raise InvalidTask("unsupported_model", f"{model[:60]!r} is not the name of a model")
        return model

    async def call(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Called:
        """Send one request, once.

        Args:
            model: the model's name.
            texts: 1 to 2,048 texts that are not empty.
            dimensions: length to ask of the vectors.

        Raises:
            InvalidTask: `model_not_found`, `unsupported_model`; or, because of one of the texts,
                `input_too_long`, `invalid_text`.
            Unavailable: out of reach, 429 or 5xx, or too slow.
            QuotaExhausted: 429, and the account is the reason.
            BadAnswer: not what the API promises.
            Unauthorized: the key is refused.
            NotFound: there is no such API at the address.
            Refused: any other 4xx.
        """
        outcome = await self._post(model, texts, dimensions)
        # Raised here, where no exception of the SDK, which holds the key, is its context.
        if isinstance(outcome, ErrorAnswer):
            raise self._translate(outcome)
        if isinstance(outcome, AletheiaError):
            raise outcome
        try:
            answer = load_object(outcome)
            vectors = read_vectors(answer, len(texts))
        except ValueError as error:
            raise make_bad_answer(OPENAI, str(error), outcome, self._api_key) from None
        tokens = read_tokens(answer)
        return Called(
            vectors=self._check_vectors(model, vectors),
            tokens=sum(map(self._bound, texts)) if tokens is None else tokens,
            is_estimate=tokens is None,
            model=as_text(answer.get("model")) or model,
        )

    async def _reach(self) -> None:
        url = URL(self._base_url)
        if url.host is None or getproxies():
            return  # a proxy says itself whether it reaches the server
        try:
            async with asyncio.timeout(REACH_TIMEOUT_S):
                _, writer = await asyncio.open_connection(url.host, url.port)
        except (OSError, TimeoutError) as error:
            raise Unreachable(OPENAI, f"no connection ({type(error).__name__})") from None
        writer.close()

    async def _send(self, model: str, parts: Sequence[Part]) -> Called:
        return await self.call(model, [part.text for part in parts], self._asked_dimensions)

    async def _post(
        self, model: str, texts: Sequence[str], dimensions: int | None
    ) -> bytes | ErrorAnswer | AletheiaError:
        """Send one request and read its answer."""
        if self._client is None:
            raise RuntimeError("the client is not open")
        create = self._client.embeddings.with_streaming_response.create
        return await exchange(
            # The SDK looks at each text as it might be a parameter to rename, which takes longer
            # than reading the answer; what stands in `extra_body` goes as it is.
            lambda: create(
                input=[],
                extra_body={"input": list(texts)},
                model=model,
                dimensions=omit if dimensions is None else dimensions,
                encoding_format="base64",
            ),
            provider=OPENAI,
            timeout_s=self._timeout_s,
            clock=self._clock,
        )

    def _translate(self, answer: ErrorAnswer) -> AletheiaError:
        """Build the error that an answer means: the task's own fault, or anything else."""
        if code := _read_task_fault(answer):
            said = answer.show(self._api_key)
            return InvalidTask(code, said or f"{OPENAI} refused the text with {answer.status}")
        return answer.to_error(OPENAI, self._api_key)

    def _token_bound(self, model: str, text: str) -> int:  # noqa: ARG002 - as the base names it
        return self._bound(text)

    def _bound(self, text: str) -> int:
        """Bound the tokens of a text that is accepted, without tables."""
        return min(count_bytes(text), self._max_text_tokens)

    async def _cut(
        self, model: str, texts: Sequence[tuple[int, str]]
    ) -> list[list[Part] | InvalidTask]:
        sizes = [count_bytes(text) for _, text in texts]
        is_open = max(sizes) > self._max_text_tokens or sum(sizes) > self._max_tokens
        # Where bytes settle everything, nobody waits for tables.
        encoding = await self._tables.find(model) if is_open else self._tables.ready(model)
        if encoding is None:
            return [self._cut_uncounted(owner, text) for owner, text in texts]
        if sum(sizes) <= INLINE_BYTES:
            return self._cut_counted(encoding, texts)
        return await asyncio.to_thread(self._cut_counted, encoding, texts)

    def _cut_counted(
        self, encoding: Encoding, texts: Sequence[tuple[int, str]]
    ) -> list[list[Part] | InvalidTask]:
        return [self._cut_one(encoding, owner, text) for owner, text in texts]

    def _cut_one(self, encoding: Encoding, owner: int, text: str) -> list[Part] | InvalidTask:
        windows = split_text(encoding, text, self._max_text_tokens)
        if len(windows) == 1:
            return [Part(owner, *windows[0])]
        if self._long_text == "truncate":
            return [Part(owner, *windows[0], is_truncated=True)]
        if self._long_text == "chunk":
            return [Part(owner, *window) for window in windows]
        tokens = sum(count for _, count in windows)
        return InvalidTask(
            TOO_LONG,
            f"the text has about {tokens:,} tokens, the model reads {self._max_text_tokens:,}",
        )

    def _cut_uncounted(self, owner: int, text: str) -> list[Part]:
        return [Part(owner, text, self._bound(text))]

    def _shorten(self, part: Part) -> list[Part]:
        """Return half of a part, or in windows both halves, as the limit is known to the server."""
        halves = halve(part.text)
        if halves is None:
            return []
        if self._long_text == "truncate":
            halves = halves[:1]
        is_truncated = self._long_text == "truncate"
        return [Part(part.owner, half, self._bound(half), is_truncated) for half in halves]


def read_vectors(answer: dict[str, Any], count: int) -> list[Vector]:
    """Read the vectors and put them in the order of the texts, which theirs need not be.

    Raises:
        ValueError: they are not one vector for each text.
    """
    data = answer.get("data")
    if not isinstance(data, list):
        raise ValueError("no list of vectors")  # noqa: TRY004 - readers raise ValueError
    entries = cast("list[object]", data)
    if len(entries) != count:
        raise ValueError(f"{len(entries)} vectors for {count} texts")
    vectors: dict[int, Vector] = {}
    for entry in entries:
        found = as_object(entry)
        index = found.get("index")
        if type(index) is not int or not 0 <= index < count or index in vectors:
            shown = index if isinstance(index, int | None) else "that is no number"
            raise ValueError(f"a vector with index {shown}"[:60])
        vectors[index] = _read_embedding(found.get("embedding"))
    return [vectors[index] for index in range(count)]


def _read_embedding(embedding: object) -> Vector:
    """Read a vector as base64 of little-endian float32; servers that know no base64 send a list.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(embedding, str):
        return read_vector(embedding)
    try:
        raw = base64.b64decode(embedding, validate=True)
    except binascii.Error:
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
        if type(tokens) is int and tokens > 0:
            return tokens
    return None


def _read_task_fault(answer: ErrorAnswer) -> str | None:
    """Return the code of the task's fault that a refusal speaks of; `None` if it is no task's."""
    if answer.status not in _CLIENT_ERRORS or answer.status in _NOT_THE_TASKS:
        return None
    if answer.code == "model_not_found" or _SAYS_NO_MODEL.search(answer.message):
        return "model_not_found"
    if _SAYS_NO_EMBEDDINGS.search(answer.message):
        return "unsupported_model"
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or answer.code in _TOO_LONG_CODES:
        return TOO_LONG
    is_about_input = not answer.param or answer.param.startswith("input")
    return _read_text_fault(answer) if answer.status in (400, 422) and is_about_input else None


def _read_text_fault(answer: ErrorAnswer) -> str | None:
    if _SAYS_TOO_LONG.search(answer.message):
        return TOO_LONG
    says_bad_input = _SAYS_BAD_INPUT.search(f"{answer.param} {answer.message}")
    return "invalid_text" if says_bad_input else None
