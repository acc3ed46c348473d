import asyncio
import json
import logging
import pickle
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from email.utils import formatdate
from typing import Any, TypeAlias

import aiohttp
import orjson
import pytest

from aletheia.adapters.openai.chat import (
    MISSING_MODEL_S,
    OpenAIChat,
)
from aletheia.adapters.openai.wire import Api
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    BreakerOpen,
    InvalidTask,
    Misconfigured,
    NotFound,
    QuotaExhausted,
    Refused,
    Unauthorized,
    Unavailable,
)
from aletheia.gather.generation import Batch, GenerationPlan, generate_items
from aletheia.gather.prompts.generate_items import FORM, PromptContext
from aletheia.items.departments import Department
from aletheia.llm.messages import AnswerForm, ChatModel, ChatRequest, Completion, Message
from aletheia.llm.prices import Tokens
from tests.fakes.calls import Recorder
from tests.fakes.chat import MemoryAnswers
from tests.fakes.faults import Misbehaviour
from tests.fakes.openai import error_body
from tests.fakes.openai_chat import SONNET, FakeChatServer, items_text, serve_fake_chat

Connect: TypeAlias = Callable[..., Awaitable[OpenAIChat]]


@pytest.fixture
async def server() -> AsyncGenerator[FakeChatServer]:
    async with serve_fake_chat() as fake:
        yield fake


@pytest.fixture
async def connect(server: FakeChatServer) -> AsyncGenerator[Connect]:
    async with AsyncExitStack() as closing:

        async def make(api_key: str | None = None, **options: Any) -> OpenAIChat:
            url, timeout_s = options.pop("base_url", server.url), options.pop("timeout_s", 5)
            provider = options.pop("provider", "openrouter")
            max_answer_bytes = options.pop("max_answer_bytes", OpenAIChat.max_answer_bytes)
            chat = OpenAIChat(
                Api(provider, api_key or server.api_key, url, timeout_s=timeout_s), **options
            )
            chat.max_answer_bytes = max_answer_bytes
            await chat.open()
            closing.push_async_callback(chat.close)
            return chat

        yield make


@pytest.fixture
async def chat(connect: Connect) -> OpenAIChat:
    return await connect()


def ask(**parts: Any) -> ChatRequest:
    messages = (Message("system", "You answer."), Message("user", "How are you?"))
    defaults: dict[str, Any] = {"model": SONNET, "messages": messages, "max_tokens": 300}
    return ChatRequest(**{**defaults, **parts})


async def failure(chat: OpenAIChat, **parts: Any) -> AletheiaError:
    with pytest.raises(AletheiaError) as raised:
        await chat.complete(ask(**parts))
    return raised.value


async def test_an_answer_comes_as_it_is_with_what_it_used(
    server: FakeChatServer, chat: OpenAIChat
) -> None:
    server.say("Very well, thank you.")
    assert await chat.complete(ask()) == Completion(
        text="Very well, thank you.",
        finish="stop",
        provider="openrouter",
        asked=SONNET,
        model=f"{SONNET}-20260101",
        used=Tokens(5, 4),
    )


async def test_a_request_says_what_the_api_wants_and_no_more(
    server: FakeChatServer, chat: OpenAIChat
) -> None:
    await chat.complete(ask())
    await chat.complete(ask(temperature=0.25, form=FORM))
    messages = [
        {"role": "system", "content": "You answer."},
        {"role": "user", "content": "How are you?"},
    ]
    plain = {"model": SONNET, "messages": messages, "max_tokens": 300}
    schema = {"name": "generated_items", "strict": True, "schema": dict(FORM.schema)}
    assert [request.body for request in server.requests] == [
        plain,
        {
            **plain,
            "temperature": 0.25,
            "response_format": {"type": "json_schema", "json_schema": schema},
        },
    ]
    assert server.requests[0].headers["Authorization"] == f"Bearer {server.api_key}"


@pytest.mark.parametrize(
    ("forms", "asked"),
    [
        ({"json_object"}, ["json_schema", "json_object", "json_object"]),
        (set[str](), ["json_schema", "json_object", None, None]),
    ],
)
async def test_a_server_that_enforces_no_schema_gets_it_in_words(
    server: FakeChatServer, chat: OpenAIChat, forms: Any, asked: list[str | None]
) -> None:
    server.forms = forms
    for _ in range(2):
        assert (await chat.complete(ask(form=FORM))).text == items_text(8)
    assert [request.form for request in server.requests] == asked
    first, *others = server.requests
    assert "additionalProperties" not in first.text
    assert all("additionalProperties" in request.text for request in others)
    assert server.requests[-1].body["messages"][0]["content"] == (
        "You answer.\n\nAnswer only with JSON that is valid under this JSON schema: "
        + json.dumps(FORM.schema)
    )


async def test_the_schema_has_a_message_of_its_own_where_there_is_no_system_message(
    server: FakeChatServer, chat: OpenAIChat
) -> None:
    server.forms = set()
    await chat.complete(ask(form=FORM, messages=(Message("user", "Go."),)))
    roles = [message["role"] for message in server.requests[-1].body["messages"]]
    assert roles == ["system", "user"]


async def test_a_model_with_other_names_and_no_temperature_gets_what_it_takes(
    server: FakeChatServer, connect: Connect
) -> None:
    server.limit, server.takes_temperature, server.forms = "max_completion_tokens", False, set()
    recorder = Recorder()
    chat = await connect(guard=recorder)
    await chat.complete(ask(temperature=0.2, form=FORM))
    await chat.complete(ask(temperature=0.2, form=FORM))
    assert len(server.requests) == len(recorder.plans) == 6
    assert len(recorder.called) == 2
    body = server.requests[-1].body
    assert set(body) == {"model", "messages", "max_completion_tokens"}
    assert body["max_completion_tokens"] == 300


async def test_what_one_model_takes_says_nothing_of_another(
    server: FakeChatServer, chat: OpenAIChat
) -> None:
    server.takes_temperature = False
    await chat.complete(ask(temperature=0.2))
    server.takes_temperature = True
    await chat.complete(ask(temperature=0.2, model="openai/gpt-5-mini"))
    assert ["temperature" in request.body for request in server.requests] == [True, False, True]


async def test_a_refusal_that_never_ends_is_one(server: FakeChatServer, chat: OpenAIChat) -> None:
    body = error_body("response_format temperature max_completion_tokens: not supported")
    server.fail_next(*[400] * 20, body=body)
    error = await failure(chat, form=FORM, temperature=0.5)
    assert (type(error), error.code) == (Refused, "refused")
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(
            400,
            b'{"error":{"message":"This response_format type is unavailable now","param":null}}',
            id="DeepSeek",
        ),
        pytest.param(
            400,
            b"{\"error\":\"'response_format.type' must be 'json_schema' or 'text'\"}",
            id="LM Studio",
        ),
        pytest.param(
            400, b'{"error":{"code":400,"message":"Failed to parse grammar"}}', id="llama.cpp"
        ),
        pytest.param(
            404,
            b'{"error":{"message":"No endpoints found that can handle the requested parameters."}}',
            id="OpenRouter",
        ),
    ],
)
async def test_servers_say_in_many_ways_that_they_know_no_schema(
    server: FakeChatServer, chat: OpenAIChat, status: int, body: bytes
) -> None:
    server.fail_next(status, body=body)
    assert (await chat.complete(ask(form=FORM))).text == items_text(8)
    assert [request.form for request in server.requests] == ["json_schema", "json_object"]


async def test_a_wrong_key_is_unauthorized_and_shown_nowhere(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-wrong-abcdefghijklmnop"
    chat = await connect(key)
    error = await failure(chat)
    assert isinstance(error, Unauthorized)
    assert (error.dependency, error.status) == ("openrouter", 401)
    assert error.reason == "invalid_api_key"
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = repr(chat) + repr(error) + "".join(traceback.format_exception(error)) + caplog.text
    assert "mnop" not in shown + repr(pickle.dumps(error))


@pytest.mark.parametrize("status", [200, 400, 403, 404, 429, 500])
async def test_a_key_that_a_server_repeats_is_not_passed_on(
    server: FakeChatServer, chat: OpenAIChat, status: int
) -> None:
    server.fail_next(status, body=error_body(f"what is {server.api_key} to me?"))
    error = await failure(chat)
    assert server.api_key not in repr(error) + "".join(traceback.format_exception(error))
    assert "***" in str(error)


async def test_a_model_that_does_not_exist_is_distinct_from_a_missing_api(
    server: FakeChatServer, chat: OpenAIChat, connect: Connect
) -> None:
    error = await failure(chat, model="anthropic/claude-9")
    assert isinstance(error, InvalidTask)
    assert error.code == "model_not_found"
    assert "anthropic/claude-9" in error.message
    assert "DEFAULT_LLM_MODEL" in error.message
    error = await failure(await connect(base_url=f"{server.url}/nowhere"))
    assert isinstance(error, NotFound)


async def test_a_model_that_does_not_exist_is_not_asked_for_again_for_a_while(
    server: FakeChatServer, connect: Connect
) -> None:
    now = 1_800_000_000.0
    chat = await connect(clock=lambda: now)
    for _ in range(3):
        error = await failure(chat, model="anthropic/claude-9")
        assert (error.code, "anthropic/claude-9" in str(error)) == ("model_not_found", True)
    assert len(server.requests) == 1
    server.models.add("anthropic/claude-9")
    now += MISSING_MODEL_S
    assert (await chat.complete(ask(model="anthropic/claude-9"))).finish == "stop"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(
            400,
            b'{"error":{"message":"anthropic/x is not a valid model ID","code":400}}',
            InvalidTask("model_not_found", ""),
            id="OpenRouter, a name",
        ),
        pytest.param(
            404,
            b'{"error":{"message":"No endpoints found for anthropic/x.","code":404}}',
            InvalidTask("model_not_found", ""),
            id="OpenRouter, nobody runs it",
        ),
        pytest.param(
            404,
            b'{"error":{"message":"model \\"x\\" not found, try pulling it first"}}',
            InvalidTask("model_not_found", ""),
            id="Ollama",
        ),
        pytest.param(
            403,
            error_body("Project `p` does not have access to model `m`", code="model_not_found"),
            InvalidTask("model_not_found", ""),
            id="a project without access",
        ),
        pytest.param(
            404,
            error_body("This is not a chat model and thus not supported in the v1/chat"),
            InvalidTask("unsupported_model", ""),
            id="no chat model",
        ),
        pytest.param(
            400,
            error_body("This model's maximum context length is 8192 tokens. However, you asked"),
            InvalidTask("input_too_long", ""),
            id="long prompt",
        ),
        pytest.param(
            400,
            error_body("x", code="context_length_exceeded"),
            InvalidTask("input_too_long", ""),
            id="long prompt by its code",
        ),
        pytest.param(413, b"", InvalidTask("input_too_long", ""), id="long body"),
        pytest.param(
            400,
            error_body("prompt is too long: 210000 tokens > 200000 maximum"),
            InvalidTask("input_too_long", ""),
            id="Anthropic, long prompt",
        ),
        pytest.param(
            400,
            error_body("max_tokens is too large: 9000. This model supports at most 4096"),
            Refused("openrouter", 400),
            id="long answer",
        ),
        pytest.param(
            400,
            error_body("The response was filtered", code="content_filter"),
            InvalidTask("content_refused", ""),
            id="Azure's filter",
        ),
        pytest.param(
            403,
            b'{"error":{"message":"Your input was flagged","code":403,"metadata":{}}}',
            InvalidTask("content_refused", ""),
            id="OpenRouter's moderation",
        ),
        pytest.param(
            404,
            b'[{"error":{"code":404,"message":"models/x is not found for API version v1main, or is '
            b'not supported for generateContent.","status":"NOT_FOUND"}}]',
            InvalidTask("model_not_found", ""),
            id="Gemini",
        ),
        pytest.param(
            404,
            error_body("This model models/x is no longer available. Use a newer model."),
            InvalidTask("model_not_found", ""),
            id="Gemini, of a model that is gone",
        ),
        pytest.param(
            400,
            error_body("* GenerateContentRequest.model: unexpected model name format"),
            InvalidTask("model_not_found", ""),
            id="Gemini, of a name",
        ),
        pytest.param(
            404,
            error_body("model: claude-9"),
            InvalidTask("model_not_found", ""),
            id="Anthropic",
        ),
        pytest.param(
            200,
            b'{"error":{"message":"maximum context length is 8192"}}',
            InvalidTask("input_too_long", ""),
            id="long prompt, behind a 200",
        ),
        pytest.param(
            500,
            error_body("the prompt is too large"),
            InvalidTask("input_too_long", ""),
            id="long prompt, as a 500",
        ),
        pytest.param(403, error_body("Country not supported"), Unauthorized("openrouter", 403)),
        pytest.param(418, b"", Refused("openrouter", 418), id="no body"),
        pytest.param(404, b"<html>404</html>", NotFound("openrouter", 404), id="html"),
    ],
)
async def test_refusals_are_told_apart(
    server: FakeChatServer, chat: OpenAIChat, status: int, body: bytes, error: AletheiaError
) -> None:
    server.fail_next(status, body=body)
    raised = await failure(chat)
    assert (type(raised), raised.code) == (type(error), error.code)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [(None, None), ("7", 7), (formatdate(1_800_000_030, usegmt=True), 30), ("soon", None)],
)
async def test_a_429_says_how_long_to_wait_if_it_does(
    server: FakeChatServer, chat: OpenAIChat, header: str | None, wait_s: float | None
) -> None:
    headers = {"Date": formatdate(1_800_000_000, usegmt=True)}
    if header is not None:
        headers["Retry-After"] = header
    server.answer_next(error_body("Rate limit exceeded"), status=429, headers=headers)
    error = await failure(chat)
    assert type(error) is Unavailable
    assert (error.retry_after_s, error.status) == (wait_s, 429)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, error_body("Insufficient credits")),
        (429, error_body("You exceeded your current quota", code="insufficient_quota")),
    ],
)
async def test_an_empty_account_is_distinct_from_a_rate_limit(
    server: FakeChatServer, chat: OpenAIChat, status: int, body: bytes
) -> None:
    server.fail_next(status, body=body)
    error = await failure(chat)
    assert isinstance(error, QuotaExhausted)
    assert error.status == status


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 529])
async def test_an_outage_is_reported_once_and_not_retried(
    server: FakeChatServer, chat: OpenAIChat, status: int
) -> None:
    server.fail_next(status, retry_after=3)
    error = await failure(chat)
    assert type(error) is Unavailable
    assert (error.status, error.retry_after_s) == (status, 3)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": 429, "message": "model x not found in the quota"}, Unavailable, 429),
        ({"code": 402, "message": "no credits"}, QuotaExhausted, 402),
        ({"code": "server_error", "message": "provider is gone"}, Unavailable, 502),
        ({"code": 200, "message": "odd"}, Unavailable, 502),
        ({"message": "odd", "code": "rate_limit_exceeded"}, Unavailable, 429),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_an_error_behind_a_200_is_an_error(
    server: FakeChatServer, chat: OpenAIChat, *, error: Any, kind: Any, status: int, is_late: bool
) -> None:
    choice = {"message": {"content": "half"}, "finish_reason": "error", "error": error}
    server.answer_next(orjson.dumps({"choices": [choice]} if is_late else {"error": error}))
    raised = await failure(chat)
    assert isinstance(raised, Unavailable)
    assert (type(raised), raised.status) == (kind, status)
    assert error["message"] in raised.reason


@pytest.mark.parametrize(
    ("misbehaviour", "status"),
    [
        ("hangs_up", None),
        ("loses_its_answer", None),
        ("is_not_http", None),
        ("cuts_its_body", 200),
        ("stalls", 200),
        ("drips", 200),
        ("never_ends", 200),
    ],
)
async def test_a_connection_that_fails_is_an_outage(
    server: FakeChatServer, connect: Connect, misbehaviour: Misbehaviour, status: int | None
) -> None:
    chat = await connect(timeout_s=0.3, max_answer_bytes=2**30)
    server.misbehave_next(misbehaviour)
    error = await failure(chat)
    assert isinstance(error, Unavailable)
    assert (error.dependency, error.status) == ("openrouter", status)
    assert len(server.requests) == 1
    assert (await chat.complete(ask())).finish == "stop"


async def test_a_server_that_is_not_there_is_an_outage(
    server: FakeChatServer, chat: OpenAIChat
) -> None:
    await server.stop()
    error = await failure(chat)
    assert isinstance(error, Unavailable)
    assert error.status is None


async def test_an_answer_is_read_up_to_a_limit(server: FakeChatServer, connect: Connect) -> None:
    chat = await connect(max_answer_bytes=100_000)
    server.misbehave_next("never_ends")
    error = await failure(chat)
    assert isinstance(error, BadAnswer)
    assert error.reason == "longer than 100,000 bytes"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>hello</html>", "a web page in place of JSON"),
        (b'{"choices": [{"message": {"content": "ha', "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no choice to take"),
        (b'{"choices": []}', "no choice to take"),
        (b'{"choices": {}}', "no choice to take"),
        (b'{"choices": [7]}', "a choice without a message"),
        (b'{"choices": [{"finish_reason": "stop"}]}', "a choice without a message"),
    ],
)
async def test_an_answer_that_breaks_its_promises_is_a_bad_answer(
    server: FakeChatServer, chat: OpenAIChat, body: bytes, reason: str
) -> None:
    server.answer_next(body)
    error = await failure(chat)
    assert isinstance(error, BadAnswer)
    assert reason in error.reason
    assert len(server.requests) == 1


async def test_a_redirect_is_not_followed(server: FakeChatServer, chat: OpenAIChat) -> None:
    server.answer_next(b"", status=307, headers={"Location": f"{server.url}/chat/completions"})
    error = await failure(chat)
    assert isinstance(error, BadAnswer)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "finish", "refusal", "expected"),
    [
        ("text", "stop", None, ("text", "stop", "")),
        ("half of i", "length", None, ("half of i", "length", "")),
        ("", "content_filter", None, ("", "refused", "")),
        (None, "stop", "I can't.", ("", "refused", "I can't.")),
        (None, "length", None, ("", "length", "")),
        ("text", "tool_calls", None, ("text", "other", "")),
        ("text", None, None, ("text", "other", "")),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "stop", None, ("ab",)),
        (7, "stop", None, ("", "stop", "")),
    ],
)
async def test_why_a_model_stopped_is_returned(
    server: FakeChatServer,
    chat: OpenAIChat,
    *,
    content: Any,
    finish: Any,
    refusal: Any,
    expected: Any,
) -> None:
    server.say(content, finish=finish, refusal=refusal)
    answer = await chat.complete(ask())
    assert (answer.text, answer.finish, answer.refusal)[: len(expected)] == expected


async def test_a_text_that_no_store_takes_is_mended(
    server: FakeChatServer, chat: OpenAIChat
) -> None:
    server.answer_next(b'{"choices": [{"message": {"content": "a\\ud800b"}}]}')
    assert (await chat.complete(ask())).text == "a?b"


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        {"prompt_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": "5", "completion_tokens": 1},
        {"prompt_tokens": 5, "completion_tokens": -1},
    ],
)
async def test_what_nobody_counted_is_estimated(
    server: FakeChatServer, chat: OpenAIChat, usage: Any
) -> None:
    choice = {"message": {"content": "four"}, "finish_reason": "stop"}
    server.answer_next(orjson.dumps({"choices": [choice], "usage": usage}))
    answer = await chat.complete(ask())
    assert answer.is_estimate
    assert answer.used == Tokens(ask().token_bound.input, 4)
    assert answer.model == SONNET


async def test_every_request_that_is_sent_is_announced(connect: Connect) -> None:
    recorder = Recorder()
    chat = await connect(guard=recorder)
    answer = await chat.complete(ask())
    (plan,) = recorder.plans
    assert (plan.provider, plan.model, plan.kind) == ("openrouter", SONNET, "chat")
    assert (plan.key, plan.max_tokens, plan.texts) == (ask().key, ask().token_bound, 1)
    assert recorder.called == [answer]
    assert answer.used.total < plan.max_tokens.total


async def test_what_lies_around_a_request_can_hold_it_back(
    server: FakeChatServer, connect: Connect
) -> None:
    until = BreakerOpen("openrouter", None)  # type: ignore[arg-type] - nobody reads it here
    chat = await connect(guard=Recorder(until))
    assert await failure(chat) is until
    assert server.requests == []


async def test_requests_in_flight_are_bounded(server: FakeChatServer, connect: Connect) -> None:
    chat = await connect(concurrency=2)
    server.delay_s = 0.02
    await asyncio.gather(*(chat.complete(ask()) for _ in range(6)))
    assert (len(server.requests), server.max_in_flight) == (6, 2)


def test_it_is_a_chat_model_of_the_provider_it_is_named() -> None:
    chat: ChatModel = OpenAIChat(Api("openai", "key", "https://api.openai.com/v1"))
    assert (chat.provider, chat.is_mock) == ("openai", False)


@pytest.mark.parametrize("model", ["", "x" * 257, "a\nb"])
async def test_what_is_no_name_of_a_model_is_not_asked_for(
    server: FakeChatServer, chat: OpenAIChat, model: str
) -> None:
    error = await failure(chat, model=model)
    assert isinstance(error, InvalidTask)
    assert error.code == "unsupported_model"
    assert server.requests == []


@pytest.mark.parametrize("key", ["", "with blank", "line\n", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_misconfigured(key: str) -> None:
    with pytest.raises(Misconfigured, match="OPENROUTER_API_KEY") as raised:
        Api("openrouter", key, "https://openrouter.ai/api/v1")
    assert not key or key not in str(raised.value)


def test_an_address_that_is_none_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="OPENAI_BASE_URL"):
        Api("openai", "key", "api.openai.com/v1")


async def test_a_client_that_is_not_open_sends_nothing() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await OpenAIChat(Api("openrouter", "key", "https://openrouter.ai/api/v1")).complete(ask())


def department(**parts: Any) -> Department:
    return Department(id="d1", slug="it", name="IT", gather_check=True, is_active=True, **parts)


async def generate(chat: OpenAIChat, **about: Any) -> Batch:
    plan = GenerationPlan(SONNET)
    answers, context = MemoryAnswers(), PromptContext()
    return await generate_items(chat, answers, department(**about), 1, context, plan=plan)


async def test_a_batch_is_generated_over_http(server: FakeChatServer, chat: OpenAIChat) -> None:
    server.say("no", items_text(3), finish="stop")
    server.forms = {"json_object"}
    batch = await generate(chat, default_model="nobody/has-it")
    assert (len(batch.items), batch.rounds) == (8, 3)
    assert batch.model == f"{SONNET}-20260101"
    assert [request.body["model"] for request in server.requests] == [
        "nobody/has-it",
        *[SONNET] * 4,
    ]


async def test_a_batch_that_meets_a_rate_limit_says_how_long_to_wait(
    server: FakeChatServer, chat: OpenAIChat
) -> None:
    server.fail_next(429, retry_after=30)
    with pytest.raises(Unavailable) as raised:
        await generate(chat)
    assert raised.value.retry_after_s == 30


async def test_a_stall_ends_a_request_in_time_and_costs_no_other_one(
    server: FakeChatServer, connect: Connect
) -> None:
    chat = await connect(timeout_s=0.2)
    server.misbehave_next("stalls")
    with pytest.raises(Unavailable, match=r"no complete answer within 0\.2 s"):
        await generate(chat)
    assert len((await generate(chat)).items) == 8


async def test_a_stall_in_a_repair_keeps_the_items_of_the_first_answer(
    server: FakeChatServer, connect: Connect
) -> None:
    chat = await connect(timeout_s=0.2)
    server.answer_next(
        orjson.dumps(
            {"choices": [{"message": {"content": items_text(4)}, "finish_reason": "stop"}]}
        )
    )
    server.misbehave_next("stalls")
    batch = await generate(chat)
    assert (len(batch.items), batch.faults[-1].code) == (4, "unavailable")


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"colour": "red"}, 400, "Unrecognized request argument supplied: colour"),
        ({"model": 7}, 400, "Invalid type for 'model'."),
        ({"model": "nope"}, 404, "does not exist"),
        ({"messages": []}, 400, "Invalid value: 'messages'."),
        ({"messages": [{"role": "user"}]}, 400, "'messages[0]'"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "'messages[0]'"),
        ({"messages": [{"role": "user", "content": ""}]}, 400, "'messages[0].content'"),
        ({"messages": [{"role": "user", "content": "x"}] * 2}, 400, "must alternate"),
        ({"max_tokens": 0}, 400, "below minimum"),
        ({"max_completion_tokens": 5}, 400, "Unsupported parameter"),
        ({"temperature": 3}, 400, "Invalid 'temperature'"),
        ({"messages": [{"role": "user", "content": "x " * 100_001}]}, 400, "context length"),
        ({"response_format": {"type": "xml"}}, 400, "must be one of"),
        ({"response_format": {"type": "json_object"}}, 400, "the word 'json'"),
        ({"response_format": {"type": "json_schema"}}, 400, "name"),
    ],
)
async def test_the_fake_is_strict(
    server: FakeChatServer, change: dict[str, Any], status: int, said: str
) -> None:
    body = {"model": SONNET, "messages": [{"role": "user", "content": "hi"}], **change}
    answered = await post(server, body)
    assert answered.get("status") == status
    assert said in answered.get("error", {}).get("message", "")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "properties": {}}, "additionalProperties"),
        ({"type": "array", "items": {"type": "object"}}, "additionalProperties"),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
            "'required' is required",
        ),
        ({"type": "string", "maxLength": 5}, "['maxLength'] is not permitted"),
        ({"$defs": {"maxLength": {"type": "string", "title": "x"}}}, "['title'] is not permitted"),
    ],
)
async def test_the_fake_checks_a_strict_schema(
    server: FakeChatServer, chat: OpenAIChat, schema: dict[str, Any], said: str
) -> None:
    form = {"name": "f", "strict": True, "schema": schema}
    body = {
        "model": SONNET,
        "messages": [{"role": "user", "content": "hi"}],
        "response_format": {"type": "json_schema", "json_schema": form},
    }
    answered = await post(server, body)
    assert said in answered["error"]["message"]
    # Given no strict schema, the model is asked in words; nothing is lost.
    assert (await chat.complete(ask(form=AnswerForm("f", schema)))).text == items_text(8)


async def post(server: FakeChatServer, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{server.url}/chat/completions", json=body) as response,
    ):
        return {**orjson.loads(await response.read()), "status": response.status}
