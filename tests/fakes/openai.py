"""A strict OpenAI API, as far as embeddings go.

Statuses, codes and messages are those of https://platform.openai.com/docs/api-reference/embeddings
and https://platform.openai.com/docs/guides/error-codes.
"""

import asyncio
import base64
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import orjson
import tiktoken
from aiohttp import hdrs, web
from numpy.typing import NDArray

from aletheia.adapters.mock.embedder import mock_vector
from tests.fakes.faults import Faults

Spoil: TypeAlias = Literal["nan", "infinite", "zeros", "short"]

DIMENSIONS: Mapping[str, int] = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
FIXED = "text-embedding-ada-002"
"""The model that does not take `dimensions`."""

HANGS = 1
"""In place of a status: no answer comes."""

_RAW = frozenset({200, 302, 403})
"""Statuses that come from something in front of the API, which knows nothing of its errors."""

_PROPERTIES: Mapping[str, type | tuple[type, ...]] = {
    "model": str,
    "input": (str, list),
    "dimensions": int,
    "encoding_format": str,
    "user": str,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived; `texts` is empty where it was none for embeddings."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    texts: Sequence[str]


class FakeOpenAI(Faults):
    """Answers `POST /v1/embeddings` with unit vectors that depend on model and text only.

    A token is a word, unless `count` says otherwise.

    Attributes:
        url: root of the API, once it is served.
        api_key: the key it takes.
        models: length of each model's vectors.
        chat_models: models that exist and give no embeddings.
        max_inputs: most texts in a request.
        max_tokens: most tokens in a request.
        max_text_tokens: most tokens in a text.
        count: counts the tokens of a text.
        shuffles: whether vectors come in an order of their own.
        knows_base64: whether it applies `encoding_format`, which not every server does.
        counts_usage: whether it says how many tokens it has read, or null.
        spoils: by text, what is wrong with its vector.
        refuses: texts that it calls invalid.
        refuses_quietly: texts that it refuses with `quiet_refusal`, a 400 that names none.
        too_many: status and body of the refusal of more texts than `max_inputs`.
        cannot: by text, status and message that every request with it ends with; status 0 hangs
            up, and those of a proxy come with the message alone.
        lacks: by text, what its entry has in place of a vector.
        indexes: which vectors say their index.
        merges: whether there is one vector for all texts of a request.
        errors_are_late: whether errors come with status 200.
        delay_s: how long every answer takes.
        requests: every request, in the order of arrival.
        max_in_flight: most requests that were under way at one time.
    """

    def __init__(self, *, api_key: str = "sk-test-0123456789abcdef") -> None:
        super().__init__()
        self.url = ""
        self.api_key = api_key
        self.models = dict(DIMENSIONS)
        self.chat_models = {"gpt-4o"}
        self.max_inputs, self.max_tokens, self.max_text_tokens = 2048, 300_000, 8192
        self.count: Callable[[str], int] = lambda text: len(text.split())
        self.shuffles = False
        self.knows_base64 = True
        self.counts_usage = True
        self.spoils: dict[str, Spoil] = {}
        self.refuses: set[str] = set()
        self.refuses_quietly: set[str] = set()
        self.quiet_refusal = b"{}"
        self.too_many: tuple[int, bytes] = (
            400,
            error_body("'$.input' is invalid. Please check the API reference."),
        )
        self.cannot: dict[str, tuple[int, str]] = {}
        self.lacks: dict[str, dict[str, Any]] = {}
        self.indexes: Literal["all", "none", "all_but_0"] = "all"
        self.merges = False
        self.errors_are_late = False
        self.delay_s = 0.0
        self.requests: list[Request] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._random = random.Random(7)
        self._runner: web.ServerRunner | None = None

    @property
    def sent(self) -> list[list[str]]:
        """The texts of every request, in the order of arrival."""
        return [list(request.texts) for request in self.requests]

    async def start(self) -> str:
        """Listen on a free port of 127.0.0.1 and give the root of the API."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self.url

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def vector(self, model: str, text: str, dimensions: int | None = None) -> NDArray[np.float32]:
        """Return the vector of a text."""
        return mock_vector(model, text, dimensions or self.models[model])

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.content.read()  # unlike request.read() without a limit
        try:
            body: Any = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        found = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        given: Any = found.get("input", [])
        texts = [given] if isinstance(given, str) else given
        self.requests.append(Request(request.path, dict(request.headers), found, texts))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            answer = await self.show_or(request, "embeddings", lambda: self._answer(request, body))
            if self.errors_are_late and answer.status >= 400:
                answer.set_status(200)
            return answer
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.BaseRequest, body: Any) -> web.StreamResponse:
        refusal = (
            self._check_caller(request)
            or self._check_form(request, body)
            or self._check_model(body)
            or self._check_input(body["input"])
        )
        if refusal is not None:
            return refusal
        given, model = body["input"], body["model"]
        texts: list[str] = [given] if isinstance(given, str) else given
        if not self.refuses_quietly.isdisjoint(texts):
            return web.Response(
                status=400, body=self.quiet_refusal, content_type="application/json"
            )
        if self.cannot.keys() & set(texts):
            status, said = next(self.cannot[text] for text in texts if text in self.cannot)
            return await _fail(request, status, said)
        is_base64 = self.knows_base64 and body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _encode(self._spoiled(model, text, body), is_base64=is_base64),
            }
            for index, text in enumerate(texts)
        ]
        for index in (index for index, text in enumerate(texts) if text in self.lacks):
            data[index] = {"object": "embedding", "index": index, **self.lacks[texts[index]]}
        for entry in data[: {"all": 0, "all_but_0": 1, "none": len(data)}[self.indexes]]:
            del entry["index"]
        if self.merges:
            del data[1:]
        if self.shuffles:
            self._random.shuffle(data)
        answer: dict[str, Any] = {"object": "list", "data": data, "model": model}
        tokens = sum(map(self.count, texts))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer["usage"] = usage if self.counts_usage else None
        return _respond(answer)

    def _spoiled(self, model: str, text: str, body: Mapping[str, Any]) -> NDArray[np.float32]:
        vector = self.vector(model, text, body.get("dimensions"))
        match self.spoils.get(text):
            case "nan":
                vector[len(vector) // 2] = np.nan
            case "infinite":
                vector[0] = np.inf
            case "zeros":
                vector[:] = 0
            case "short":
                vector = vector[:-1]
            case None:
                pass
        return vector

    def _check_caller(self, request: web.BaseRequest) -> web.Response | None:
        if (request.method, request.path) != ("POST", "/v1/embeddings"):
            return refuse(404, f"Invalid URL ({request.method} {request.path})")
        shown = request.headers.get(hdrs.AUTHORIZATION, "")
        if not shown.startswith("Bearer "):
            return refuse(401, "You didn't provide an API key.")
        key = shown.removeprefix("Bearer ")
        if key != self.api_key:
            masked = f"{key[:8]}{'*' * len(key[8:-4])}{key[-4:]}"
            return refuse(401, f"Incorrect API key provided: {masked}.", code="invalid_api_key")
        return None

    def _check_form(self, request: web.BaseRequest, body: Any) -> web.Response | None:
        if request.content_type != "application/json" or not isinstance(body, dict):
            return refuse(400, "We could not parse the JSON body of your request.")
        form = cast("dict[str, Any]", body)
        for name, value in form.items():
            if name not in _PROPERTIES:
                return refuse(400, f"Unrecognized request argument supplied: {name}")
            if isinstance(value, bool) or not isinstance(value, _PROPERTIES[name]):
                return refuse(400, f"Invalid type for '{name}'.", param=name, code="invalid_type")
        for name in ("model", "input"):
            if name not in form:
                return refuse(400, f"Missing required parameter: '{name}'.", param=name)
        if form.get("encoding_format", "float") not in ("float", "base64"):
            return refuse(400, "Invalid value for 'encoding_format'.", param="encoding_format")
        return None

    def _check_model(self, body: Mapping[str, Any]) -> web.Response | None:
        model, dimensions = body["model"], body.get("dimensions")
        if model in self.chat_models:
            return refuse(403, "You are not allowed to generate embeddings from this model")
        if model not in self.models:
            said = f"The model `{model}` does not exist or you do not have access to it."
            return refuse(404, said, code="model_not_found")
        if dimensions is not None and model == FIXED:
            return refuse(400, "This model does not support specifying dimensions.")
        if dimensions is not None and not 1 <= dimensions <= self.models[model]:
            return refuse(400, f"Invalid value for 'dimensions' = {dimensions}.")
        return None

    def _check_input(self, given: str | list[Any]) -> web.Response | None:
        texts = [given] if isinstance(given, str) else given
        is_text = all(isinstance(text, str) and text for text in texts)
        if len(texts) > self.max_inputs:
            status, body = self.too_many
            return web.Response(status=status, body=body, content_type="application/json")
        if not texts or not is_text:
            said = "'$.input' is invalid. Please check the API reference."
            return refuse(400, said)
        if self.refuses.intersection(texts):
            return refuse(400, "Invalid 'input': this text is not accepted.", param="input")
        counts = [self.count(text) for text in texts]
        max_count = max(counts)
        if max_count > self.max_text_tokens:
            return refuse(
                400,
                f"This model's maximum context length is {self.max_text_tokens} tokens, however "
                f"you requested {max_count} tokens ({max_count} in your prompt; 0 for the "
                "completion). Please reduce your prompt; or completion length.",
            )
        if sum(counts) > self.max_tokens:
            said = f"Requested {sum(counts)} tokens, max {self.max_tokens} tokens per request"
            return refuse(400, said, kind="max_tokens_per_request", code="max_tokens_per_request")
        return None


def make_encoding(*words: str) -> tiktoken.Encoding:
    """Make tables in which each of these words is a token, also with the blank before it.

    Everything else is a token a byte, as in the real tables where nothing better is known.
    """
    ranks = {bytes([byte]): byte for byte in range(256)}
    for word in words:
        for whole in (word.encode(), b" " + word.encode()):
            for end in range(2, len(whole) + 1):
                ranks.setdefault(whole[:end], len(ranks))
    return tiktoken.Encoding(
        "made_up", pat_str=r" ?\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|end|>": 100_000}
    )


def error_body(
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> bytes:
    """Write an error as OpenAI does."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return orjson.dumps({"error": error})


async def _fail(request: web.BaseRequest, status: int, said: str) -> web.Response:
    if not status and request.transport is not None:
        request.transport.abort()
    if status == HANGS:
        await asyncio.sleep(60)
    if status in _RAW:
        return web.Response(status=status, body=said.encode(), content_type="text/html")
    return refuse(status or 500, said)


def refuse(status: int, message: str, **about: Any) -> web.Response:
    """Answer with an error."""
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    return web.Response(status=status, body=error_body(message, **about), headers=headers)


def _encode(vector: NDArray[np.float32], *, is_base64: bool) -> str | list[float]:
    if is_base64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()


def _respond(answer: Mapping[str, Any]) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    return web.Response(body=orjson.dumps(answer), headers=headers)


@asynccontextmanager
async def serve_fake_openai(**options: Any) -> AsyncGenerator[FakeOpenAI]:
    """Serve a fake OpenAI API; its root is `url`."""
    fake = FakeOpenAI(**options)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()
