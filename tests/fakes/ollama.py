"""A strict Ollama server with the endpoints for embeddings and models.

Statuses and messages are those of https://github.com/ollama/ollama/blob/main/server/routes.go. It
is stricter in one thing: Ollama overlooks properties that it does not know, this refuses them.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import orjson
from aiohttp import hdrs, web
from numpy.typing import NDArray

from aletheia.adapters.mock.embedder import mock_vector
from tests.fakes.faults import Faults

Spoil: TypeAlias = Literal["nan", "nan_500", "zeros", "short"]

_PROPERTIES: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "embed": {
        "model": str,
        "input": (str, list),
        "truncate": bool,
        "dimensions": int,
        "keep_alive": (str, int, float),
        "options": dict,
    },
    "generate": {
        "model": str,
        "prompt": str,
        "stream": bool,
        "keep_alive": (str, int, float),
        "options": dict,
    },
    "pull": {"model": str, "insecure": bool, "stream": bool},
    "show": {"model": str, "verbose": bool},
}
_METHODS = {
    "embed": "POST",
    "generate": "POST",
    "pull": "POST",
    "show": "POST",
    "tags": "GET",
    "ps": "GET",
    "version": "GET",
}

_ANSWERS_NAN: Mapping[Spoil, tuple[int, str]] = {
    "nan": (400, "embedding contains NaN or Inf values"),
    "nan_500": (500, "failed to encode response: json: unsupported value: NaN"),
}


@dataclass(slots=True)
class Model:
    """A model that can be downloaded or is installed.

    Attributes:
        dimensions: length of its vectors.
        context: most tokens of a text that it reads.
        layers: sizes of what is downloaded, bytes.
        gives_embeddings: whether it is good for that.
        memory: what it takes in memory, bytes; as much as its layers if that is 0.
        embed: makes the vector of a text, `(dimensions,)`; `None` hashes model and text.
    """

    dimensions: int = 768
    context: int = 2048
    layers: Sequence[int] = (700, 250, 50)
    gives_embeddings: bool = True
    memory: int = 0
    embed: Callable[[str], NDArray[np.float32]] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived."""

    endpoint: str
    body: Mapping[str, Any]

    @property
    def texts(self) -> list[str]:
        """The texts to embed."""
        given = self.body.get("input", [])
        return [given] if isinstance(given, str) else given


@dataclass(slots=True)
class FakeOllama(Faults):
    """Answers with unit vectors that depend on model and text only. A token is a word.

    Attributes:
        url: its root, once it is served.
        registry: what can be downloaded, by name without `:latest`.
        models: what is installed, by name without `:latest`.
        loaded: what is in memory, by name without `:latest`.
        expires_at: Unix time at which a model is unloaded if nobody asks for it; what has none
            stays for a moment in 2026 that the tests do not reach.
        loads: names of the models that were loaded, in order; one that was there is not.
        load_s: how long it takes to load a model.
        unload_s: how long a model stays loaded that is to go.
        ignores_truncate: whether it refuses long texts even where it is asked to truncate them.
        count_tokens: counts the tokens of a text.
        max_inputs: most texts in a request.
        counts_tokens: whether it says how many tokens it has read; old versions do not.
        spoils: by text, what is wrong with its vector.
        partial: bytes of each layer that are there, by digest; a download goes on from them.
        step: bytes that one line of a download's progress brings.
        pull_fault: what the next download does once it has reached `pull_fault_at` bytes: it
            `stalls` and says nothing, `repeats` that nothing comes, `dies` with its connection,
            or `fails` with an error.
        verify_s: how long a download says nothing once all bytes are there.
        delay_s: how long every answer takes.
        requests: every request, in the order of arrival.
        max_in_flight: most requests for embeddings that were under way at one time.
        embed_s: how long a request for embeddings uses its model.
    """

    url: str = ""
    registry: dict[str, Model] = field(default_factory=lambda: {"nomic-embed-text": Model()})
    models: dict[str, Model] = field(default_factory=dict[str, Model])
    loaded: dict[str, Model] = field(default_factory=dict[str, Model])
    expires_at: dict[str, float] = field(default_factory=dict[str, float])
    loads: list[str] = field(default_factory=list[str])
    load_s: float = 0.0
    unload_s: float = 0.0
    ignores_truncate: bool = False
    count_tokens: Callable[[str], int] = lambda text: len(text.split())
    max_inputs: int = 10_000
    counts_tokens: bool = True
    spoils: dict[str, Spoil] = field(default_factory=dict[str, Spoil])
    partial: dict[str, int] = field(default_factory=dict[str, int])
    step: int = 100
    pull_fault: Literal["stalls", "repeats", "dies", "fails"] | None = None
    pull_fault_at: int = 500
    verify_s: float = 0.0
    delay_s: float = 0.0
    requests: list[Request] = field(default_factory=list[Request])
    in_flight: int = 0
    max_in_flight: int = 0
    embed_s: float = 0.0
    _loading: dict[str, asyncio.Lock] = field(default_factory=dict[str, asyncio.Lock])
    _keep: dict[str, int] = field(default_factory=dict[str, int])
    _using: dict[str, int] = field(default_factory=dict[str, int])
    _runner: web.ServerRunner | None = None

    def __post_init__(self) -> None:
        Faults.__init__(self)

    def install(self, name: str = "nomic-embed-text", **about: Any) -> Model:
        """Install a model on the server's disk."""
        self.models[name] = Model(**about)
        return self.models[name]

    def count(self, endpoint: str) -> int:
        """Count the requests to an endpoint."""
        return sum(request.endpoint == endpoint for request in self.requests)

    @property
    def sent(self) -> list[list[str]]:
        """The texts of every request for embeddings, in the order of arrival."""
        return [request.texts for request in self.requests if request.endpoint == "embed"]

    def vector(self, model: str, text: str) -> NDArray[np.float32]:
        """Return the vector of a text that is not too long."""
        installed = self.models[model]
        if installed.embed is not None:
            return installed.embed(text)
        return mock_vector(model, text, installed.dimensions)

    async def start(self) -> str:
        """Listen on a free port of 127.0.0.1 and give the root."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        endpoint = request.path.removeprefix("/api/")
        raw = await request.content.read()  # unlike request.read() without a limit
        body = _load(raw)
        self.requests.append(Request(endpoint, body if isinstance(body, dict) else {}))
        self.in_flight += endpoint == "embed"
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            return await self.show_or(
                request, endpoint, lambda: self._answer(request, endpoint, body)
            )
        finally:
            self.in_flight -= endpoint == "embed"

    async def _answer(
        self, request: web.BaseRequest, endpoint: str, body: dict[str, Any] | str
    ) -> web.StreamResponse:
        if not request.path.startswith("/api/") or endpoint not in _METHODS:
            return web.Response(status=404, text="404 page not found")
        if request.method != _METHODS[endpoint]:
            return web.Response(status=405, text="405 method not allowed")
        if request.method == "GET":
            return self._list(endpoint)
        checked = body if isinstance(body, str) else _check(endpoint, body)
        if isinstance(checked, str):
            return refuse(400, checked)
        if endpoint == "pull":
            return await self._pull(request, checked)
        return await self._answer_about(endpoint, checked)

    async def _answer_about(self, endpoint: str, body: Mapping[str, Any]) -> web.Response:
        asked = body.get("model", "")
        model = short(asked)
        if model not in self.models:
            return refuse(404, f"model '{asked}' not found")
        match endpoint:
            case "embed":
                return await self._embed(model, body)
            case "generate":
                return self._generate(model, body)
            case _:
                return self._show(model)

    async def _load(self, name: str, keep_alive: float | None) -> None:
        """Load a model if it is not there; once, however many requests come meanwhile."""
        async with self._loading.setdefault(name, asyncio.Lock()):
            if name not in self.loaded:
                await asyncio.sleep(self.load_s)
                self.loads.append(name)
                self.loaded[name] = self.models[name]
        if keep_alive is not None:
            self._keep[name] = int(keep_alive)
        if keep := self._keep.get(name):
            self.expires_at[name] = time.time() + keep

    def _unload(self, name: str) -> None:
        """Unload a model, after the answer and after its requests under way."""

        def try_to() -> None:
            if self._using.get(name):
                asyncio.get_running_loop().call_later(0.01, try_to)
            else:
                for facts in (self.loaded, self.expires_at, self._keep):
                    facts.pop(name, None)

        asyncio.get_running_loop().call_later(self.unload_s, try_to)

    def _generate(self, name: str, body: Mapping[str, Any]) -> web.Response:
        """Unload a model; there is nothing here that generates."""
        answer = {"model": body["model"], "created_at": "2026-11-21T11:00:00Z", "response": ""}
        if not body.get("prompt") and body.get("keep_alive") == 0:
            if name in self.loaded:
                self._unload(name)
            return respond({**answer, "done": True, "done_reason": "unload"})
        return refuse(400, f'"{body["model"]}" does not support generate')

    def _list(self, endpoint: str) -> web.Response:
        if endpoint == "version":
            return respond({"version": "0.12.6"})
        listed = self.models if endpoint == "tags" else self.loaded
        entries: list[dict[str, Any]] = []
        for name, model in listed.items():
            full = name if ":" in name else f"{name}:latest"
            entry: dict[str, Any] = {
                "name": full,
                "model": full,
                "size": (listed is self.loaded and model.memory) or sum(model.layers),
                "digest": hashlib.sha256(full.encode()).hexdigest(),
                "details": {"format": "gguf", "family": "nomic-bert"},
            }
            if endpoint == "ps":
                entry |= {"size_vram": 0, "expires_at": self._expiry(name)}
                entry["context_length"] = model.context
            else:
                entry["modified_at"] = "2026-11-21T11:00:00Z"
            entries.append(entry)
        return respond({"models": entries})

    def _expiry(self, name: str) -> str:
        """Write the moment as Go does, to the nanosecond."""
        at = self.expires_at.get(name)
        if at is None:
            return "2026-11-21T12:00:00Z"
        whole = datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{whole}.{int(at % 1 * 1e9):09d}Z"

    def _show(self, name: str) -> web.Response:
        model = self.models[name]
        return respond(
            {
                "modelfile": f"FROM {name}",
                "details": {"format": "gguf", "family": "nomic-bert"},
                "model_info": {
                    "general.architecture": "nomic-bert",
                    "nomic-bert.context_length": model.context,
                    "nomic-bert.embedding_length": model.dimensions,
                },
                "capabilities": ["embedding" if model.gives_embeddings else "completion"],
            }
        )

    async def _embed(self, name: str, body: Mapping[str, Any]) -> web.Response:
        keep_alive = body.get("keep_alive")
        if len(body.get("input", [])) > self.max_inputs:
            return refuse(400, "invalid request")
        await self._load(name, keep_alive if isinstance(keep_alive, int | float) else None)
        self._using[name] = self._using.get(name, 0) + 1
        try:
            if self.embed_s:
                await asyncio.sleep(self.embed_s)
            return self._vectors(name, body)
        finally:
            self._using[name] -= 1
            if body.get("keep_alive") == 0:
                self._unload(name)

    def _vectors(self, name: str, body: Mapping[str, Any]) -> web.Response:
        model, given = self.models[name], body.get("input", [])
        texts: list[Any] = [given] if isinstance(given, str) else given
        if not all(isinstance(text, str) for text in texts):
            return refuse(400, "invalid input type")
        if not texts:  # with nothing else: durations are given only where there are texts
            return respond({"model": body["model"], "embeddings": []})
        if not model.gives_embeddings:
            return refuse(501, "this model does not support embeddings")
        vectors: list[list[float]] = []
        tokens = 0
        for text in texts:
            words = text.split()
            truncates = body.get("truncate", True) and not self.ignores_truncate
            if self.count_tokens(text) > model.context and not truncates:
                return refuse(400, "the input length exceeds the context length")
            read = text if len(words) <= model.context else " ".join(words[: model.context])
            tokens += min(len(words), model.context)
            spoil = self.spoils.get(text)
            if spoil is not None and spoil in _ANSWERS_NAN:
                return refuse(*_ANSWERS_NAN[spoil])
            vector = self.vector(name, read)
            if dimensions := body.get("dimensions"):
                vector = vector[:dimensions] / np.linalg.norm(vector[:dimensions])
            if spoil == "zeros":
                vector[:] = 0
            vectors.append(vector[: -1 if spoil == "short" else None].tolist())
        answer: dict[str, Any] = {
            "model": body["model"],
            "embeddings": vectors,
            "total_duration": 14143917,
            "load_duration": 1019500,
        }
        if self.counts_tokens:
            answer["prompt_eval_count"] = tokens
        return respond(answer)

    async def _pull(self, request: web.BaseRequest, body: Mapping[str, Any]) -> web.StreamResponse:
        name = short(body.get("model", ""))
        if not name or " " in name:
            return refuse(400, "invalid model name")
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/x-ndjson"})
        await response.prepare(request)

        async def say(**event: Any) -> None:
            await response.write(orjson.dumps(event) + b"\n")

        await say(status="pulling manifest")
        model = self.registry.get(name)
        if model is None:
            await say(error="pull model manifest: file does not exist")
            return response
        for number, total in enumerate(model.layers):
            digest = f"sha256:{hashlib.sha256(f'{name} {number}'.encode()).hexdigest()}"
            status = f"pulling {digest[7:19]}"
            completed = self.partial.get(digest, 0)
            while True:
                # Ollama leaves out a number that is 0.
                known = {"completed": completed} if completed else {}
                await say(status=status, digest=digest, total=total, **known)
                if completed == total:
                    break
                if self.pull_fault and sum(self.partial.values()) >= self.pull_fault_at:
                    await self._fail_pull(
                        request, say, {"status": status, "digest": digest, "total": total, **known}
                    )
                    return response
                completed = min(total, completed + self.step)
                self.partial[digest] = completed
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            await say(status=status)
            if status == "verifying sha256 digest":
                await asyncio.sleep(self.verify_s)
        self.models[name] = model
        return response

    async def _fail_pull(
        self,
        request: web.BaseRequest,
        say: Callable[..., Any],
        line: Mapping[str, Any],
    ) -> None:
        fault, self.pull_fault = self.pull_fault, None
        match fault:
            case "stalls":
                await asyncio.Event().wait()
            case "repeats":
                with contextlib.suppress(ConnectionError):
                    while True:
                        await say(**line)
                        await asyncio.sleep(0.005)
            case "fails":
                await say(error="max retries exceeded: unexpected EOF")
            case _:
                transport = request.transport
                assert transport is not None
                transport.abort()
                raise asyncio.CancelledError


def short(model: str) -> str:
    """Take the tag `:latest` off a name."""
    return model.removesuffix(":latest")


def _load(raw: bytes) -> dict[str, Any] | str:
    """Read the object of a request's body, or say what is wrong with it."""
    if not raw:
        return "missing request body"
    try:
        body: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "invalid character in JSON"
    return cast("dict[str, Any]", body) if isinstance(body, dict) else "json: cannot unmarshal"


def _check(endpoint: str, body: dict[str, Any]) -> dict[str, Any] | str:
    """Return a request's properties, or what is wrong with them."""
    for name, value in body.items():
        kinds = _PROPERTIES[endpoint].get(name)
        if kinds is None:
            return f'json: unknown field "{name}"'
        if not isinstance(value, kinds) or (kinds is not bool and isinstance(value, bool)):
            if name == "input":
                return "invalid input type"
            return f"json: cannot unmarshal {type(value).__name__} into Go struct field .{name}"
    return body


def respond(answer: Mapping[str, Any], status: int = 200) -> web.Response:
    """Answer with a JSON object."""
    headers = {hdrs.CONTENT_TYPE: "application/json; charset=utf-8"}
    return web.Response(status=status, body=orjson.dumps(answer), headers=headers)


def refuse(status: int, message: str) -> web.Response:
    """Answer with an error as Ollama writes it."""
    return respond({"error": message}, status)


@contextlib.asynccontextmanager
async def serve_fake_ollama(**options: Any) -> AsyncGenerator[FakeOllama]:
    """Serve a fake Ollama server; its root is `url`."""
    fake = FakeOllama(**options)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()
