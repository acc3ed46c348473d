"""The document of our API is kept in the repository, and is complete."""

from typing import Any, cast

import orjson
import pytest

from deployments.serve import DOCUMENT, write_document

SPEC: dict[str, Any] = orjson.loads(DOCUMENT.read_bytes()) if DOCUMENT.exists() else {"paths": {}}
OPERATIONS = {
    f"{method.upper()} {path}": cast("dict[str, Any]", operation)
    for path, methods in SPEC["paths"].items()
    for method, operation in methods.items()
}
OPEN = {"GET /health", "GET /health/ready", "GET /ready"}
"""Operations that everybody may call; every other one has a guard."""

METRICS = "GET /metrics"
"""Open, or behind a token of its own."""

GUARDED = {
    name: operation for name, operation in OPERATIONS.items() if name not in {*OPEN, METRICS}
}
BRAIN = {name: operation for name, operation in GUARDED.items() if operation["tags"] == ["brain"]}
REASONING = {name for name in GUARDED if "/ai/global/" in name}
"""What managers alone may read."""

TASKS_KEY = "tasks key"
PUSH = "POST /api/v1/tasks"
"""What the key of tasks alone may do."""

READ_TASK = "GET /api/v1/tasks/{task_id}"
"""What it may do as well as a token of a role."""

HOOKS = {name: operation for name, operation in GUARDED.items() if "/hooks/" in name[:14]}
ROLES = {"admin", "manager", "operator", "viewer"}


def test_the_document_equals_what_the_service_says():
    assert DOCUMENT.read_text() == write_document(), "run `make openapi`"


def test_the_endpoints_of_the_specification_are_there():
    assert {
        "POST /api/v1/nodes/batch",
        "POST /api/v1/search/duplicates",
        "GET /api/v1/context/department",
        "POST /api/v1/analyze/coverage",
    } <= set(BRAIN)
    root = "GET /api/v1/projects/{project_id}"
    assert {
        *(f"{root}/{name}" for name in ("runs", "runs/{run_id}", "departments", "items")),
        *(f"{root}/{name}" for name in ("decisions", "evaluations", "events")),
        *(READ_TASK, PUSH),
        *(f"GET /api/v1/{name}" for name in ("dead-letters", "workers", "usage")),
        "GET /events/automated-gather/{project_id}",
        "POST /api/v1/ws-ticket",
        *(f"POST /hooks/{name}" for name in ("poll", "gather", "evaluate", "reason")),
    } <= set(GUARDED)
    reads = ("last_run", "snapshot", "recommendations", "summary", "action-plan", "history")
    assert {
        "POST /ai/global/run",
        "POST /ai/global/recommendations/{recommendation_id}",
        "POST /ai/global/action-plan/{plan_id}/approve",
        "GET /ai/global/action-plan/progress",
        *(f"GET /ai/global/{name}" for name in reads),
    } == REASONING


def test_metrics_are_open_or_ask_for_a_token_of_their_own():
    assert OPERATIONS[METRICS]["security"] == [{"metrics": []}, {}]
    assert {"200", "401", "503"} <= set(OPERATIONS[METRICS]["responses"])


@pytest.mark.parametrize("name", GUARDED)
def test_every_operation_but_the_open_ones_asks_who_calls(name: str):
    *others, security = GUARDED[name].get("security", [])
    expected = "key" if name in BRAIN else "signature" if name in HOOKS else "token"
    expected = TASKS_KEY if name in (PUSH, READ_TASK) else expected
    assert security == {expected: []}, "see `guarded_by`"
    assert others == ([{"token": []}] if name == READ_TASK else [])
    scheme = SPEC["components"]["securitySchemes"][expected]
    kind = ("apiKey", None) if expected == "signature" else ("http", "bearer")
    assert (scheme["type"], scheme.get("scheme")) == kind


@pytest.mark.parametrize("name", set(GUARDED) - set(BRAIN) - set(HOOKS) - {PUSH})
def test_an_operation_for_bearers_of_tokens_names_their_roles(name: str):
    roles = set(GUARDED[name]["x-roles"])
    assert {"admin", "manager"} <= roles <= ROLES
    changes = name.startswith("POST") and not name.endswith("ws-ticket")
    assert ("viewer" in roles) is not (changes or name in REASONING)
    assert name not in REASONING or roles == {"admin", "manager"}


@pytest.mark.parametrize("name", GUARDED)
def test_every_operation_says_what_can_go_wrong(name: str):
    answers = GUARDED[name]["responses"]
    (success,) = {status for status in answers if status.startswith("2")}
    expected = {"401", "422", "500", "502", "503"}
    if "requestBody" in GUARDED[name]:
        expected |= {"400", "408", "413", "415"}
    if "x-roles" in GUARDED[name]:
        expected |= {"403"}
    assert expected <= set(answers)
    for status in set(answers) - {success}:
        schema = answers[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Refused"}
        assert "`" in answers[status]["description"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_and_parameter_is_described(name: str):
    operation = OPERATIONS[name]
    assert operation.get("description", "").strip().endswith("."), "it has no docstring"
    for parameter in operation.get("parameters", []):
        said = parameter.get("description") or parameter["schema"].get("description", "")
        assert said.endswith("."), parameter["name"]


@pytest.mark.parametrize("name", SPEC.get("components", {}).get("schemas", {}))
def test_every_schema_and_property_is_described(name: str):
    schema = SPEC["components"]["schemas"][name]
    assert schema["description"].endswith(".")
    for field, value in schema.get("properties", {}).items():
        is_itself = "$ref" in value or "const" in value
        assert is_itself or value["description"].endswith("."), f"{name}.{field}"
