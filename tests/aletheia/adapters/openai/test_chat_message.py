from typing import Any

import pytest

from aletheia.adapters.openai.chat import read_message

GOOD = '{"items": []}'


def call(arguments: Any) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "items", "arguments": arguments}}


def tool_use(given: Any) -> dict[str, Any]:
    return {"id": "1", "type": "tool_use", "name": "items", "input": given}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"content": GOOD}, id="content"),
        pytest.param({"content": GOOD, "reasoning": "so"}, id="content beside thoughts"),
        pytest.param({"content": [{"type": "text", "text": GOOD}]}, id="parts"),
        pytest.param(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "so"}]},
                    {"type": "text", "text": GOOD},
                ]
            },
            id="parts with thoughts",
        ),
        pytest.param({"content": {"items": []}}, id="the JSON itself"),
        pytest.param({"content": None, "tool_calls": [call(GOOD)]}, id="a call"),
        pytest.param({"content": "", "tool_calls": [call({"items": []})]}, id="a call with JSON"),
        pytest.param({"content": "I call it:", "tool_calls": [call(GOOD)]}, id="words and a call"),
        pytest.param({"function_call": {"name": "items", "arguments": GOOD}}, id="an old call"),
        pytest.param({"content": [tool_use({"items": []})]}, id="a call in a part"),
        pytest.param({"content": [tool_use(GOOD)]}, id="a call in a part, as text"),
        pytest.param(
            {"content": [{"type": "text", "text": "I call it:"}, tool_use({"items": []})]},
            id="words and a call in parts",
        ),
        pytest.param(
            {"content": [{"type": "thinking", "input": "[1]"}, tool_use({"items": []})]},
            id="a thought and a call in parts",
        ),
        pytest.param({"content": None, "reasoning": GOOD}, id="reasoning"),
        pytest.param({"content": "\n", "reasoning_content": GOOD}, id="reasoning_content"),
        pytest.param({"reasoning_content": "", "thinking": GOOD}, id="thinking"),
    ],
)
def test_an_answer_is_found_wherever_it_is(message: dict[str, Any]) -> None:
    assert read_message(message, is_done=True) == GOOD


def test_thoughts_are_an_answer_only_if_they_end_in_one() -> None:
    fenced = f"So:\n```json\n{GOOD}\n```\n"
    assert read_message({"content": None, "reasoning": fenced}, is_done=True) == fenced
    draft = {"content": None, "reasoning": f"Maybe {GOOD}? No, I cannot say."}
    assert read_message(draft, is_done=True) == ""
    assert read_message({"content": None, "reasoning": GOOD}, is_done=False) == "", "a draft"


CALLED = '{"items": [{"title": "a"}]}'
DRAFT = '{"items": [{"title": "draft"}]}'


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("<think>[a] or [b]</think>", id="brackets in thoughts"),
        pytest.param(f"<think>perhaps {DRAFT}</think>", id="a draft in thoughts"),
        pytest.param(f"<think>perhaps {DRAFT}", id="a thought without an end"),
        pytest.param(f"[THINK]{DRAFT}[/THINK][TOOL_CALLS]", id="a thought and a marker"),
        pytest.param("[TOOL_CALLS]", id="a marker"),
        pytest.param("[TOOL_CALLS] [", id="a marker and a bracket"),
        pytest.param("{}", id="an empty object"),
        pytest.param("[]", id="an empty list"),
        pytest.param("[{}]", id="a list of an empty object"),
        pytest.param(" ```json\n{ }\n``` ", id="a fenced empty object"),
        pytest.param('{"items": []}', id="an object with an empty list"),
        pytest.param('{"content": null}', id="an object with null"),
        pytest.param({}, id="an empty object itself"),
        pytest.param([{"type": "text", "text": "{}"}], id="an empty object in a part"),
        pytest.param("As [1] says, I call {items}.", id="brackets between words"),
        pytest.param([{"type": "thinking", "text": DRAFT}], id="a part with a draft"),
    ],
)
def test_a_call_is_the_answer_beside_content_without_json_to_use(content: Any) -> None:
    message = {"content": content, "tool_calls": [call(CALLED)]}
    assert read_message(message, is_done=True) == CALLED
    old = {"content": content, "function_call": {"name": "items", "arguments": CALLED}}
    assert read_message(old, is_done=True) == CALLED


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"items": [{"title": "b"}]}', id="an object"),
        pytest.param('[TOOL_CALLS] [{"title": "b"}, {"title": "c"}]', id="a marker and a list"),
        pytest.param("<think>[a]</think>" + '{"items": [{"title": "b"}]}', id="after thoughts"),
        pytest.param('"{\\"items\\": [{\\"title\\": \\"b\\"}]}"', id="a text"),
        pytest.param('{"items": [{"title": "b"}, {"ti', id="a cut object"),
        pytest.param('{"items": [{"title": "b"}]} {"items": [{"title": "c"}]}', id="two"),
    ],
)
def test_content_with_json_to_use_is_the_answer_beside_a_call(content: str) -> None:
    assert read_message({"content": content, "tool_calls": [call(CALLED)]}, is_done=True) == content


@pytest.mark.parametrize(
    "thought",
    [
        *({"type": kind, "text": DRAFT} for kind in ("thinking", "reasoning", "Thinking")),
        *({"type": kind, "text": DRAFT} for kind in ("redacted_thinking", "reasoning_content")),
        *({"type": kind, "text": DRAFT} for kind in ("reasoning.text", "thought", "summary_text")),
        {"thought": True, "text": DRAFT},
    ],
    ids=str,
)
def test_a_part_that_is_thought_is_never_the_answer(thought: dict[str, Any]) -> None:
    answer = {"type": "text", "text": GOOD}
    assert read_message({"content": [thought, answer]}, is_done=True) == GOOD
    assert read_message({"content": [answer, thought]}, is_done=True) == GOOD
    for is_done in (True, False):
        assert read_message({"content": [thought]}, is_done=is_done) == ""


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"content": 5, "tool_calls": 5, "reasoning": 5, "function_call": "x"},
        {"content": [5, None, ["x"]], "tool_calls": [5, {}, {"function": [1]}]},
        {"content": None, "tool_calls": [call(None), call(7)], "reasoning": {"a": {1: 2}}.get("b")},
    ],
)
def test_what_is_of_no_known_form_is_empty(message: dict[str, Any]) -> None:
    assert read_message(message, is_done=True) in ("", "x")
