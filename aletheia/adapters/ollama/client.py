"""The native API of an Ollama server: https://github.com/ollama/ollama/blob/main/docs/api.md."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any, Final, TypeVar

import orjson
from yarl import URL

from aletheia.adapters.embedding.parts import read_vector
from aletheia.adapters.http import HttpClient, read_base_url
from aletheia.adapters.http_answers import Answer, as_text, load_object
from aletheia.adapters.ollama.pull import Pull
from aletheia.adapters.ollama.wire import (
    OLLAMA,
    Embeddings,
    ServerModel,
    model_key,
    read_context,
    read_late_error,
    read_list,
    read_models,
    read_number,
    to_error,
)
from aletheia.analysis.model_manager import PullProgress
from aletheia.errors import BadAnswer, Unavailable, WrongCount

T = TypeVar("T")

ADDRESS: Final = "OLLAMA_BASE_URL"
"""The setting that errors point to."""

OLLAMA_URL: Final = "http://localhost:11434"

MAX_ANSWER_BYTES: Final = 64 * 2**20
"""Longest answer that is read, bytes."""

ANSWER_BYTES: Final = 2**20
TEXT_ANSWER_BYTES: Final = 2**19
"""Longest answer without vectors, and what each adds; 16,384 numbers written out are 360 kB."""

MAX_ANSWER_VALUES: Final = 8_000_000
"""Most numbers in an answer that is read."""

CONNECT_TIMEOUT_S: Final = 10.0

UNLOAD_LOOK_S: Final = 0.05
"""Between two looks whether a model is unloaded; the server answers before it is."""


class OllamaClient:
    """An Ollama server at one address. Nothing is retried here; loading is part of a request."""

    stall_s: float = 60.0  # how long a download may bring nothing
    max_answer_bytes = MAX_ANSWER_BYTES

    def __init__(
        self,
        base_url: str = OLLAMA_URL,
        *,
        timeout_s: float = 120.0,
        pull_timeout_s: float = 600.0,
    ) -> None:
        self._base_url = read_base_url(ADDRESS, base_url)
        self._timeout_s, self._pull_timeout_s = timeout_s, pull_timeout_s
        self._http = HttpClient(
            OLLAMA, address=ADDRESS, timeout_s=timeout_s, connect_timeout_s=CONNECT_TIMEOUT_S
        )

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        await self._http.open()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._http.close()

    async def version(self) -> str:
        """Ask which version the server is."""
        answer = await self._ask("GET", "version", None, lambda answer: answer)
        if not (version := as_text(answer.get("version"))):
            raise BadAnswer(OLLAMA, "no version", status=HTTPStatus.OK)
        return version

    async def installed(self) -> list[ServerModel]:
        """List the models on the server's disk."""
        return await self._ask("GET", "tags", None, read_models)

    async def loaded(self) -> list[ServerModel]:
        """List the models in the server's memory."""
        return await self._ask("GET", "ps", None, read_models)

    async def context_length(self, model: str) -> int | None:
        """Ask how many tokens a model reads; `None` where the server does not say."""
        return await self._ask("POST", "show", {"model": model}, read_context)

    async def embed(
        self,
        model: str,
        texts: Sequence[str],
        *,
        truncate: bool = False,
        dimensions: int | None = None,
        keep_alive_s: float | None = None,
    ) -> Embeddings:
        """Embed texts in one request; without any texts, only load the model.

        `truncate` asks the server to leave out the end of a text that is too long. The model then
        stays loaded for `keep_alive_s`; 0 unloads it. `InvalidTask`: `model_not_found`,
        `unsupported_model`, or `input_too_long` for one text. `ComputeFailed`: `bad_vector`, one of
        the texts makes the model give NaN. `WrongCount`: not one vector for each text.
        """
        body: dict[str, Any] = {"model": model, "input": list(texts), "truncate": truncate}
        if dimensions is not None:
            body["dimensions"] = dimensions
        if keep_alive_s is not None:
            body["keep_alive"] = keep_alive_s

        def read(answer: Mapping[str, Any]) -> Embeddings:
            vectors = [read_vector(vector) for vector in read_list(answer, "embeddings")]
            tokens = read_number(answer, "prompt_eval_count")
            return Embeddings(vectors, tokens, as_text(answer.get("model")) or model)

        max_bytes = ANSWER_BYTES + TEXT_ANSWER_BYTES * len(texts)
        embeddings = await self._ask("POST", "embed", body, read, max_bytes=max_bytes)
        if len(embeddings.vectors) != len(texts):
            raise WrongCount(OLLAMA, len(embeddings.vectors), len(texts))
        return embeddings

    async def load(
        self, model: str, *, keep_alive_s: float | None = None
    ) -> tuple[ServerModel, float]:
        """Load a model by a request without texts; return it and the seconds taken."""
        started = time.monotonic()
        await self.embed(model, [], keep_alive_s=keep_alive_s)
        load_s = time.monotonic() - started
        loaded = await self.find_loaded(model)
        if loaded is None:
            raise BadAnswer(OLLAMA, f"{model!r} was loaded, and is not listed in api/ps")
        return loaded, load_s

    async def unload(self, model: str) -> None:
        """Unload a model once its requests under way have ended; `Unavailable` if they do not.

        Asked of `/api/generate`, as `/api/embed` would first load a model that is not there.
        """
        body = {"model": model, "keep_alive": 0}
        reason = await self._ask(
            "POST", "generate", body, lambda answer: as_text(answer.get("done_reason"))
        )
        if reason != "unload":
            raise BadAnswer(OLLAMA, f"asked to unload {model!r}, it says {reason[:100]!r}")
        try:
            async with asyncio.timeout(self._timeout_s):
                while await self.find_loaded(model):  # noqa: ASYNC110 - a server tells nobody
                    await asyncio.sleep(UNLOAD_LOOK_S)
        except TimeoutError:
            late = f"{model!r} is still loaded after {self._timeout_s:g} s"
            raise Unavailable(OLLAMA, late) from None

    async def find_loaded(self, model: str) -> ServerModel | None:
        """Find a model among those in the server's memory."""
        wanted = model_key(model)
        return next((each for each in await self.loaded() if model_key(each.name) == wanted), None)

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Download a model, or go on with it; `InvalidTask` if there is none, or `Unavailable`."""
        pull = Pull(model)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._pull_timeout_s
        stalls_at = loop.time() + self.stall_s
        try:
            async with AsyncExitStack() as closing:
                async with asyncio.timeout_at(min(ends_at, stalls_at)):
                    content = await closing.enter_async_context(
                        self._http.stream(
                            "POST", self._url("pull"), body=orjson.dumps({"model": model})
                        )
                    )
                if isinstance(content, Answer):
                    raise to_error(content)
                while True:
                    async with asyncio.timeout_at(min(ends_at, stalls_at)):
                        progress = await pull.read_next(content)
                    if progress is None:
                        continue
                    yield progress
                    if progress.status == "success":
                        return
                    stalls_at = loop.time() + self.stall_s if pull.expects_bytes else ends_at
        except TimeoutError:
            if loop.time() >= ends_at:
                reason = f"{pull} is not complete within {self._pull_timeout_s:g} s"
            else:
                reason = f"{pull} brought nothing for {self.stall_s:g} s"
            raise Unavailable(OLLAMA, reason) from None

    async def _ask(
        self,
        method: str,
        endpoint: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Mapping[str, Any]], T],
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> T:
        """Send a request and read its answer; `read` raises `ValueError` where it is none."""
        answer = await self._http.exchange(
            method,
            self._url(endpoint),
            body=None if body is None else orjson.dumps(body),
            max_bytes=min(self.max_answer_bytes, max_bytes),
        )
        if not answer.is_success:
            raise to_error(answer)
        value = answer.read(lambda raw: load_object(raw, max_values=MAX_ANSWER_VALUES))
        if error := read_late_error(value):
            raise error
        return answer.read(lambda _: read(value))

    def _url(self, endpoint: str) -> URL:
        return URL(f"{self._base_url}/api/{endpoint}")
