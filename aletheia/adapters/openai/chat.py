"""Chat completions from OpenRouter, OpenAI, or any server that speaks their API.

See https://platform.openai.com/docs/api-reference/chat/create and
https://openrouter.ai/docs/api-reference/overview.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal, TypeAlias, cast

from openai import AsyncOpenAI, omit

from aletheia.adapters.embedding.parts import TOO_LONG
from aletheia.adapters.http import is_token, read_base_url
from aletheia.adapters.http_answers import as_object, as_text, make_bad_answer
from aletheia.adapters.openai.wire import (
    ErrorAnswer,
    exchange,
    load_object,
    make_client,
    read_error,
)
from aletheia.errors import AletheiaError, BadAnswer, InvalidTask, Misconfigured, Refused
from aletheia.llm.calls import CallPlan, Guard, unguarded
from aletheia.llm.messages import ChatRequest, Completion, Finish, Message
from aletheia.llm.prices import Tokens

log = logging.getLogger(__name__)

OPENROUTER: Final = "openrouter"
OPENROUTER_URL: Final = "https://openrouter.ai/api/v1"

MAX_ANSWER_BYTES: Final = 8 * 2**20
"""Longest answer that is read, bytes; some send the model's thoughts along."""

MISSING_MODEL_S: Final = 600.0
"""How long a model that does not exist is not asked for again, seconds."""

_MAX_NAME: Final = 256

_FINISHES: Final[Mapping[str, Finish]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "refused",
}

_SAYS_NO_MODEL: Final = re.compile(
    r"model\b.*\b(not exist|not found|no access)|(invalid|unknown) model|not a valid model"
    r"|no (endpoints found for|allowed providers)",
    re.IGNORECASE,
)
_SAYS_NO_CHAT: Final = re.compile(r"not a chat model|does not support chat", re.IGNORECASE)
_SAYS_TOO_LONG: Final = re.compile(
    r"context (length|window|size)|(input|prompt) (length|is too long)|sequence length"
    r"|maximum (input|prompt) tokens",
    re.IGNORECASE,
)
_SAYS_REFUSED: Final = re.compile(
    r"content (management|filter|policy)|requires moderation|flagged", re.IGNORECASE
)
_SAYS_NO_FORM: Final = re.compile(
    r"response_format|json_schema|json_object|structured output|json mode|\bgrammar|guided"
    r"|requested parameters",
    re.IGNORECASE,
)
_SAYS_UNSUPPORTED: Final = re.compile(
    r"unsupported|not supported|does not support|only the default", re.IGNORECASE
)
"""How OpenAI, OpenRouter, vLLM, llama.cpp, LM Studio and Ollama put it."""

_ERRORS: Final = range(400, 600)
_CLIENT_ERRORS: Final = range(400, 500)
_NOT_THE_QUESTIONS: Final = frozenset({401, 402, 408, 429})
"""Statuses below 500 that say nothing against the question: no key, unpaid, too slow, too many."""

_FORM_REFUSALS: Final = frozenset({400, 404, 422, 501})

_Form: TypeAlias = Literal["json_schema", "json_object", "none"]
_LESS: Final[Mapping[_Form, _Form]] = {"json_schema": "json_object", "json_object": "none"}


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What a model takes of what may be asked.

    Attributes:
        form: how the form of an answer is asked for.
        limit: the name of the bound on its length.
        has_temperature: whether it has one.
    """

    form: _Form = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    has_temperature: bool = True

    def give_in(self, request: ChatRequest, answer: ErrorAnswer) -> "_Dialect | None":
        """Leave out what a refusal speaks against; `None` if it speaks of something else."""
        if answer.status not in _FORM_REFUSALS:
            return None
        said = f"{answer.param} {answer.message}"
        if "max_completion_tokens" in said and self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        is_about_temperature = "temperature" in said and _SAYS_UNSUPPORTED.search(said)
        if is_about_temperature and self.has_temperature and request.temperature is not None:
            return replace(self, has_temperature=False)
        if request.form is not None and self.form in _LESS and _SAYS_NO_FORM.search(said):
            return replace(self, form=_LESS[self.form])
        return None


class _Unspoken(Refused):
    """A request was refused for the way it was put, and can be put in another one."""

    def __init__(self, dependency: str, status: int, reason: str, dialect: _Dialect) -> None:
        super().__init__(dependency, status, reason)
        self.args = (dependency, status, reason, dialect)
        self.dialect = dialect


class OpenAIChat:
    """Asks through `POST /chat/completions`. Nothing is retried here.

    A server that refuses a JSON schema is asked for any JSON object instead, and then for nothing;
    the schema then stands in the system message. One that has another name for the bound on the
    answer's length, or no temperature, gets what it wants. What a model takes is remembered as
    long as the client lives; each of these requests counts, as all that are sent do. A model that
    does not exist is asked for once in ten minutes.

    Args:
        api_key: the key; a server that asks for none takes any.
        base_url: root of the API, with its version.
        provider: what results and errors call it; also the beginning of its settings' names.
        timeout_s: bound on one request, to the last byte of its answer, seconds.
        concurrency: requests in flight at once.
        guard: guards every request.
        max_answer_bytes: longest answer that is read.
        clock: seconds since the epoch.

    Raises:
        Misconfigured: the key cannot be sent in a header, or `base_url` is not an address.
    """

    is_mock: bool = False

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str = OPENROUTER_URL,
        provider: str = OPENROUTER,
        timeout_s: float = 60.0,
        concurrency: int = 5,
        guard: Guard = unguarded,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not is_token(api_key):
            name = f"{provider.upper()}_API_KEY"
            raise Misconfigured(name, "must be printable ASCII without spaces")
        self.provider = provider
        self._api_key = api_key
        self._base_url = read_base_url(f"{provider.upper()}_BASE_URL", base_url)
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(concurrency)
        self._guard = guard
        self._max_answer_bytes = max_answer_bytes
        self._clock = clock
        self._dialects: dict[str, _Dialect] = {}
        self._missing: dict[str, tuple[float, str]] = {}
        self._client: AsyncOpenAI | None = None

    def __repr__(self) -> str:
        return f"OpenAIChat({self._base_url!r}, ***)"

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        if self._client is None:
            self._client = make_client(
                self._api_key,
                self._base_url,
                timeout_s=self._timeout_s,
                provider=self.provider,
                max_answer_bytes=self._max_answer_bytes,
            )

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def complete(self, request: ChatRequest) -> Completion:
        """Ask once.

        Raises:
            InvalidTask: `model_not_found`, `unsupported_model`; or, because of what is asked,
                `input_too_long`, `content_refused`.
            Unavailable: out of reach, 429 or 5xx, or too slow.
            QuotaExhausted: 402, or a 429 of which the account is the reason.
            BadAnswer: not what the API promises.
            Unauthorized: the key is refused.
            NotFound: there is no such API at the address.
            Refused: any other 4xx.
        """
        model = request.model
        if not model or len(model) > _MAX_NAME or not model.isprintable():
            raise InvalidTask("unsupported_model", f"{model[:60]!r} is not the name of a model")
        until, said = self._missing.get(model, (0.0, ""))
        if self._clock() < until:
            raise InvalidTask("model_not_found", said)
        plan = CallPlan(self.provider, model, "chat", request.key, request.token_bound)
        while True:
            dialect = self._dialects.get(model, _Dialect())
            try:
                async with self._slots:
                    return await self._guard(plan, partial(self._send, request, dialect))
            except _Unspoken as refusal:
                better = refusal.dialect
            # Another call may have learned the same meanwhile, or more.
            if self._dialects.get(model, _Dialect()) == dialect:
                log.info("%s does not take %s for %r, it gets %s", self, dialect, model, better)
                self._dialects[model] = better

    async def _send(self, request: ChatRequest, dialect: _Dialect) -> Completion:
        """Send one request.

        Raises:
            _Unspoken: it was refused for its dialect.
            AletheiaError: see `complete`.
        """
        outcome = await self._post(request, dialect)
        if isinstance(outcome, bytes):
            outcome = self._read(outcome, request)
        if isinstance(outcome, ErrorAnswer):
            better = dialect.give_in(request, outcome)
            # Raised here, where no exception of the SDK, which holds the key, is its context.
            if better is not None:
                said = outcome.show(self._api_key)
                raise _Unspoken(self.provider, outcome.status, said, better)
            raise self._translate(outcome, request.model)
        if isinstance(outcome, AletheiaError):
            raise outcome
        return outcome

    async def _post(
        self, request: ChatRequest, dialect: _Dialect
    ) -> bytes | ErrorAnswer | AletheiaError:
        client = self._client
        if client is None:
            raise RuntimeError("the client is not open")
        has_temperature = dialect.has_temperature and request.temperature is not None
        asked: dict[str, Any] = {
            "model": request.model,
            "messages": _messages_of(request, dialect),
            "response_format": _format_of(request, dialect) or omit,
            dialect.limit: request.max_tokens,
            "temperature": request.temperature if has_temperature else omit,
        }

        # The SDK's overloads do not take properties that are chosen at run time.
        create: Any = client.chat.completions.with_streaming_response.create
        return await exchange(
            partial(create, **asked),
            provider=self.provider,
            timeout_s=self._timeout_s,
            clock=self._clock,
        )

    def _read(self, body: bytes, request: ChatRequest) -> Completion | ErrorAnswer | BadAnswer:
        """Read an answer; OpenRouter puts an error that came late behind a 200."""
        try:
            answer = load_object(body)
            if error := as_object(answer.get("error")):
                return _read_late_error(error)
            choice = _first_choice(answer)
        except ValueError as error:
            return make_bad_answer(self.provider, str(error), body, self._api_key)
        if error := as_object(choice.get("error")):
            return _read_late_error(error)
        message = as_object(choice.get("message"))
        text, refusal = _text_of(message.get("content")), _text_of(message.get("refusal"))
        finish: Finish = _FINISHES.get(as_text(choice.get("finish_reason")), "other")
        used = _read_used(answer)
        ran = _text_of(answer.get("model"))[:_MAX_NAME]
        return Completion(
            text=text,
            finish="refused" if refusal else finish,
            provider=self.provider,
            asked=request.model,
            model=ran or request.model,
            used=used or _estimate_used(request, text),
            is_estimate=used is None,
            refusal=refusal,
        )

    def _translate(self, answer: ErrorAnswer, model: str) -> AletheiaError:
        """Build the error that an answer means."""
        said = answer.show(self._api_key)
        if code := _read_fault(answer):
            said = said or f"{self.provider} refused with {answer.status}"
            if code == "model_not_found":
                self._missing[model] = (self._clock() + MISSING_MODEL_S, said)
            return InvalidTask(code, said)
        return answer.to_error(self.provider, self._api_key)


def _messages_of(request: ChatRequest, dialect: _Dialect) -> list[dict[str, str]]:
    """Write the messages; the form stands in the first one where the API does not enforce it."""
    messages = list(request.messages)
    if request.form is not None and dialect.form != "json_schema":
        schema = json.dumps(request.form.schema)
        wish = f"Answer only with JSON that is valid under this JSON schema: {schema}"
        if messages and messages[0].role == "system":
            messages[0] = Message("system", f"{messages[0].text}\n\n{wish}")
        else:
            messages.insert(0, Message("system", wish))
    return [{"role": message.role, "content": message.text} for message in messages]


def _format_of(request: ChatRequest, dialect: _Dialect) -> dict[str, Any] | None:
    if request.form is None or dialect.form == "none":
        return None
    if dialect.form == "json_object":
        return {"type": "json_object"}
    schema = {"name": request.form.name, "strict": True, "schema": request.form.schema}
    return {"type": "json_schema", "json_schema": schema}


def _first_choice(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Take the answer's only choice.

    Raises:
        ValueError: there is none.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("no choice to take")
    choice = as_object(cast("list[object]", choices)[0])
    if not as_object(choice.get("message")) and not choice.get("error"):
        raise ValueError("a choice without a message")
    return choice


def _text_of(content: object) -> str:
    """Read a message's text; some servers give it in parts."""
    if isinstance(content, list):
        parts = cast("list[object]", content)
        return "".join(as_text(as_object(part).get("text")) for part in parts)
    return as_text(content)


def _read_used(answer: Mapping[str, Any]) -> Tokens | None:
    counts = as_object(answer.get("usage"))
    read, written = counts.get("prompt_tokens"), counts.get("completion_tokens")
    # Servers that count nothing say 0.
    if type(read) is not int or type(written) is not int or read <= 0 or written < 0:
        return None
    return Tokens(read, written)


def _estimate_used(request: ChatRequest, text: str) -> Tokens:
    most = request.token_bound
    return Tokens(most.input, min(most.output, len(text.encode())))


def _read_late_error(error: dict[str, Any]) -> ErrorAnswer:
    """Read an error behind a 200; its code is the status it would have had."""
    code = error.get("code")
    status = code if isinstance(code, int) and code in _ERRORS else HTTPStatus.BAD_GATEWAY
    return read_error(error, status)


def _read_fault(answer: ErrorAnswer) -> str | None:
    """Return the code of a fault that lies in what was asked; `None` if it lies elsewhere."""
    if answer.status not in _CLIENT_ERRORS or answer.status in _NOT_THE_QUESTIONS:
        return None
    message = answer.message
    if answer.code == "model_not_found" or _SAYS_NO_MODEL.search(message):
        return "model_not_found"
    if _SAYS_NO_CHAT.search(message):
        return "unsupported_model"
    if answer.status not in (400, 403, 413, 422):
        return None
    is_refused = answer.code in ("content_filter", "content_policy_violation")
    if is_refused or _SAYS_REFUSED.search(message):
        return "content_refused"
    is_large = answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    is_long = is_large or answer.code == "context_length_exceeded"
    return TOO_LONG if is_long or _SAYS_TOO_LONG.search(message) else None
