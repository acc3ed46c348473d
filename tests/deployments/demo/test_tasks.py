from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from deployments.demo.tasks import Outcome, find_neighbours, show
from deployments.examples.tasks import ExampleTask
from tests.deployments.printing import printed

ENTRY: dict[str, Any] = {"id": "t", "type": "TEXT_EMBEDDING", "data": {"text": "a text"}}
RESULT = {"embedding": [1.0, 0.0], "dimensions": 2, "provider": "mock", "model": "m"}
STATS = {"elapsed_s": 2.0}


def good(state: str = "succeeded", result: Mapping[str, Any] = RESULT) -> Outcome:
    if state == "failed":
        return Outcome(ExampleTask(ENTRY), {"state": state, "error": {"code": "internal_error"}})
    shown = {"state": state, "usage": {"tokens": 5}} | ({"result": result} if result else {})
    return Outcome(ExampleTask(ENTRY), shown)


def faulty(state: str, code: str | None) -> Outcome:
    shown = {"state": state} | ({"error": {"code": code}} if code else {})
    return Outcome(ExampleTask(ENTRY, "empty_text"), shown)


def nameless(state: str) -> Outcome:
    return Outcome(ExampleTask({}, is_reportable=False), {"state": state})


def shown(*outcomes: Outcome) -> tuple[bool, str]:
    verdicts: list[bool] = []
    text = printed(lambda: verdicts.append(show(outcomes, STATS, is_made_up=True)))
    return verdicts[0], text


@pytest.mark.parametrize(
    ("outcome", "is_expected"),
    [
        (good(), True),
        (good("processing", {}), False),
        (good("failed", {}), False),
        (faulty("failed", "empty_text"), True),
        (faulty("failed", "internal_error"), False),
        (faulty("succeeded", None), False),
        (nameless("rejected"), True),
        (nameless("pending"), False),
    ],
)
def test_only_what_should_have_become_of_a_task_is_accepted(outcome: Outcome, is_expected: bool):
    assert outcome.is_expected is is_expected


def test_all_as_expected_is_a_success():
    verdict, text = shown(good(), faulty("failed", "empty_text"), nameless("rejected"))
    assert verdict
    assert "1 good tasks were reported succeeded" in text
    assert "2 broken ones told apart" in text
    assert "3 tasks in 2.0 s" in text


def test_one_task_that_went_wrong_is_a_failure_and_named():
    verdict, text = shown(good(), faulty("failed", "internal_error"))
    assert not verdict
    assert "internal_error, expected failed with empty_text" in text


def test_a_mock_says_that_its_vectors_mean_nothing():
    assert "mean nothing" in shown(good())[1]


def test_real_vectors_are_shown_with_the_nearest_and_the_farthest():
    vectors = [[1.0, 0.0], [0.6, 0.8], [0.5, 0.7], [0.0, 2.0], [-1.0, 0.0]]
    outcomes: list[Outcome] = []
    for number, vector in enumerate(vectors):
        entry = {"id": str(number), "content": {"text": f"text [{number}] {'word ' * 50}"}}
        shown = {"state": "succeeded", "result": {**RESULT, "embedding": vector}}
        outcomes.append(Outcome(ExampleTask(entry), shown))
    text = printed(lambda: show(outcomes, STATS, is_made_up=False))
    assert "that includes loading the model" in text
    assert "Nearest neighbours of one text" in text
    assert "text [4] word" in text
    assert "-1.00" in text
    assert "…" in text


def test_neighbours_are_the_nearest_by_angle():
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 2], [-1, 0], [5, 12]], dtype=np.float64)
    chosen, neighbours = find_neighbours(vectors, count=2)
    assert chosen == 0
    assert [index for index, _ in neighbours] == [1, 4, 3]
    assert [cosine for _, cosine in neighbours] == pytest.approx([0.6, 5 / 13, -1])


def test_a_repetition_is_no_neighbour():
    vectors = np.array([[1, 0], [1, 0.01], [0.6, 0.8]], dtype=np.float64)
    chosen, neighbours = find_neighbours(vectors, count=1)
    assert {chosen, neighbours[0][0]} == {1, 2}
