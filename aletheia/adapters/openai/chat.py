"""Chat completions by https://platform.openai.com/docs/api-reference/chat/create."""

import asyncio
import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal, TypeAlias, cast

from aletheia.adapters.embedding.parts import TOO_LONG, says_too_long
from aletheia.adapters.http_answers import as_object, as_text
from aletheia.adapters.openai.wire import (
    MAX_MODEL_NAME,
    Api,
    ErrorAnswer,
    check_model_name,
    is_count,
    read_late_error,
)
from aletheia.errors import ABOUT_CONTENT, AletheiaError, BadAnswer, InvalidTask, Refused
from aletheia.llm.calls import CallPlan, Guard, PlannedCall, unguarded
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import ChatRequest, Completion, Finish, Message
from aletheia.llm.prices import Tokens
from aletheia.llm.structured import find_json
from aletheia.store.clock import SYSTEM_CLOCK
from aletheia.telemetry import record_content

log = logging.getLogger(__name__)

MISSING_MODEL_S: Final = 600.0
"""How long a model that does not exist is not asked for again, seconds."""

_FINISHES: Final[Mapping[str, Finish]] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "refused",
}

_SAYS_NO_CHAT: Final = re.compile(r"not a chat model|does not support chat", re.IGNORECASE)
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

_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking")
"""Names that vLLM and DeepSeek, OpenRouter, and Ollama have for what a model thinks."""

_THOUGHT_PART: Final = re.compile(r"think|thought|reason|summary|analysis", re.IGNORECASE)
"""Types of the parts of an answer that a model thinks."""

_ENDS_IN_JSON: Final = re.compile(r"[}\]]\s*(?:```)?\s*$")

_FORM_REFUSALS: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)

_Form: TypeAlias = Literal["json_schema", "json_object", "none"]
_LESS: Final[Mapping[_Form, _Form]] = {"json_schema": "json_object", "json_object": "none"}


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What a model takes: how the form is asked for, and the name of the bound on length."""

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


class OpenAIChat:
    """Asks through `POST /chat/completions`. Nothing is retried here.

    A server that refuses a JSON schema is asked for any JSON object instead, and then for nothing;
    the schema then stands in the system message.
    """

    is_mock: bool = False
    max_answer_bytes = 8 * 2**20  # some send the model's thoughts along

    def __init__(
        self,
        api: Api,
        *,
        concurrency: int = 5,
        guard: Guard = unguarded,
        clock: Callable[[], float] = SYSTEM_CLOCK.unix_s,
    ) -> None:
        self.provider, self.open, self.close = api.dependency, api.open, api.close
        self._api, self._guard, self._clock = api, guard, clock
        self._slots = asyncio.Semaphore(concurrency)
        self._dialects = defaultdict[str, _Dialect](_Dialect)
        self._missing: dict[str, tuple[float, str]] = {}

    def __repr__(self) -> str:
        return f"OpenAIChat({self._api.base_url!r}, ***)"

    async def complete(self, request: ChatRequest) -> Completion:
        """Ask once; errors are those of `Api.ask`, and any other 4xx is `Refused`.

        `InvalidTask`: `model_not_found`, `unsupported_model`; or, because of what is asked,
        `input_too_long`, `content_refused`.
        """
        model = check_model_name(request.model)
        until, said = self._missing.get(model, (0.0, ""))
        if self._clock() < until:
            raise InvalidTask("model_not_found", said)
        plan = CallPlan(self.provider, model, "chat", request.key, request.token_bound)
        while True:
            dialect = self._dialects[model]
            try:
                async with self._slots:
                    call = PlannedCall(plan, partial(self._send, request, dialect))
                    return await self._guard(call)
            except Refused:
                # This call, or another one meanwhile, may have learned a better dialect.
                if self._dialects[model] == dialect:
                    raise

    async def _send(self, request: ChatRequest, dialect: _Dialect) -> Completion:
        """Send one request; `Refused`, and a better dialect known, where this one is refused."""
        has_temperature = dialect.has_temperature and request.temperature is not None
        asked: dict[str, Any] = {
            "model": request.model,
            "messages": _messages_of(request, dialect),
            "response_format": _format_of(request, dialect),
            dialect.limit: request.max_tokens,
            "temperature": request.temperature if has_temperature else None,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        record_content(prompt=[(message.role, message.text) for message in request.messages])
        # Not by orjson: half a surrogate in a prompt is none of its.
        body = json.dumps(given).encode()
        answer = await self._api.ask(
            "POST", "chat/completions", body, max_bytes=self.max_answer_bytes
        )
        outcome = answer if isinstance(answer, ErrorAnswer) else self._read(answer, request)
        if isinstance(outcome, Completion):
            record_content(answer=outcome.text)
            return outcome
        if better := dialect.give_in(request, outcome):
            if self._dialects[request.model] == dialect:
                log.info("%s gets %s for %r, as it does not take all", self, better, request.model)
                self._dialects[request.model] = better
            raise Refused(self.provider, outcome.status, outcome.show(self._api.key))
        raise self._translate(outcome, request.model)

    def _read(self, answer: Mapping[str, Any], request: ChatRequest) -> Completion | ErrorAnswer:
        """Read an answer; OpenRouter may put an error into its choice."""
        choices = answer.get("choices")
        first = cast("list[object]", choices)[:1] if isinstance(choices, list) else []
        choice = as_object(first[0]) if first else {}
        if error := as_object(choice.get("error")):
            return read_late_error(error)
        message = as_object(choice.get("message"))
        if not message:
            reason = "a choice without a message" if first else "no choice to take"
            raise BadAnswer(self.provider, reason, status=HTTPStatus.OK)
        finish: Finish = _FINISHES.get(as_text(choice.get("finish_reason")).lower(), "other")
        text = read_message(message, is_done=finish != "length")
        refusal = _read_content(message.get("refusal"))
        used, bound = _read_used(answer), request.token_bound
        ran = as_text(answer.get("model"))[:MAX_MODEL_NAME]
        return Completion(
            text=text,
            finish="refused" if refusal else finish,
            provider=self.provider,
            asked=request.model,
            model=ran or request.model,
            used=used or Tokens(bound.input, min(bound.output, len(text.encode()))),
            is_estimate=used is None,
            refusal=refusal,
        )

    def _translate(self, answer: ErrorAnswer, model: str) -> AletheiaError:
        """Build the error that an answer means."""
        said = answer.show(self._api.key)
        if code := _read_fault(answer):
            said = said or f"{self.provider} refused with {answer.status}"
            if code in ("model_not_found", "unsupported_model"):
                said = f"{said} (DEFAULT_LLM_MODEL names it, unless a department does)"
            if code == "model_not_found":
                self._missing[model] = (self._clock() + MISSING_MODEL_S, said)
            return InvalidTask(code, said)
        return answer.to_error(self.provider, self._api.key)


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


def _read_used(answer: Mapping[str, Any]) -> Tokens | None:
    counts = as_object(answer.get("usage"))
    read, written = counts.get("prompt_tokens"), counts.get("completion_tokens")
    # Servers that count nothing say 0.
    if not is_count(read) or not is_count(written) or not read:
        return None
    return Tokens(read, written)


def _read_fault(answer: ErrorAnswer) -> str | None:
    """Return the code of a fault that lies in what was asked; `None` if it lies elsewhere."""
    if answer.is_missing_model:
        return "model_not_found"
    if says_too_long(answer.status, answer.message):
        return TOO_LONG
    if not answer.is_about_request:
        return None
    if _SAYS_NO_CHAT.search(answer.message):
        return "unsupported_model"
    is_named = answer.code in ("content_filter", "content_policy_violation")
    is_refused = is_named or _SAYS_REFUSED.search(answer.message)
    if is_refused and answer.status in (*ABOUT_CONTENT, HTTPStatus.FORBIDDEN):
        return "content_refused"
    is_large = answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return TOO_LONG if is_large or answer.code == "context_length_exceeded" else None


def read_message(message: Mapping[str, Any], *, is_done: bool) -> str:
    """Return the text of an answer, or where it has no JSON to use the arguments of a tool call.

    A server may have taken the answer for thoughts, which end in JSON then, or it is a draft.
    """
    text = _read_content(message.get("content"))
    if (called := _read_calls(message)) and not _has_json(text, is_done=is_done):
        return called
    if text.strip() or not is_done:
        return text
    thoughts = (_read_content(message.get(name)) for name in _THOUGHTS)
    return next(filter(_ENDS_IN_JSON.search, thoughts), text)


def _has_json(text: str, *, is_done: bool) -> bool:
    try:
        find_json(text, accept=_is_filled, is_cut_off=not is_done)
    except UnreadableAnswer as error:
        return error.code == "ambiguous_json"
    return True


def _is_filled(value: object) -> bool:
    """Check whether a JSON value is or lists an object with something in it."""
    if isinstance(value, list):
        return any(map(_is_filled, cast("list[object]", value)))
    fields = as_object(value).values()
    return any(field is not None and field not in ("", [], {}) for field in fields)


def _is_thought(part: object) -> bool:
    fields = as_object(part)
    is_marked = _THOUGHT_PART.search(as_text(fields.get("type"))) is not None
    return is_marked or fields.get("thought") is True


def _read_content(content: object) -> str:
    """Read a text that some servers give in parts, thoughts among them, or as the JSON in it."""
    if isinstance(content, dict):
        return _write(cast("object", content))
    if not isinstance(content, list):
        return as_text(content)
    parts = [part for part in cast("list[object]", content) if not _is_thought(part)]
    texts = [as_text(part) or as_text(as_object(part).get("text")) for part in parts]
    is_json = all(isinstance(part, dict) and "type" not in part for part in parts)
    return _write(parts) if parts and is_json and not any(texts) else "".join(texts)


def _read_calls(message: Mapping[str, Any]) -> str:
    functions = [as_object(call.get("function")) for call in _list_objects(message, "tool_calls")]
    functions.append(as_object(message.get("function_call")))
    # As Anthropic's servers write it: a part of the content.
    functions += [part for part in _list_objects(message, "content") if not _is_thought(part)]
    given = (_read_content(call.get("arguments", call.get("input"))) for call in functions)
    return "\n".join(text for text in given if text.strip())


def _list_objects(message: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    listed = message.get(name)
    return list(map(as_object, cast("list[object]", listed))) if isinstance(listed, list) else []


def _write(value: object) -> str:
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return ""
