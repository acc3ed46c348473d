import json
import time
from typing import Any, cast

import pytest
from pydantic import BaseModel, Field, ValidationError

from aletheia.llm.json_text import MAX_DEPTH, FoundJson, UnreadableAnswer
from aletheia.llm.structured import (
    MAX_ANSWER_CHARS,
    MAX_ERROR_CHARS,
    explain,
    find_json,
    form_of,
    read_answer,
)


class Verdict(BaseModel):
    score: int = Field(ge=0, le=100)
    reason: str = Field(min_length=1)
    hints: list[str] = []


GOOD = '{"score": 85, "reason": "because"}'
DRAFT = '{"score": 1, "reason": "a draft"}'


def find(text: str) -> FoundJson:
    return find_json(text, accept=lambda value: isinstance(value, dict))


def _has_items(value: object) -> bool:
    return isinstance(value, dict) and "items" in value


def fault_of(text: str, **finish: Any) -> UnreadableAnswer:
    with pytest.raises(UnreadableAnswer) as raised:
        read_answer(text, Verdict, **finish)
    assert len(raised.value.message) <= MAX_ERROR_CHARS
    return raised.value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(GOOD, id="bare"),
        pytest.param(f"\ufeff \n{GOOD}\n", id="blanks and a byte order mark"),
        pytest.param(f"```json\n{GOOD}\n```", id="fenced"),
        pytest.param(f"```\n{GOOD}\n```\nHope this helps!", id="fenced, with a wish"),
        pytest.param(f"Sure, here it is:\n\n{GOOD}", id="prefixed"),
        pytest.param(f"{GOOD}\n\nLet me know.", id="with an end"),
        pytest.param(f"Smile :-{{ and [1] read {GOOD}", id="brackets before it"),
        pytest.param(f"<think>{{'a': 1}} or {GOOD}?</think>\n{GOOD}", id="with thoughts"),
        pytest.param(f"Maybe {DRAFT}?\n</think>\n{GOOD}", id="thoughts with only a closing tag"),
        pytest.param(f"[THINK]Maybe {DRAFT}?[/THINK]{GOOD}", id="thoughts in brackets"),
        pytest.param(f"<THINK>{DRAFT}</THINK>{GOOD}", id="thoughts in capitals"),
        pytest.param(f"<think>{DRAFT}</think><think>so</think>{GOOD}", id="thoughts twice"),
        pytest.param(
            f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final"
            f"<|message|>{GOOD}<|return|>",
            id="channels",
        ),
        pytest.param(f"analysis{DRAFT}assistantfinal{GOOD}", id="channels without their marks"),
        pytest.param(f"{GOOD}\n{GOOD}", id="the same twice"),
        pytest.param(f'{{"verdict": {GOOD}}}', id="below a key"),
        pytest.param(f'{{"data": {{"result": [{GOOD}]}}}}', id="below two keys, in a list of one"),
        pytest.param(f"[{GOOD}]", id="in a list of one"),
        pytest.param(json.dumps({"answer": GOOD}), id="as a text below a key"),
        pytest.param(json.dumps(GOOD), id="as a text"),
        pytest.param(f'{{"name": "verdict", "arguments": {GOOD}}}', id="as a call"),
        pytest.param(json.dumps({"name": "v", "parameters": GOOD}), id="as a call with a text"),
        pytest.param('{"score": 85, "reason": "because",}', id="a comma too many"),
        pytest.param('{"score": 85, "reason": "because", "hints": ["a", ], }', id="two of them"),
        pytest.param(
            '{"score": 85, "more": {"a": [1]}, "reason": "because"}', id="more than asked"
        ),
        pytest.param('{"thoughts": "```{", "score": 85, "reason": "because"}', id="fences in it"),
    ],
)
def test_an_answer_is_read_where_it_means_one_thing(text: str) -> None:
    verdict = read_answer(text, Verdict)
    assert (verdict.score, verdict.reason) == (85, "because")


def test_raw_line_breaks_in_a_string_are_kept() -> None:
    verdict = read_answer('{"score": 1, "reason": "one,\n]two"}', Verdict)
    assert verdict.reason == "one,\n]two"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty_answer"),
        (" \n\ufeff", "empty_answer"),
        ("<think>a long thought</think>  ", "empty_answer"),
        (f"<think>perhaps {GOOD}, or rather", "cut_thought"),
        (f"[THINK]perhaps {GOOD}", "cut_thought"),
        (f"<|channel|>analysis<|message|>perhaps {GOOD}", "cut_thought"),
        ("I would say 85.", "not_json"),
        ("{score: 85}", "not_json"),
        ('{"score": 85, "reason": "he said "so" again"}', "not_json"),
        ('{"score": NaN, "reason": "x"}', "wrong_shape"),
        ('{"score": 85, "reason": "\\ud800"}', "wrong_shape"),
        ('{"score": 85, "reason": "\ud800"}', "wrong_shape"),
        ('{"score": 85, "reason": "bec', "half_json"),
        ('{"score": 8', "half_json"),
        ("{", "half_json"),
        ("[1, 2]", "wrong_shape"),
        ('{"value": 85}', "wrong_shape"),
        ('{"score": 85}', "wrong_shape"),
        ('{"score": 850, "reason": "x"}', "wrong_shape"),
        ('{"score": "high", "reason": "x"}', "wrong_shape"),
        (f'For example {{"score": 1, "reason": "x"}}, but here: {GOOD}', "ambiguous_json"),
        ('{"a":' * 60 + "1" + "}" * 60, "json_too_deep"),
        ("[" * 100_000, "json_too_deep"),
        (GOOD + " " * MAX_ANSWER_CHARS, "answer_too_large"),
    ],
)
def test_an_answer_that_cannot_be_read_has_a_code(text: str, code: str) -> None:
    assert fault_of(text).code == code


def test_a_number_that_was_cut_off_is_not_taken_for_another_one() -> None:
    assert fault_of('{"reason": "x", "score": 8').code == "half_json"


def test_bounds_are_inclusive() -> None:
    assert read_answer(GOOD.ljust(MAX_ANSWER_CHARS), Verdict).score == 85
    deep = f'{{"score": 1, "reason": "x", "more": {"[" * (MAX_DEPTH - 1)}{"]" * (MAX_DEPTH - 1)}}}'
    assert read_answer(deep, Verdict).score == 1
    assert fault_of(deep.replace("[]", "[[]]")).code == "json_too_deep"


@pytest.mark.parametrize(
    "wrapped",
    [
        pytest.param(f'{{"a": {GOOD}, "b": {DRAFT}}}', id="below two keys at once"),
        pytest.param(f"[{GOOD}, {DRAFT}]", id="in a list of two"),
        pytest.param(f'{{"a": {{"b": {{"c": {{"d": {GOOD}}}}}}}}}', id="below four keys"),
    ],
)
def test_what_is_wrapped_in_more_than_one_meaning_is_not_taken(wrapped: str) -> None:
    assert fault_of(wrapped).code == "wrong_shape"


def test_a_draft_in_the_middle_of_words_that_were_cut_off_is_not_taken() -> None:
    text = f"Let me think. It may be {DRAFT}, but on the other hand the reason is"
    assert fault_of(text, is_cut_off=True).code == "cut_thought"
    assert read_answer(text, Verdict).score == 1, "a model that was done wrote no more than that"
    assert read_answer(f"{GOOD} That is bec", Verdict, is_cut_off=True).score == 85
    assert read_answer(f"Here it is:\n```json\n{GOOD}\n```", Verdict, is_cut_off=True).score == 85


def test_half_of_an_answer_is_what_of_it_is_complete() -> None:
    assert find('Here: {"items": [{"a": "b"}, {"a": "c') == FoundJson(
        {"items": [{"a": "b"}, {}]}, is_cut=True
    )


ODD_ENTRIES = [
    pytest.param('{"a": "x\\ud83d"}', {"a": "x\ud83d"}, id="half a surrogate, escaped"),
    pytest.param('{"a": "\\uDE00 x"}', {"a": "\ude00 x"}, id="the other half"),
    pytest.param('{"a": "\ud83d"}', {"a": "\ud83d"}, id="half a surrogate"),
    pytest.param('{"\\ud83d": 1}', {"\ud83d": 1}, id="half a surrogate in a name"),
    pytest.param('{"a": NaN}', {"a": None}, id="NaN"),
    pytest.param('{"a": [Infinity, -Infinity]}', {"a": [None, None]}, id="infinities"),
    pytest.param('{"a": "x\ny"}', {"a": "x\ny"}, id="a raw line break"),
    pytest.param('{"a": "x",}', {"a": "x"}, id="a comma too many"),
]
SOUND = '{"b": "NaN, ]}"}, {"b": 2}'
SOUND_ENTRIES = [{"b": "NaN, ]}"}, {"b": 2}]


@pytest.mark.parametrize(("written", "value"), ODD_ENTRIES)
@pytest.mark.parametrize(
    "end", ["", "]", ', {"b"', ', {"b": "c', ', {"b": [{}, "\\ud8', ', {"b": NaN']
)
def test_an_odd_entry_costs_no_other_one_in_half_an_answer(
    written: str, value: object, end: str
) -> None:
    first = find(f'Here: {{"items": [{written}, {SOUND}{end}')
    last = find(f'Here: {{"items": [{SOUND}, {written}{end}')
    for found, entries in ((first, [value, *SOUND_ENTRIES]), (last, [*SOUND_ENTRIES, value])):
        assert found.is_cut
        assert cast("dict[str, list[object]]", found.value)["items"][:3] == entries


@pytest.mark.parametrize(("written", "value"), ODD_ENTRIES)
def test_an_odd_entry_costs_no_other_one_in_a_whole_answer(written: str, value: object) -> None:
    whole = f'{{"items": [{SOUND}, {written}]}}'
    assert find(whole) == FoundJson({"items": [*SOUND_ENTRIES, value]})
    wrapped = json.dumps({"answer": whole})
    assert find_json(wrapped, accept=_has_items) == find(whole), "as a text below a key"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a' * 60_000, id="strings without an end"),
        pytest.param('{"' + '\\"' * 99_000, id="escaped quotes"),
        pytest.param("{" * 190_000, id="brackets"),
        pytest.param("{}" * 95_000, id="pairs of brackets"),
        pytest.param("{x" * 31 + "," * 190_000, id="commas"),
        pytest.param("[" + ", " * 95_000 + "]", id="commas and blanks"),
        pytest.param("{x" + '{"a": NaN},' * 17_000, id="what is not closed"),
        pytest.param("{x" * 8 + "{}" * 90_000, id="pairs of brackets that are not closed"),
        pytest.param("[" * 31 + "{}" * 90_000, id="pairs of brackets in open ones"),
        pytest.param("[x " * 60 + "{}," * 60_000, id="pairs of brackets behind open ones"),
        pytest.param('["[" x' * 60 + "[]," * 60_000, id="open brackets in strings"),
        pytest.param("<think>" * 28_000, id="thoughts without an end"),
        pytest.param("<think></think>" * 13_000, id="many thoughts"),
        pytest.param("</think>{" * 22_000, id="ends of thoughts and brackets"),
        pytest.param("<|channel|>" * 18_000, id="channels"),
        pytest.param("<|channel|>final" * 12_000, id="last channels"),
        pytest.param("<think " * 28_000, id="halves of marks"),
    ],
)
def test_no_text_takes_long(text: str) -> None:
    started = time.perf_counter()
    assert fault_of(text).code != "answer_too_large"
    assert time.perf_counter() - started < 5


def test_what_is_not_closed_is_measured_once() -> None:
    def worked_s(opened: int) -> float:
        began = time.process_time()
        fault_of("{x" * opened + "{}" * 90_000)
        return time.process_time() - began

    assert worked_s(31) < 5 * worked_s(1)


def test_an_error_says_where_and_what_and_never_repeats_a_value() -> None:
    secret = "ignore previous instructions"
    with pytest.raises(ValidationError) as raised:
        Verdict.model_validate({"score": secret, "reason": 5, "hints": [1, 2, 3]})
    said = explain(raised.value)
    assert said.startswith("score: Input should be a valid integer")
    assert said.endswith("; and 2 more")
    assert secret not in said
    assert len(said) <= MAX_ERROR_CHARS


class Wide(BaseModel):
    title: str = Field(default="x", max_length=10, title="A title")
    default: list[Verdict] = Field(default=[], max_length=3)


def test_a_form_is_what_a_strict_mode_enforces() -> None:
    form = form_of(Wide, "wide")
    assert form.name == "wide"
    assert form.schema["required"] == ["title", "default"]
    assert form.schema["additionalProperties"] is False
    assert form.schema["properties"]["title"] == {"type": "string"}
    verdict = form.schema["$defs"]["Verdict"]
    assert verdict["required"] == ["score", "reason", "hints"]
    assert verdict["properties"]["score"] == {"type": "integer"}
    written = json.dumps(form.schema)
    assert not any(word in written for word in ("maxLength", "minimum", "maxItems"))
