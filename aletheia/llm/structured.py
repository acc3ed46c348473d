"""Reading answers of chat models against a schema, as far as they have one meaning."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError

from aletheia.llm.json_text import FoundJson, UnreadableAnswer, load_whole, scan_json
from aletheia.llm.messages import AnswerForm
from aletheia.llm.thoughts import cut_thought, drop_thoughts, is_draft

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_ANSWER_CHARS: Final = 200_000
"""Longest answer that is read; ten long items are a tenth of it."""

MAX_ERROR_CHARS: Final = 400
"""Length of an error's text; a repair round carries one."""

_MAX_ERRORS: Final = 3

_CALL_INPUTS: Final = ("arguments", "parameters", "input")
"""Names under which models write what they would call a tool with."""

_MAX_WRAPPINGS: Final = 3

_UNENFORCED: Final = frozenset(
    {
        *("title", "default", "minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minItems", "maxItems", "uniqueItems"),
    }
)
"""Keywords that one or another provider refuses in a schema it is to enforce."""


def read_answer(text: str, model: type[ModelT], *, is_cut_off: bool = False) -> ModelT:
    """Return the object of this form that an answer consists of, or raise as `find_json` does."""
    fields = {name for name, field in model.model_fields.items() if field.is_required()}

    def has_fields(value: object) -> bool:
        return isinstance(value, dict) and not fields.isdisjoint(cast("dict[str, Any]", value))

    found = find_json(text, accept=has_fields, is_cut_off=is_cut_off)
    if found.is_cut:
        # The last value may be cut as well: 8 of 85.
        raise UnreadableAnswer("half_json", "the JSON ends in the middle")
    try:
        return model.model_validate(found.value)
    except ValidationError as error:
        raise UnreadableAnswer("wrong_shape", explain(error)) from None


def find_json(
    text: str, *, accept: Callable[[object], bool], is_cut_off: bool = False
) -> FoundJson:
    """Return the one JSON list or object in an answer that is meant, also below a wrapping key.

    `is_cut_off`: whether the model reached its limit: then JSON between words is a draft.
    `UnreadableAnswer` if there is none, or there are several that differ.
    """
    if len(text) > MAX_ANSWER_CHARS:
        said = f"the answer has {len(text):,} characters, at most {MAX_ANSWER_CHARS:,} are read"
        raise UnreadableAnswer("answer_too_large", said)
    text = _decode(drop_thoughts(text))
    if not text.strip("\ufeff \t\r\n"):
        raise UnreadableAnswer("empty_answer", "the answer is empty")
    if is_cut_off and is_draft(text):
        raise cut_thought()
    found: list[FoundJson] = []
    faults: list[UnreadableAnswer] = []
    for outcome in scan_json(text):
        if isinstance(outcome, UnreadableAnswer):
            faults.append(outcome)
            continue
        meant = next(filter(accept, _unwrap(outcome.value)), None)
        if meant is not None:
            candidate = FoundJson(meant, outcome.is_cut)
            found += [candidate] if candidate not in found else []
        elif outcome.is_cut:
            said = "the JSON ends before its content begins"
            faults.append(UnreadableAnswer("half_json", said))
        else:
            faults.append(UnreadableAnswer("wrong_shape", "the JSON is not of the form asked for"))
    if not found:
        raise faults[0] if faults else UnreadableAnswer("not_json", "the answer has no JSON in it")
    if len(found) > 1:
        said = f"the answer has {len(found)} JSON values of the form asked for; give one"
        raise UnreadableAnswer("ambiguous_json", said)
    return found[0]


def _decode(text: str) -> str:
    """Decode an answer that is a JSON string as a whole, with the JSON that is meant in it."""
    if text.lstrip("\ufeff \t\r\n").startswith('"'):
        with contextlib.suppress(ValueError):
            inner: object = json.loads(text.strip("\ufeff \t\r\n"), strict=False)
            return str(inner)
    return text


def _unwrap(value: object) -> Iterator[object]:
    """Yield a value and what it wraps: below an only key, in a list of one, in a call or a text."""
    for _ in range(1 + _MAX_WRAPPINGS):
        yield value
        if isinstance(value, str):
            try:
                value = load_whole(value)
            except ValueError:
                return
        elif isinstance(value, list) and len(entries := cast("list[object]", value)) == 1:
            value = entries[0]
        elif isinstance(value, dict):
            fields = cast("dict[str, object]", value)
            names = list(fields) if len(fields) == 1 else []
            if "name" in fields:
                names = [name for name in _CALL_INPUTS if name in fields]
            if not names:
                return
            value = fields[names[0]]
        else:
            return


def explain(error: ValidationError) -> str:
    """Return what is wrong with a value, without repeating the value: it may hold anything."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    said = [
        f"{'.'.join(map(str, fault['loc'])) or 'the value'}: {fault['msg']}"
        for fault in faults[:_MAX_ERRORS]
    ]
    if len(faults) > _MAX_ERRORS:
        said.append(f"and {len(faults) - _MAX_ERRORS} more")
    return "; ".join(said)[:MAX_ERROR_CHARS]


def form_of(model: type[BaseModel], name: str) -> AnswerForm:
    """Turn a model into the JSON schema that providers enforce: all fields, without bounds."""
    return AnswerForm(name, cast("Mapping[str, Any]", _strict(model.model_json_schema())))


def _strict(node: object, *, is_map: bool = False) -> object:
    """Rewrite a node of a schema; a map holds schemas under names of the model's choice."""
    if isinstance(node, list):
        return [_strict(part) for part in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    found = cast("dict[str, object]", node)
    strict = {
        key: _strict(value, is_map=key in ("properties", "$defs") and not is_map)
        for key, value in found.items()
        if is_map or key not in _UNENFORCED
    }
    if not is_map and isinstance(properties := found.get("properties"), dict):
        strict["required"] = list(cast("dict[str, object]", properties))
        strict["additionalProperties"] = False
    return strict
