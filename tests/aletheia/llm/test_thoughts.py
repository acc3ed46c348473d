import json

import pytest

from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import Finish
from aletheia.llm.thoughts import MAX_PREAMBLE_CHARS, drop_thoughts, is_spent
from tests.fakes.chat import completion

GOOD = '{"a": "the answer"}'
DRAFT = '{"a": "a draft"}'
MARKED = json.dumps({"a": "write </think> or <think>, [THINK] and <|channel|>analysis"})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"<think>{DRAFT}</think>{GOOD}", id="a pair of tags"),
        pytest.param(f"<thinking>\n{DRAFT}\n</thinking>\n{GOOD}", id="by another name"),
        pytest.param(f'<think time="3">{DRAFT}</think>{GOOD}', id="a tag with an attribute"),
        pytest.param(f"<seed:think>{DRAFT}</seed:think>{GOOD}", id="a tag with a prefix"),
        pytest.param(f"{DRAFT}</think>{GOOD}", id="only a closing tag, behind a draft alone"),
        pytest.param(f"Maybe {DRAFT[:9]} </think>{GOOD}", id="only a closing tag, half a draft"),
        pytest.param(f"So: {DRAFT}[/THINK]\n{GOOD}", id="only a closing bracket"),
        pytest.param(f"<think>{DRAFT}</think> </think>{GOOD}", id="a tag is closed twice"),
        pytest.param(f"<think>a<think>b</think>{DRAFT}</think>{GOOD}", id="thoughts in thoughts"),
        pytest.param(f"{GOOD}\n<think>Was that {DRAFT}?</think>", id="thoughts behind the answer"),
        pytest.param(f"{GOOD}\n<think>Was that {DRAFT}", id="cut thoughts behind the answer"),
        pytest.param(f"Now:<think>{DRAFT}</think>{GOOD}", id="words, then thoughts"),
        pytest.param(f"◁think▷{DRAFT}◁/think▷{GOOD}", id="Kimi"),
        pytest.param(f"<|START_THINKING|>{DRAFT}<|END_THINKING|>{GOOD}", id="Cohere"),
        pytest.param(f"<|channel|>analysis{DRAFT}<|channel|>final{GOOD}", id="channels alone"),
        pytest.param(
            f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final "
            f"<|constrain|>json<|message|>{GOOD}<|return|>",
            id="channels with a constraint",
        ),
        pytest.param(
            f"analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}",
            id="channels without their first mark",
        ),
        pytest.param(
            f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>commentary "
            f"to=functions.answer <|constrain|>json<|message|>{GOOD}<|call|>",
            id="a call in a channel",
        ),
    ],
)
def test_only_the_answer_is_left(text: str) -> None:
    left = drop_thoughts(text)
    assert GOOD in left
    assert "draft" not in left


@pytest.mark.parametrize("text", [MARKED, f"Here:\n{MARKED}", f"```json\n{MARKED}\n```"])
def test_marks_within_an_answer_are_text(text: str) -> None:
    assert drop_thoughts(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"<think>Perhaps {GOOD}", id="a tag"),
        pytest.param(f"Let me see. <think>Perhaps {GOOD}", id="words and a tag"),
        pytest.param(f"<think>a</think><think>{GOOD}", id="second thoughts"),
        pytest.param(f"[THINK]Perhaps {GOOD}, or", id="a bracket"),
        pytest.param(f"<|channel|>analysis<|message|>Perhaps {GOOD}", id="a channel"),
        pytest.param(f"<|channel|>analysis Perhaps {GOOD}", id="a channel without its message"),
        pytest.param(f"analysisWe need to write {GOOD}", id="a channel without marks"),
        pytest.param(f"analysis<|message|>We need {GOOD}", id="a channel without its first mark"),
    ],
)
def test_thoughts_without_an_end_are_no_answer(text: str) -> None:
    with pytest.raises(UnreadableAnswer) as raised:
        drop_thoughts(text)
    assert raised.value.code == "cut_thought"


LONG = "I wonder what they want. " * (MAX_PREAMBLE_CHARS // 20)


@pytest.mark.parametrize(
    ("text", "finish", "is_so"),
    [
        ("", "length", True),
        ("Let me think about what", "length", True),
        (f"<think>Perhaps {GOOD}", "length", True),
        (f"Perhaps {GOOD}, or rather", "length", True),
        (f"{LONG}{GOOD[:-2]}", "length", True),
        (f"Here it is: {GOOD[:-2]}", "length", False),
        (GOOD[:-2], "length", False),
        (GOOD, "length", False),
        ("", "stop", False),
        ("", "other", False),
    ],
)
def test_an_answer_is_spent_if_it_ended_before_it_began(
    text: str, finish: Finish, is_so: bool
) -> None:
    assert is_spent(completion(text, finish=finish)) is is_so
