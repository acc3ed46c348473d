import orjson
import pytest

from deployments.examples.reports import read_report

RESULT = {"embedding": [0.5, -1.0], "model": "m", "provider": "local", "dimensions": 2}


@pytest.mark.parametrize("mark", [{}, {"truncated": True}, {"mock": True}])
def test_a_result_may_say_how_it_came_about(mark: dict[str, bool]) -> None:
    body = orjson.dumps({"state": "succeeded", "result": {**RESULT, **mark}})
    assert read_report(body, "text_embedding")[1] == []


def test_a_result_of_another_type_is_any_object() -> None:
    assert read_report(b'{"state": "succeeded", "result": {"summary": "x"}}', "summary")[1] == []
