"""A strict server of chat completions, with the refusals of OpenAI, OpenRouter and others.

Statuses, codes and messages are those of https://platform.openai.com/docs/api-reference/chat and
https://openrouter.ai/docs/api-reference/errors.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

import orjson
from aiohttp import hdrs, web

from tests.fakes.faults import Faults
from tests.fakes.openai import refuse

SONNET = "anthropic/claude-sonnet-4.5"

Form: TypeAlias = Literal["json_schema", "json_object"]

_PROPERTIES: Mapping[str, type | tuple[type, ...]] = {
    "model": str,
    "messages": list,
    "response_format": dict,
    "max_tokens": int,
    "max_completion_tokens": int,
    "temperature": (int, float),
}
_ENFORCED = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "description"),
        *("enum", "const", "anyOf", "$ref", "$defs"),
    }
)
"""Keywords that OpenAI and Anthropic both take in a strict schema."""


@dataclass(frozen=True, slots=True)
class ChatSeen:
    """A request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def text(self) -> str:
        """All its messages."""
        return "\n".join(message["content"] for message in self.body.get("messages", []))

    @property
    def form(self) -> str | None:
        """How it asks for the form of the answer."""
        return self.body.get("response_format", {}).get("type")


@dataclass(slots=True)
class ChatReply:
    """An answer: its content, why it ended, and other parts of its message."""

    content: Any
    finish: str | None = "stop"
    refusal: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])


class FakeChatServer(Faults):
    """Answers `POST /v1/chat/completions`.

    A token is a word. Answers that were put in line with `say` come first, then those of `write`.

    Attributes:
        url: root of the API, once it is served.
        api_key: the key it takes.
        models: those that exist.
        forms: values of `response_format.type` that it takes.
        limit: the name it has for the bound on an answer.
        takes_temperature: whether it accepts one.
        max_prompt_tokens: most tokens it reads.
        write: makes the text of an answer to a request's body.
        shape: makes an answer of that text.
        counts_usage: whether it says how many tokens were used.
        delay_s: how long every answer takes.
        meanwhile: what happens before an answer is given.
        requests: every request, in the order of arrival.
        max_in_flight: most requests that were under way at one time.
    """

    def __init__(self, *, api_key: str = "sk-or-test-0123456789abcdef") -> None:
        super().__init__()
        self.url = ""
        self.api_key = api_key
        self.models = {SONNET, "openai/gpt-5-mini"}
        self.forms: set[Form] = {"json_schema", "json_object"}
        self.limit = "max_tokens"
        self.takes_temperature = True
        self.max_prompt_tokens = 100_000
        self.write: Callable[[Mapping[str, Any]], str] = lambda _: items_text(8)
        self.shape: Callable[[str], ChatReply] = ChatReply
        self.counts_usage = True
        self.delay_s = 0.0
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.requests: list[ChatSeen] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._replies: deque[ChatReply] = deque()
        self._runner: web.ServerRunner | None = None

    def say(
        self,
        *contents: Any,
        finish: str | None = "stop",
        refusal: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Answer the next requests with these contents, and more parts of the message."""
        self._replies += [ChatReply(content, finish, refusal, more or {}) for content in contents]

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

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.content.read()
        try:
            body: Any = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        found = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        self.requests.append(ChatSeen(request.path, dict(request.headers), found))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.meanwhile is not None:
                await self.meanwhile()
            return await self.show_or(request, "chat", lambda: self._answer(request, body))
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.BaseRequest, body: Any) -> web.StreamResponse:
        refusal = (
            self._check_caller(request)
            or self._check_form(request, body)
            or self._check_limits(body)
            or self._check_messages(body)
            or self._check_format(body)
        )
        if refusal is not None:
            return refusal
        reply = self._replies.popleft() if self._replies else self.shape(self.write(body))
        message = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
        message |= reply.more
        answer: dict[str, Any] = {
            "id": "gen-1",
            "object": "chat.completion",
            "model": f"{body['model']}-20260101",
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
        }
        if self.counts_usage:
            read = sum(_count(message["content"]) for message in body["messages"])
            written = _count(reply.content) if isinstance(reply.content, str) else 0
            answer["usage"] = {
                "prompt_tokens": read,
                "completion_tokens": written,
                "total_tokens": read + written,
            }
        return web.Response(
            body=orjson.dumps(answer), headers={hdrs.CONTENT_TYPE: "application/json"}
        )

    def _check_caller(self, request: web.BaseRequest) -> web.Response | None:
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            return refuse(404, f"Invalid URL ({request.method} {request.path})")
        shown = request.headers.get(hdrs.AUTHORIZATION, "")
        if not shown.startswith("Bearer "):
            return refuse(401, "No auth credentials found")
        if (key := shown.removeprefix("Bearer ")) != self.api_key:
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
        for name in ("model", "messages"):
            if name not in form:
                return refuse(400, f"Missing required parameter: '{name}'.", param=name)
        if form["model"] not in self.models:
            said = f"The model `{form['model']}` does not exist or you do not have access to it."
            return refuse(404, said, code="model_not_found")
        return None

    def _check_limits(self, body: Mapping[str, Any]) -> web.Response | None:
        for name in ("max_tokens", "max_completion_tokens"):
            if name in body and name != self.limit:
                said = (
                    f"Unsupported parameter: '{name}' is not supported with this model. Use "
                    f"'{self.limit}' instead."
                )
                return refuse(400, said, param=name, code="unsupported_parameter")
        if body.get(self.limit, 1) < 1:
            return refuse(400, f"Invalid '{self.limit}': integer below minimum value.")
        temperature = body.get("temperature", 1)
        if temperature != 1 and not self.takes_temperature:
            said = (
                f"Unsupported value: 'temperature' does not support {temperature} with this model. "
                "Only the default (1) value is supported."
            )
            return refuse(400, said, param="temperature", code="unsupported_value")
        if not 0 <= temperature <= 2:
            return refuse(400, f"Invalid 'temperature': {temperature}.", param="temperature")
        return None

    def _check_messages(self, body: Mapping[str, Any]) -> web.Response | None:
        messages = body["messages"]
        last = ""
        for place, message in enumerate(messages):
            given = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
            role = given.get("role")
            if role not in ("system", "user", "assistant") or set(given) != {"role", "content"}:
                return refuse(400, f"Invalid value: 'messages[{place}]'.")
            if not isinstance(given["content"], str) or not given["content"]:
                return refuse(400, f"Invalid value: 'messages[{place}].content'.")
            # The templates of some models take them in turns only, the system's first.
            if role == last or (role == "system" and place):
                return refuse(400, "Conversation roles must alternate user/assistant/user/...")
            last = role
        if last != "user":
            return refuse(400, "Invalid value: 'messages'.")
        if (count := sum(_count(message["content"]) for message in messages)) > (
            self.max_prompt_tokens
        ):
            said = (
                f"This model's maximum context length is {self.max_prompt_tokens} tokens. However, "
                f"your messages resulted in {count} tokens."
            )
            return refuse(400, said, param="messages", code="context_length_exceeded")
        return None

    def _check_format(self, body: Mapping[str, Any]) -> web.Response | None:
        asked = body.get("response_format")
        if asked is None:
            return None
        said = None
        given = asked.get("json_schema", {})
        if (kind := asked.get("type")) not in self.forms:
            said = f"'response_format.type' must be one of {sorted(self.forms)}, not '{kind}'"
        elif kind == "json_object":
            if not any("json" in message["content"].lower() for message in body["messages"]):
                said = "'messages' must contain the word 'json' in some form."
        elif not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given.get("name", "")):
            said = "Invalid 'response_format.json_schema.name'."
        elif set(given) - {"name", "strict", "schema", "description"} or "schema" not in given:
            said = "Invalid 'response_format.json_schema'."
        elif given.get("strict") and (fault := _fault_of(given["schema"])):
            said = f"Invalid schema for response_format '{given['name']}': {fault}"
        return None if said is None else refuse(400, said, param="response_format")


def _fault_of(schema: Mapping[str, Any]) -> str | None:
    """Return what a strict mode does not take in a schema."""
    if unknown := set(schema) - _ENFORCED:
        return f"{sorted(unknown)} is not permitted"
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false"
        if set(schema.get("required", ())) != set(schema.get("properties", {})):
            return "'required' is required to be an array including every key in properties"
    within = [
        *schema.get("properties", {}).values(),
        *schema.get("$defs", {}).values(),
        *schema.get("anyOf", []),
        *([schema["items"]] if "items" in schema else []),
    ]
    return next((fault for part in within if (fault := _fault_of(part))), None)


def _count(text: str) -> int:
    return len(text.split())


def item(number: int, **parts: Any) -> dict[str, Any]:
    """Make a good item."""
    return {
        "content": f"Somebody checks case {number} every Monday and writes down what is missing.",
        "summary": f"Case {number} is checked.",
        "context": f"For the week after step {number}.",
        **parts,
    }


def items_text(count: int, *more: Any, start: int = 1) -> str:
    """Write an answer of good items, and whatever else is put behind them."""
    items: Sequence[Any] = [*(item(start + place) for place in range(count)), *more]
    return orjson.dumps({"items": items}).decode()


@asynccontextmanager
async def serve_fake_chat(**options: Any) -> AsyncGenerator[FakeChatServer]:
    """Serve a fake chat API; its root is `url`."""
    fake = FakeChatServer(**options)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()
