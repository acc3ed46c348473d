"""The page about every task type, written from what processors say about theirs."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from aletheia.analysis.built_in import BUILT_IN
from aletheia.analysis.processor import TypeSpec, spec_of
from aletheia.analysis.tools import TOOLS
from deployments import ROOT

DOCUMENT: Final = ROOT / "docs" / "task-types.md"

_INTRODUCTION: Final = """\
# Task types

What tasks may ask for, lane by lane ([decision 21](decisions/0021-lanes.md)), with the fields of
their inputs and results. Lengths are in characters. Fields of an input that are not listed are left
out; fields of a result without a default are always there. `aletheia try TYPE JSON` runs one input.

A type of your own: `aletheia new-processor NAME` writes a package to start from, and
[`aletheia/analysis/processor.py`](../aletheia/analysis/processor.py) says what a processor is.

This page is written by `make configuration`.
"""

_TOOLS: Final = """\
## What a processor may be given

Its constructor names what it needs; another name, without a default, makes the type unusable. What
has a default there and cannot be had is left out.

| name | type | what it is |
|---|---|---|
"""


_BOUNDS: Final = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
}


def write_document() -> str:
    """Write the page."""
    types = "\n".join(
        write_type(task_type, spec_of(build), (build.__doc__ or "").strip().splitlines()[0])
        for task_type, build in BUILT_IN.items()
    )
    tools = "\n".join(
        f"| `{name}` | `{tool.type.__module__}.{tool.type.__name__}` | {tool.sentence} |"
        for name, tool in TOOLS.items()
    )
    return f"{_INTRODUCTION}\n{types}\n{_TOOLS}{tools}\n"


def write_type(task_type: str, spec: TypeSpec, sentence: str) -> str:
    """Write the part about one type."""
    limit = "`TASK_TIMEOUT`" if spec.time_limit_s is None else f"{spec.time_limit_s:g} s"
    at_once = "any number" if spec.max_inputs is None else f"{spec.max_inputs}"
    head = "| field | type | default | meaning |\n|---|---|---|---|"
    schemas = {
        "Input:": spec.input.model_json_schema(),
        "Result:": spec.result.model_json_schema(mode="serialization"),
    }
    tables = [
        f"{title}\n\n{head}\n" + "\n".join(_rows(schema)) for title, schema in schemas.items()
    ]
    facts = (
        f"Lane `{spec.lane}`, version {spec.version}, time limit {limit}, "
        f"inputs in one call: {at_once}."
    )
    return "\n\n".join([f"## `{task_type}`", sentence, facts, *tables]) + "\n"


def _rows(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row for each field of an object's JSON schema, with those of objects below it."""
    required, definitions = set(schema.get("required", ())), schema.get("$defs", {})
    for name, field in schema.get("properties", {}).items():
        default = "" if name in required or "default" not in field else _show(field["default"])
        default = "required" if name in required and not default else default
        meaning = str(field.get("description", "")).replace("|", "\\|").replace("\n", " ")
        yield f"| `{name}` | {_type_of(field, definitions)} | {default} | {meaning} |"


def _type_of(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in field:
        inner = cast("dict[str, Any]", definitions[str(field["$ref"]).rsplit("/", 1)[-1]])
        return _type_of(inner, definitions)
    if "anyOf" in field:
        options = [_type_of(option, definitions) for option in field["anyOf"]]
        return " or ".join(option for option in options if option != "null")
    choices = field.get("enum", [field["const"]] if "const" in field else [])
    return ", ".join(f"`{value}`" for value in choices) or _kind_of(field, definitions)


def _kind_of(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    kind = str(field.get("type", "any value"))
    if kind == "array":
        return f"list of {_type_of(field.get('items', {}), definitions)}"
    if kind == "object" and "properties" in field:
        inside = ", ".join(
            f"`{name}`: {_type_of(inner, definitions)}"
            for name, inner in field["properties"].items()
        )
        return f"object ({inside})"
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"object of {_type_of(field['additionalProperties'], definitions)}"
    bounds = [f"{sign} {field[key]:g}" for key, sign in _BOUNDS.items() if key in field]
    return " ".join([kind, *bounds])


def _show(value: object) -> str:
    return "" if value is None else f"`{value}`"
