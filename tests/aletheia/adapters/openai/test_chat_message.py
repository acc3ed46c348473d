from typing import Any

import pytest

from aletheia.adapters.openai.chat import read_message

GOOD = '{"items": []}'


def call(arguments: Any) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "items", "arguments": arguments}}


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
