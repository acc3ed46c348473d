import asyncio

import pytest

from aletheia.errors import AletheiaError, InvalidTask, Misconfigured, Refused, Unavailable
from aletheia.llm.asking import LIMIT_FACTOR, NotedFailures, WideningChat
from aletheia.llm.messages import AnswerForm, ChatRequest, Completion, Message
from aletheia.llm.prices import Tokens
from tests.fakes.chat import Reply, ScriptedChat, completion

SPENT = completion("", finish="length")
GOOD = completion('{"a": 1}')
MESSAGES = (Message("system", "Be brief."), Message("user", "What is a?"))


def ask(model: str = "m") -> ChatRequest:
    return ChatRequest(model, MESSAGES, AnswerForm("a", {}), max_tokens=100)


def limits(chat: ScriptedChat) -> list[int]:
    return [request.max_tokens for request in chat.requests]


async def test_an_answer_that_ended_before_it_began_gets_a_higher_limit_once() -> None:
    chat = ScriptedChat(SPENT, GOOD)
    answer = await WideningChat(chat).complete(ask())
    assert (answer.text, answer.used) == (GOOD.text, Tokens(200, 20)), "both calls were paid for"
    assert limits(chat) == [100, 100 * LIMIT_FACTOR]


async def test_a_model_that_needed_a_higher_limit_gets_it_from_then_on() -> None:
    chat = ScriptedChat(SPENT, SPENT, SPENT, GOOD)
    widening = WideningChat(chat)
    assert (await widening.complete(ask())).finish == "length"
    assert (await widening.complete(ask())).finish == "length", "there is no third size"
    await widening.complete(ask("another"))
    assert limits(chat) == [100, 400, 400, 100]


@pytest.mark.parametrize("reply", [GOOD, completion('{"a": 1', finish="length"), completion("")])
async def test_other_answers_are_left_as_they_are(reply: Reply) -> None:
    chat = ScriptedChat(reply)
    assert await WideningChat(chat).complete(ask()) == reply
    assert limits(chat) == [100]


@pytest.mark.parametrize(
    "refusal",
    [
        InvalidTask("input_too_long", "at most 100 tokens"),
        Refused("scripted", 400, "max_tokens is too large"),
        Unavailable("scripted", "too slow"),
    ],
)
async def test_a_model_that_refuses_a_higher_limit_is_not_asked_again(
    refusal: Reply,
) -> None:
    chat = ScriptedChat(SPENT, refusal, SPENT)
    widening = WideningChat(chat)
    assert await widening.complete(ask()) == SPENT
    assert await widening.complete(ask()) == SPENT
    assert limits(chat) == [100, 400, 100]


async def test_a_limit_of_the_provider_is_waited_for_with_a_higher_limit() -> None:
    chat = ScriptedChat(SPENT, Unavailable("scripted", "429", 20.0), GOOD)
    widening = WideningChat(chat)
    with pytest.raises(Unavailable):
        await widening.complete(ask())
    assert await widening.complete(ask()) == GOOD
    assert limits(chat) == [100, 400, 400]


class SlowChat(ScriptedChat):
    async def complete(self, request: ChatRequest) -> Completion:
        await asyncio.sleep(0)
        return await super().complete(request)


async def test_questions_at_the_same_time_get_a_higher_limit_each() -> None:
    chat = SlowChat(SPENT, SPENT, GOOD, GOOD)
    widening = WideningChat(chat)
    answers = await asyncio.gather(widening.complete(ask()), widening.complete(ask()))
    assert [answer.text for answer in answers] == [GOOD.text] * 2


async def test_the_first_failure_of_the_kind_is_noted_and_all_are_raised():
    wrong, first, second = (
        Misconfigured("KEY", "is wrong"),
        Unavailable("llm", "1"),
        Unavailable("llm", "2"),
    )
    chat = NotedFailures(
        ScriptedChat(wrong, first, "fine", second), lambda error: isinstance(error, Unavailable)
    )
    for failure in (wrong, first):
        with pytest.raises(AletheiaError) as raised:
            await chat.complete(ask())
        assert raised.value is failure
    assert (await chat.complete(ask())).text == "fine"
    with pytest.raises(Unavailable):
        await chat.complete(ask())
    assert chat.first is first


async def test_a_model_that_answers_leaves_no_failure():
    chat = NotedFailures(ScriptedChat("fine"), lambda _: True)
    await chat.complete(ask())
    assert chat.first is None
    assert (chat.provider, chat.is_mock) == ("scripted", False)
