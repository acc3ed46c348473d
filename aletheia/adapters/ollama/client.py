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

from aletheia.adapters.embedding.parts import TOO_LONG, Vector, read_each, says_too_long
from aletheia.adapters.embedding.remote import ANSWER_BYTES, TEXT_ANSWER_BYTES
from aletheia.adapters.http import HttpClient, read_base_url
from aletheia.adapters.http_answers import Answer, as_object, as_text, excerpt, load_object
from aletheia.analysis.model_manager import PullProgress
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    ComputeFailed,
    InvalidTask,
    Unavailable,
    WrongCount,
)

T = TypeVar("T")

OLLAMA: Final = "ollama"
"""What results and errors call the provider."""

ADDRESS: Final = "OLLAMA_BASE_URL"
"""The setting that errors point to."""

MAX_ANSWER_VALUES: Final = 8_000_000
"""Most numbers in an answer that is read."""

CONNECT_TIMEOUT_S: Final = 10.0

UNLOAD_POLL_S: Final = 0.05
"""Between two polls whether a model is unloaded, seconds; the server answers before it is."""

MAX_LAYERS: Final = 10_000

_DOWNLOADING: Final = ("pulling", "downloading")
"""How a status begins while bytes are expected; to verify them takes long and says nothing."""


_SAYS_NO_MODEL: Final = re.compile(
    r"model\b.{0,300}?\bnot found|model manifest: file does not exist|invalid model name"
    r"|model is required",
    re.IGNORECASE | re.DOTALL,
)
_SAYS_NO_EMBEDDINGS: Final = re.compile(r"does not support embed", re.IGNORECASE)
_SAYS_NAN: Final = re.compile(r"\bNaN\b")
"""An error of Ollama has a message and no code."""


@dataclass(frozen=True, slots=True)
class ServerModel:
    """A model on the server's disk or in its memory, there until `expires_at` (ISO 8601)."""

    name: str
    size_bytes: int
    expires_at: str = ""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors in the order of the texts, and the tokens of all; `None` if not counted."""

    vectors: list[Vector | ComputeFailed]  # `MISSING` is what cannot be read
    tokens: int | None


class OllamaClient(HttpClient):
    """An Ollama server at one address. Nothing is retried here; loading is part of a request."""

    stall_s: float = 60.0  # how long a download may bring nothing
    max_answer_bytes = 64 * 2**20

    def __init__(
        self, base_url: str, *, timeout_s: float = 120.0, pull_timeout_s: float = 600.0
    ) -> None:
        super().__init__(
            OLLAMA, address=ADDRESS, timeout_s=timeout_s, connect_timeout_s=CONNECT_TIMEOUT_S
        )
        self._base_url = read_base_url(ADDRESS, base_url)
        self._pull_timeout_s = pull_timeout_s

    async def version(self) -> str:
        """Ask which version the server is."""
        answer = await self._ask("GET", "version", None, lambda answer: answer)
        if not (version := as_text(answer.get("version"))):
            raise BadAnswer(OLLAMA, "no version", status=HTTPStatus.OK)
        return version

    async def installed(self) -> list[ServerModel]:
        """List the models on the server's disk."""
        return await self._ask("GET", "tags", None, _read_models)

    async def loaded(self) -> list[ServerModel]:
        """List the models in the server's memory."""
        return await self._ask("GET", "ps", None, _read_models)

    async def context_length(self, model: str) -> int | None:
        """Ask how many tokens a model reads; `None` where the server does not say."""
        return await self._ask("POST", "show", {"model": model}, _read_context)

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

        `truncate` asks the server to leave out the end of a text that is too long. `InvalidTask`:
        `model_not_found`, `unsupported_model`, or `input_too_long` for one text. `ComputeFailed`:
        `bad_vector`, one of the texts makes the model give NaN.
        """
        body: dict[str, Any] = {"model": model, "input": list(texts), "truncate": truncate}
        if dimensions is not None:
            body["dimensions"] = dimensions
        if keep_alive_s is not None:
            body["keep_alive"] = keep_alive_s

        def read(answer: Mapping[str, Any]) -> Embeddings:
            vectors = read_each(_read_list(answer, "embeddings"))
            tokens = _read_number(answer, "prompt_eval_count")
            return Embeddings(vectors, tokens)

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
                while await self.find_loaded(model):  # noqa: ASYNC110 - a server sends no notice
                    await asyncio.sleep(UNLOAD_POLL_S)
        except TimeoutError:
            late = f"{model!r} is still loaded after {self._timeout_s:g} s"
            raise Unavailable(OLLAMA, late) from None

    async def find_loaded(self, model: str) -> ServerModel | None:
        """Find a model among those in the server's memory."""
        wanted = model_key(model)
        return next((each for each in await self.loaded() if model_key(each.name) == wanted), None)

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Download a model, or go on with it; `InvalidTask` if there is none, or `Unavailable`."""
        pull = _Pull(model)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._pull_timeout_s
        stalls_at = loop.time() + self.stall_s
        try:
            async with AsyncExitStack() as closing:
                async with asyncio.timeout_at(min(ends_at, stalls_at)):
                    content = await closing.enter_async_context(
                        self.stream("POST", self._url("pull"), body=orjson.dumps({"model": model}))
                    )
                if isinstance(content, Answer):
                    raise _to_error(content)
                while True:
                    async with asyncio.timeout_at(min(ends_at, stalls_at)):
                        progress = await pull.read_next(content)
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
        max_bytes: int | None = None,
    ) -> T:
        """Send a request and read its answer; `read` raises `ValueError` where it is none."""
        answer = await self.exchange(
            method,
            self._url(endpoint),
            body=None if body is None else orjson.dumps(body),
            max_bytes=min(self.max_answer_bytes, max_bytes or self.max_answer_bytes),
        )
        if not answer.is_success:
            raise _to_error(answer)
        value = answer.read(lambda raw: load_object(raw, max_values=MAX_ANSWER_VALUES))
        if error := _read_late_error(value):
            raise error
        return answer.read(lambda _: read(value))

    def _url(self, endpoint: str) -> URL:
        return URL(f"{self._base_url}/api/{endpoint}")


class _Pull:
    """A download as far as its stream has been read."""

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

    async def read_next(self, content: aiohttp.StreamReader) -> PullProgress:
        """Read on until there is something new; `InvalidTask` without such a model."""
        while (progress := await self._read_line(content)) == self._last:
            pass
        self._last = progress
        return progress

    async def _read_line(self, content: aiohttp.StreamReader) -> PullProgress:
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
            layer = _read_number(event, "completed") or 0, _read_number(event, "total") or 0
            self._layers[digest] = layer
            if len(self._layers) > MAX_LAYERS:
                raise BadAnswer(OLLAMA, f"{self} has more than {MAX_LAYERS:,} layers")
        self.expects_bytes = status.startswith(_DOWNLOADING)
        sizes = zip(*self._layers.values(), strict=True)
        return PullProgress(self._model, status, *(map(sum, sizes) if self._layers else (0, 0)))


def short_name(model: str) -> str:
    """Take the tag off a model's name if it is `:latest`, which may be left out."""
    return model.strip().removesuffix(":latest")


def model_key(model: str) -> str:
    """Return what all names of one model have in common: `:latest` and case make no difference."""
    return short_name(model).lower()


def _to_error(answer: Answer) -> AletheiaError:
    """Build the error that an answer means which is no success."""
    try:
        message = _read_error(load_object(answer.body))
    except ValueError:
        message = ""
    said = answer.excerpt(message or None)
    fault = _read_task_fault(answer.status, said)
    return fault or answer.to_error(said, {HTTPStatus.FAILED_DEPENDENCY: Unavailable})


def _read_late_error(answer: Mapping[str, Any]) -> AletheiaError | None:
    """Build the error that the body of a 200 describes, if it does."""
    said = excerpt(_read_error(answer))
    if not said:
        return None
    fault = _read_task_fault(HTTPStatus.OK, said)
    return fault or Unavailable(OLLAMA, said, status=HTTPStatus.BAD_GATEWAY)


def _read_error(event: Mapping[str, Any]) -> str:
    """Read the message of an error: a text, or an object with one."""
    error = event.get("error")
    return as_text(error) or as_text(as_object(error).get("message"))


def _read_task_fault(status: int, said: str) -> InvalidTask | ComputeFailed | None:
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return None
    if _SAYS_NO_MODEL.search(said):
        return InvalidTask("model_not_found", said)
    if _SAYS_NO_EMBEDDINGS.search(said):
        return InvalidTask("unsupported_model", said)
    if says_too_long(status, said):
        return InvalidTask(TOO_LONG, said)
    return ComputeFailed("bad_vector", said) if _SAYS_NAN.search(said) else None


def _read_context(answer: Mapping[str, Any]) -> int | None:
    """Read how many tokens a model was made for; the server may be set to read fewer."""
    facts = as_object(answer.get("model_info"))
    return _read_number(facts, f"{as_text(facts.get('general.architecture'))}.context_length")


def _read_list(answer: Mapping[str, Any], name: str) -> list[object]:
    """Read a list; `ValueError` if there is none."""
    found = answer.get(name)
    if not isinstance(found, list):
        raise ValueError(f"no list of {name}")  # noqa: TRY004 - readers raise ValueError
    return cast("list[object]", found)


def _read_number(answer: Mapping[str, Any], name: str) -> int | None:
    """Read a whole number above 0."""
    found = answer.get(name)
    return found if type(found) is int and found > 0 else None


def _read_models(answer: Mapping[str, Any]) -> list[ServerModel]:
    """Read a list of models; `ValueError` if there is none."""
    models: list[ServerModel] = []
    for entry in map(as_object, _read_list(answer, "models")):
        if not (name := as_text(entry.get("name"))):
            raise ValueError("a model without a name")
        expires_at = as_text(entry.get("expires_at"))
        models.append(ServerModel(name, _read_number(entry, "size") or 0, expires_at))
    return models
