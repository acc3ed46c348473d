"""What a report to the example upstream may hold, as strict as validation with whitelists."""

from typing import Any, Final, cast

import orjson

PROPERTIES: Final = {
    "processing": {"state"},
    "succeeded": {"state", "result", "usage"},
    "failed": {"state", "error"},
}
"""The properties of a report, by state."""


def read_report(body: bytes, task_type: str) -> tuple[dict[str, Any], list[str]]:
    """Read a report and check it.

    Args:
        body: the JSON of the request.
        task_type: lower case; decides what a result must hold.

    Returns:
        The report, and a sentence for each problem; without any it is valid.
    """
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return {}, [f"the body is not JSON: {error}"]
    if not isinstance(found, dict):
        return {}, ["the body must be an object"]
    report = cast("dict[str, Any]", found)
    state = report.get("state")
    if not isinstance(state, str) or state not in PROPERTIES:
        return {}, [f"state must be one of {', '.join(PROPERTIES)}"]
    problems = _find_unknown(report, PROPERTIES[state])
    if state == "succeeded":
        problems += _check_result(report.get("result"), task_type)
        problems += _check_usage(report.get("usage", {}))
    elif state == "failed":
        problems += _check_error(report.get("error"))
    return report, problems


def _check_result(found: object, task_type: str) -> list[str]:
    if not isinstance(found, dict):
        return ["result must be an object"]
    result = cast("dict[str, Any]", found)
    if task_type != "text_embedding":
        return []
    problems = _find_unknown(
        result, {"embedding", "model", "provider", "dimensions", "truncated", "mock"}, "result."
    )
    embedding = result.get("embedding")
    if not isinstance(embedding, list) or not embedding:
        problems.append("result.embedding must be a list of numbers")
    else:
        numbers = cast("list[object]", embedding)
        if not set(map(type, numbers)) <= {float, int}:
            problems.append("result.embedding must be a list of numbers")
        if type(result.get("dimensions")) is not int or result["dimensions"] != len(numbers):
            problems.append("result.dimensions must be the length of result.embedding")
    problems += [
        f"result.{name} must be a string"
        for name in ("model", "provider")
        if not isinstance(result.get(name), str) or not result[name]
    ]
    problems += [
        f"result.{name} must be true or false"
        for name in ("truncated", "mock")
        if not isinstance(result.get(name, False), bool)
    ]
    return problems


def _check_usage(found: object) -> list[str]:
    if not isinstance(found, dict):
        return ["usage must be an object"]
    usage = cast("dict[str, object]", found)
    return [
        f"usage.{name} must be a number"
        for name, value in usage.items()
        if type(value) not in (int, float)
    ]


def _check_error(found: object) -> list[str]:
    if not isinstance(found, dict):
        return ["error must be an object"]
    error = cast("dict[str, object]", found)
    problems = _find_unknown(error, {"code", "message", "retryable"}, "error.")
    problems += [
        f"error.{name} must be a string"
        for name in ("code", "message")
        if not isinstance(error.get(name), str) or not error[name]
    ]
    if not isinstance(error.get("retryable"), bool):
        problems.append("error.retryable must be true or false")
    return problems


def _find_unknown(found: dict[str, Any], known: set[str], path: str = "") -> list[str]:
    return [f"property {path}{name} should not exist" for name in found.keys() - known]
