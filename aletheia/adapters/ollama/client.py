"""The native API of an Ollama server: https://github.com/ollama/ollama/blob/main/docs/api.md."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import aiohttp
import orjson
from aiohttp.http_exceptions import LineTooLong
from yarl import URL

from aletheia.adapters.embedding.remote import TOO_LONG, Vector, read_vector
from aletheia.adapters.http import HttpClient, read_base_url
from aletheia.adapters.http_answers import Answer, as_object, as_text, excerpt, load_object
from aletheia.analysis.model_manager import PullProgress
from aletheia.errors import AletheiaError, BadAnswer, ComputeFailed, InvalidTask, Unavailable

T = TypeVar("T")

OLLAMA: Final = "ollama"
"""What results and errors call the provider."""

ADDRESS: Final = "OLLAMA_BASE_URL"
"""The setting that errors point to."""

OLLAMA_URL: Final = "http://localhost:11434"

MAX_ANSWER_BYTES: Final = 64 * 2**20
"""Longest answer that is read, bytes."""

MAX_ANSWER_VALUES: Final = 8_000_000
"""Most numbers in an answer that is read."""

CONNECT_TIMEOUT_S: Final = 10.0

UNLOAD_LOOK_S: Final = 0.05
"""Between two looks whether a model is unloaded; the server answers before it is."""

_DOWNLOADING: Final = ("pulling", "downloading")
"""How a status begins while bytes are expected; to verify them takes long and says nothing."""

_SAYS_NO_MODEL: Final = re.compile(
    r"model\b.*\bnot found|model manifest: file does not exist|invalid model name"
    r"|model is required",
    re.IGNORECASE,
)
_TASK_FAULTS: Final = (
    (_SAYS_NO_MODEL, "model_not_found"),
    (re.compile(r"does not support embed", re.IGNORECASE), "unsupported_model"),
    (re.compile(r"(input|context) length", re.IGNORECASE), TOO_LONG),
)
_SAYS_NAN: Final = re.compile(r"\bNaN\b")
"""An error of Ollama has a message and no code."""


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model that is on the server's disk."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is in the server's memory.

    Attributes:
        vram_bytes: the part of `size_bytes` that is on a GPU.
        expires_at: ISO 8601, when it is unloaded if nobody asks for it.
    """

    name: str
    size_bytes: int
    vram_bytes: int
    expires_at: str


@dataclass(frozen=True, slots=True)
class Loading:
    """A model that was loaded, and how long that took, seconds: next to nothing if it was there."""

    model: LoadedModel
    load_s: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the server says of a model; `None` where it does not say.

    Attributes:
        context_length: tokens the model was made for; the server may be set to read fewer.
        dimensions: length of its vectors.
        capabilities: `embedding`, `completion` and others.
    """

    context_length: int | None = None
    dimensions: int | None = None
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors in the order of the texts, and the tokens of all; `None` if they were not counted."""

    vectors: list[Vector]
    tokens: int | None
    model: str


class OllamaClient:
    """An Ollama server at one address. Nothing is retried here.

    Args:
        base_url: its root, without `/api`.
        timeout_s: bound on one request, to the last byte of its answer, seconds; the server loads
            a model within it.
        pull_timeout_s: bound on the download of a model, seconds.
        stall_s: how long a download may bring nothing, seconds.
        max_answer_bytes: longest answer that is read.

    Raises:
        Misconfigured: `base_url` is not an address.
    """

    def __init__(
        self,
        base_url: str = OLLAMA_URL,
        *,
        timeout_s: float = 120.0,
        pull_timeout_s: float = 600.0,
        stall_s: float = 60.0,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._base_url = read_base_url(ADDRESS, base_url)
        self._timeout_s = timeout_s
        self._pull_timeout_s, self._stall_s = pull_timeout_s, stall_s
        self._max_answer_bytes = max_answer_bytes
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
        return await self._ask("GET", "version", None, lambda answer: _text(answer, "version"))

    async def installed(self) -> list[InstalledModel]:
        """List the models on the server's disk."""
        return await self._ask(
            "GET",
            "tags",
            None,
            lambda answer: [
                InstalledModel(_text(one, "name"), _number(one, "size") or 0, _text(one, "digest"))
                for one in _objects(answer, "models")
            ],
        )

    async def loaded(self) -> list[LoadedModel]:
        """List the models in the server's memory."""
        return await self._ask(
            "GET",
            "ps",
            None,
            lambda answer: [
                LoadedModel(
                    _text(one, "name"),
                    _number(one, "size") or 0,
                    _number(one, "size_vram") or 0,
                    _text(one, "expires_at"),
                )
                for one in _objects(answer, "models")
            ],
        )

    async def show(self, model: str) -> ModelCard:
        """Ask what a model is.

        Raises:
            InvalidTask: `model_not_found`; it is not installed.
        """
        return await self._ask("POST", "show", {"model": model}, _read_card)

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

        Args:
            model: the model's name.
            texts: texts that are not empty.
            truncate: whether the server leaves out the end of a text that is too long.
            dimensions: length to ask of the vectors.
            keep_alive_s: how long the model then stays loaded; 0 unloads it.

        Raises:
            InvalidTask: `model_not_found`, `unsupported_model`; or `input_too_long`, because of
                one of the texts.
            ComputeFailed: `bad_vector`; one of the texts makes the model give NaN.
        """
        body: dict[str, Any] = {"model": model, "input": list(texts), "truncate": truncate}
        if dimensions is not None:
            body["dimensions"] = dimensions
        if keep_alive_s is not None:
            body["keep_alive"] = keep_alive_s

        def read(answer: Mapping[str, Any]) -> Embeddings:
            vectors = [read_vector(vector) for vector in _list(answer, "embeddings")]
            if len(vectors) != len(texts):
                raise ValueError(f"{len(vectors)} vectors for {len(texts)} texts")
            tokens = _number(answer, "prompt_eval_count")
            return Embeddings(vectors, tokens, as_text(answer.get("model")) or model)

        return await self._ask("POST", "embed", body, read)

    async def load(self, model: str, *, keep_alive_s: float | None = None) -> Loading:
        """Bring a model for embeddings into the server's memory.

        A request without texts does that. The server says how long it took only where there are
        texts (https://github.com/ollama/ollama/blob/main/server/routes.go, `EmbedHandler`), so
        the time is taken here.

        Args:
            model: the model's name.
            keep_alive_s: how long it stays after each use; `None` leaves that to the server. The
                server cuts off fractions.

        Raises:
            InvalidTask: `model_not_found`; it is not installed.
            BadAnswer: the server does not list it among what is loaded.
        """
        started = time.monotonic()
        await self.embed(model, [], keep_alive_s=keep_alive_s)
        load_s = time.monotonic() - started
        loaded = await self.find_loaded(model)
        if loaded is None:
            raise BadAnswer(OLLAMA, f"{model!r} was loaded, and is not listed in api/ps")
        return Loading(loaded, load_s)

    async def unload(self, model: str) -> None:
        """Take a model out of the server's memory once its requests under way have ended.

        Asked of `/api/generate`, as `ollama stop` does: `/api/embed` would first load a model
        that is not there.

        Raises:
            InvalidTask: `model_not_found`; it is not installed.
            Unavailable: it was still loaded when the time for one request was over.
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

    async def find_loaded(self, model: str) -> LoadedModel | None:
        """Find a model among those in the server's memory."""
        wanted = model_key(model)
        return next((one for one in await self.loaded() if model_key(one.name) == wanted), None)

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Have the server download a model; one that broke off goes on from where it was.

        Yields:
            Its progress, whenever there is some.

        Raises:
            InvalidTask: `model_not_found`; there is no such model to download.
            Unavailable: it stalled, broke off, or is not complete in time.
        """
        pull = _Pull(model)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._pull_timeout_s
        stalls_at = loop.time() + self._stall_s
        try:
            async with AsyncExitStack() as closing:
                async with asyncio.timeout_at(min(ends_at, stalls_at)):
                    content = await closing.enter_async_context(
                        self._http.stream("POST", self._url("pull"), body=_dump({"model": model}))
                    )
                if isinstance(content, Answer):
                    raise _to_error(content)
                while True:
                    async with asyncio.timeout_at(min(ends_at, stalls_at)):
                        progress = await pull.read_next(content)
                    if progress is None:
                        continue
                    yield progress
                    if progress.status == "success":
                        return
                    stalls_at = loop.time() + self._stall_s if pull.expects_bytes else ends_at
        except TimeoutError:
            if loop.time() >= ends_at:
                reason = f"{pull} is not complete within {self._pull_timeout_s:g} s"
            else:
                reason = f"{pull} brought nothing for {self._stall_s:g} s"
            raise Unavailable(OLLAMA, reason) from None

    async def _ask(
        self,
        method: str,
        endpoint: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Mapping[str, Any]], T],
    ) -> T:
        """Send a request and read its answer, a JSON object.

        `read` takes from it what matters, and raises `ValueError` where that is not there.
        """
        answer = await self._http.exchange(
            method,
            self._url(endpoint),
            body=None if body is None else _dump(body),
            max_bytes=self._max_answer_bytes,
        )
        if not answer.is_success:
            raise _to_error(answer)
        return answer.read(lambda raw: read(load_object(raw, max_values=MAX_ANSWER_VALUES)))

    def _url(self, endpoint: str) -> URL:
        return URL(f"{self._base_url}/api/{endpoint}")


class _Pull:
    """A download as far as its stream has been read.

    Attributes:
        expects_bytes: whether the server is at a layer that is not complete.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._layers: dict[str, tuple[int, int]] = {}
        self._last: PullProgress | None = None
        self.expects_bytes = True

    def __str__(self) -> str:
        shown = f"the download of {self._model!r}"
        if self._last is None:
            return shown
        completed, total = self._last.completed_bytes, self._last.total_bytes
        return f"{shown}, {completed:,} of {total:,} bytes complete,"

    async def read_next(self, content: aiohttp.StreamReader) -> PullProgress | None:
        """Read the next line of the stream; `None` if it says nothing new.

        Raises:
            InvalidTask: `model_not_found`.
            Unavailable: the download failed, or the stream ended.
        """
        try:
            line = await content.readline()
            if not line:
                raise Unavailable(OLLAMA, f"{self} broke off")
            event = load_object(line)
        except (ValueError, LineTooLong) as error:
            raise BadAnswer(OLLAMA, f"{self} brought what is {error}") from None
        except aiohttp.ClientError as error:
            raise Unavailable(OLLAMA, f"{self} broke off ({type(error).__name__})") from error
        if said := _read_error(event):
            said = excerpt(said)
            if _SAYS_NO_MODEL.search(said):
                raise InvalidTask("model_not_found", f"{self._model!r}: {said}")
            raise Unavailable(OLLAMA, f"{self} failed: {said}")
        status = as_text(event.get("status"))[:200]
        if isinstance(digest := event.get("digest"), str):
            layer = _number(event, "completed") or 0, _number(event, "total") or 0
            self._layers[digest] = layer
        progress = PullProgress(
            self._model,
            status,
            sum(completed for completed, _ in self._layers.values()),
            sum(total for _, total in self._layers.values()),
        )
        if progress == self._last:
            return None
        self._last = progress
        self.expects_bytes = status.startswith(_DOWNLOADING)
        return progress


def model_key(model: str) -> str:
    """What is the same for all names of one model: case and `:latest` make no difference."""
    return model.strip().removesuffix(":latest").lower()


def _to_error(answer: Answer) -> AletheiaError:
    """Build the error that an answer means which is no success."""
    try:
        message = _read_error(load_object(answer.body))
    except ValueError:
        message = ""
    said = answer.excerpt(message or None)
    fault = _read_task_fault(said) if answer.status >= HTTPStatus.BAD_REQUEST else None
    return fault or answer.to_error(said)


def _read_error(event: Mapping[str, Any]) -> str:
    """Read the message of an error: a text, or an object with one."""
    error = event.get("error")
    return as_text(error) or as_text(as_object(error).get("message"))


def _read_task_fault(said: str) -> InvalidTask | ComputeFailed | None:
    """Read which fault of a task an error speaks of; some come as a 500."""
    for pattern, code in _TASK_FAULTS:
        if pattern.search(said):
            return InvalidTask(code, said)
    return ComputeFailed("bad_vector", said) if _SAYS_NAN.search(said) else None


def _dump(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(body)


def _read_card(answer: Mapping[str, Any]) -> ModelCard:
    facts = as_object(answer.get("model_info"))
    architecture = as_text(facts.get("general.architecture"))
    capabilities = answer.get("capabilities")
    known = cast("list[object]", capabilities) if isinstance(capabilities, list) else []
    return ModelCard(
        _number(facts, f"{architecture}.context_length"),
        _number(facts, f"{architecture}.embedding_length"),
        tuple(filter(None, map(as_text, known))),
    )


def _list(answer: Mapping[str, Any], name: str) -> list[object]:
    found = answer.get(name)
    if not isinstance(found, list):
        raise ValueError(f"no list of {name}")  # noqa: TRY004
    return cast("list[object]", found)


def _objects(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = _list(answer, name)
    if not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{name} that are not objects")
    return cast("list[dict[str, Any]]", found)


def _text(answer: Mapping[str, Any], name: str) -> str:
    found = answer.get(name)
    if not isinstance(found, str):
        raise ValueError(f"no {name}")  # noqa: TRY004
    return found


def _number(answer: Mapping[str, Any], name: str) -> int | None:
    """Read a whole number above 0."""
    found = answer.get(name)
    return found if type(found) is int and found > 0 else None
