"""Failures of a chat model are noted for whoever decides afterwards whether to try again."""

import pytest

from aletheia.errors import AletheiaError, Misconfigured, Unavailable
from aletheia.llm.messages import AnswerForm, ChatRequest, Message
from aletheia.llm.noted_failures import NotedFailures
from tests.fakes.chat import ScriptedChat

REQUEST = ChatRequest("m", (Message("system", "s"), Message("user", "u")), AnswerForm("f", {}))


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
            await chat.complete(REQUEST)
        assert raised.value is failure
    assert (await chat.complete(REQUEST)).text == "fine"
    with pytest.raises(Unavailable):
        await chat.complete(REQUEST)
    assert chat.first is first


async def test_a_model_that_answers_leaves_no_failure():
    chat = NotedFailures(ScriptedChat("fine"), lambda _: True)
    await chat.complete(REQUEST)
    assert chat.first is None
    assert (chat.provider, chat.is_mock) == ("scripted", False)
