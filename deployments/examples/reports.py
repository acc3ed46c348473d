"""What a report to the example upstream may hold, as strict as validation with whitelists."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

import orjson

PROPERTIES: Final = {
    "state": {
        "processing": {"state"},
        "succeeded": {"state", "result", "usage"},
        "failed": {"state", "error"},
    },
    "status": {
        "processing": {"status"},
        "succeeded": {"status", "output_data"},
        "failed": {"status", "error_message"},
    },
}
"""The properties of a report by dialect, which is the name of its state, and by state."""

Rule: TypeAlias = tuple[Callable[[Any], bool], str]
"""Checks a value, and what it must be, in words."""

_TEXT: Final[Rule] = (lambda value: isinstance(value, str) and bool(value), "a string")
_FLAG: Final[Rule] = (lambda value: isinstance(value, bool), "true or false")
_MARK: Final[Rule] = (lambda value: value is None or isinstance(value, bool), "true or false")
_NUMBERS: Final[Rule] = (
    lambda value: (
        isinstance(value, list)
        and bool(cast("list[Any]", value))
        and set(map(type, cast("list[Any]", value))) <= {float, int}
    ),
    "a list of numbers",
)
_COUNT: Final[Rule] = (lambda value: type(value) is int, "the length of result.embedding")

ERROR: Final = {"code": _TEXT, "message": _TEXT, "retryable": _FLAG}
EMBEDDING: Final = {
    "embedding": _NUMBERS,
    "dimensions": _COUNT,
    "model": _TEXT,
    "provider": _TEXT,
    "truncated": _MARK,
    "mock": _MARK,
}


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
    dialect = "status" if "status" in report else "state"
    written = report.get(dialect)
    names = [name.upper() if listed_state.isupper() else name for name in PROPERTIES[dialect]]
    if not isinstance(written, str) or written not in names:
        return {}, [f"state must be one of {', '.join(names)}"]
    report["state"] = state = written.lower()
    problems = _find_unknown(report, PROPERTIES[dialect][state] | {"state"})
    if state == "succeeded":
        name = "output_data" if dialect == "status" else "result"
        problems += _check_result(report.get(name), task_type)
        problems += _check_usage(report.get("usage", {}))
    elif state == "failed" and dialect == "state":
        problems += _check_object("error", report.get("error"), ERROR)
    elif state == "failed" and not isinstance(report.get("error_message"), str):
        problems.append("error_message must be a string")
    return report, problems


def _check_result(found: object, task_type: str) -> list[str]:
    if task_type != "text_embedding":
        return [] if isinstance(found, dict) else ["result must be an object"]
    problems = _check_object("result", found, EMBEDDING)
    result = cast("dict[str, Any]", found)
    if not problems and result["dimensions"] != len(result["embedding"]):
        problems = [f"result.dimensions must be {_COUNT[1]}"]
    return problems


def _check_usage(found: object) -> list[str]:
    if not isinstance(found, dict):
        return ["usage must be an object"]
    usage = cast("dict[str, object]", found)
    wrong = [name for name, value in usage.items() if type(value) not in (int, float)]
    return [f"usage.{name} must be a number" for name in wrong]


def _check_object(name: str, found: object, rules: Mapping[str, Rule]) -> list[str]:
    if not isinstance(found, dict):
        return [f"{name} must be an object"]
    values = cast("dict[str, Any]", found)
    return _find_unknown(values, set(rules), f"{name}.") + [
        f"{name}.{field} must be {words}"
        for field, (is_right, words) in rules.items()
        if not is_right(values.get(field))
    ]


def _find_unknown(found: dict[str, Any], known: set[str], path: str = "") -> list[str]:
    return [f"property {path}{name} should not exist" for name in found.keys() - known]
