"""What a report to the example upstream may hold, as strict as validation with whitelists."""

from typing import Any, Final, cast

import orjson

PROPERTIES: Final = {
    "processing": {"state"},
    "succeeded": {"state", "result", "usage"},
    "failed": {"state", "error"},
}
"""The properties of a report, by state."""


STATUS_PROPERTIES: Final = {
    "processing": {"status"},
    "succeeded": {"status", "output_data"},
    "failed": {"status", "error_message"},
}
"""The same, of the dialect that writes `status`."""


def read_report(
    body: bytes, task_type: str, listed_state: str = "pending"
) -> tuple[dict[str, Any], list[str]]:
    """Read a report and check it.

    Args:
        body: the JSON of the request.
        task_type: lower case; decides what a result must hold.
        listed_state: the task's state as it was listed; states must be in its letter case.

    Returns:
        The report, its `state` in lower case, and a sentence for each problem; without any it is
        valid.
    """
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return {}, [f"the body is not JSON: {error}"]
    if not isinstance(found, dict):
        return {}, ["the body must be an object"]
    report = cast("dict[str, Any]", found)
    is_status = "status" in report
    written = report.get("status" if is_status else "state")
    names = [name.upper() if listed_state.isupper() else name for name in PROPERTIES]
    if not isinstance(written, str) or written not in names:
        return {}, [f"state must be one of {', '.join(names)}"]
    state = written.lower()
    if is_status:
        problems = _find_unknown(report, STATUS_PROPERTIES[state])
        if state == "succeeded":
            problems += _check_result(report.get("output_data"), task_type)
        elif state == "failed" and not isinstance(report.get("error_message"), str):
            problems.append("error_message must be a string")
        return report | {"state": state}, problems
    problems = _find_unknown(report, PROPERTIES[state])
    report["state"] = state
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
