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

GUARDED = {name: operation for name, operation in OPERATIONS.items() if name not in OPEN}
BRAIN = {name: operation for name, operation in OPERATIONS.items() if "/api/" in name}


def test_the_document_equals_what_the_service_says():
    assert DOCUMENT.read_text() == write_document(), "run `make openapi`"


def test_the_endpoints_of_the_specification_are_there():
    assert {
        "POST /api/v1/nodes/batch",
        "POST /api/v1/search/duplicates",
        "GET /api/v1/context/department",
        "POST /api/v1/analyze/coverage",
    } <= set(BRAIN)


@pytest.mark.parametrize("name", GUARDED)
def test_every_operation_but_the_open_ones_asks_for_the_key(name: str):
    assert GUARDED[name].get("security") == [{"key": []}], "see `guarded_by`"
    scheme = SPEC["components"]["securitySchemes"]["key"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


@pytest.mark.parametrize("name", BRAIN)
def test_every_operation_says_what_can_go_wrong(name: str):
    answers = BRAIN[name]["responses"]
    expected = {"200", "401", "422", "500", "502", "503"}
    if "requestBody" in BRAIN[name]:
        expected |= {"400", "408", "413", "415"}
    assert expected <= set(answers)
    for status in set(answers) - {"200"}:
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
    for field, value in schema["properties"].items():
        is_itself = "$ref" in value or "const" in value
        assert is_itself or value["description"].endswith("."), f"{name}.{field}"
