"""Reading answers of chat models against a schema.

Models wrap their JSON in fences and sentences, and stop in the middle at the token limit. All of
that is read as long as it has one meaning only. An unreadable answer gets a stable code and a
sentence that is short enough to be sent back to the model.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from aletheia.errors import ComputeFailed
from aletheia.llm.messages import AnswerForm

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_ANSWER_CHARS: Final = 200_000
"""Longest answer that is read; ten long items are a tenth of it."""

MAX_DEPTH: Final = 32
"""Levels of nesting that are read; pydantic's parser ends at 200."""

MAX_ERROR_CHARS: Final = 400
"""Length of an error's text; a repair round carries one."""

_MAX_TRIES: Final = 64
"""Brackets at which the beginning of a JSON value is looked for."""

_MAX_ERRORS: Final = 3

_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"?'
"""A string, or the part of one that does not end, so that no character is scanned twice."""

_TOKEN: Final = re.compile(_STRING + r"|[\[\]{}]", re.DOTALL)
_BRACKET: Final = re.compile(r"[\[{]")
_TRAILING_COMMA: Final = re.compile(rf"({_STRING})|,(?=\s*[\]}}])", re.DOTALL)

_OPENING: Final = re.compile(
    r"\s*(?:<(?:think|thinking|thought|reasoning)>|\[THINK\])", re.IGNORECASE
)
_CLOSING: Final = re.compile(r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]", re.IGNORECASE)
_FINAL_CHANNEL: Final = re.compile(r"<\|channel\|>\s*final[^<]*<\|message\|>")
_BARE_CHANNELS: Final = ("analysis", "assistantfinal")
"""Channels of gpt-oss, of which a server has removed the marks."""

_UNENFORCED: Final = frozenset(
    {
        *("title", "default", "minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minItems", "maxItems", "uniqueItems"),
    }
)
"""Keywords that one or another provider refuses in a schema it is to enforce."""


class UnreadableAnswer(ComputeFailed):
    """An answer without a usable value; another answer may have one.

    Args:
        code: `empty_answer`, `cut_thought`, `answer_too_large`, `not_json`, `half_json`,
            `ambiguous_json`, `json_too_deep` or `wrong_shape`.
        message: one short sentence that a model can act on.
    """


@dataclass(frozen=True, slots=True)
class FoundJson:
    """A JSON value in an answer.

    Attributes:
        value: the value.
        is_cut: whether the answer ends before the value does; what was complete is there.
    """

    value: object
    is_cut: bool = False


def read_answer(
    text: str,
    model: type[ModelT],
    *,
    max_chars: int = MAX_ANSWER_CHARS,
    max_depth: int = MAX_DEPTH,
) -> ModelT:
    """Return the object that an answer consists of.

    Raises:
        UnreadableAnswer: there is none of this form.
    """
    fields = {name for name, field in model.model_fields.items() if field.is_required()}

    def has_fields(value: object) -> bool:
        return isinstance(value, dict) and not fields.isdisjoint(cast("dict[str, Any]", value))

    found = find_json(text, accept=has_fields, max_chars=max_chars, max_depth=max_depth)
    if found.is_cut:
        # The last value may be cut as well: 8 of 85.
        raise UnreadableAnswer("half_json", "the JSON ends in the middle")
    try:
        return model.model_validate(found.value)
    except ValidationError as error:
        raise UnreadableAnswer("wrong_shape", explain(error)) from None


def find_json(
    text: str,
    *,
    accept: Callable[[object], bool],
    max_chars: int = MAX_ANSWER_CHARS,
    max_depth: int = MAX_DEPTH,
) -> FoundJson:
    """Return the one JSON list or object in an answer that is meant.

    Args:
        text: the answer.
        accept: returns whether a value may be the one that is meant.
        max_chars: longest answer that is read.
        max_depth: levels of nesting that are read.

    Raises:
        UnreadableAnswer: there is none, or there are several that differ.
    """
    if len(text) > max_chars:
        said = f"the answer has {len(text):,} characters, at most {max_chars:,} are read"
        raise UnreadableAnswer("answer_too_large", said)
    text = _drop_thoughts(text)
    if not text.strip("\ufeff \t\r\n"):
        raise UnreadableAnswer("empty_answer", "the answer is empty")
    found: list[FoundJson] = []
    faults: list[UnreadableAnswer] = []
    for outcome in _scan_json(text, max_depth):
        if isinstance(outcome, UnreadableAnswer):
            faults.append(outcome)
        elif accept(outcome.value):
            found += [outcome] if outcome not in found else []
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


def _drop_thoughts(text: str) -> str:
    """Return an answer without the thoughts before it, which may hold a draft.

    Raises:
        UnreadableAnswer: it ends within its thoughts.
    """
    begin = text.lstrip("\ufeff \t\r\n")
    thoughts, final = _BARE_CHANNELS
    if begin.startswith("<|"):
        channels = list(_FINAL_CHANNEL.finditer(text))
        if not channels and "<|channel|>" in text:
            raise UnreadableAnswer("cut_thought", "the answer ends within its thoughts")
        return text[channels[-1].end() :] if channels else text
    if begin.startswith(thoughts) and final in text:
        return text.rpartition(final)[2]
    place = 0
    while opening := _OPENING.match(text, place):
        closing = _CLOSING.search(text, opening.end())
        if closing is None:
            raise UnreadableAnswer("cut_thought", "the answer ends within its thoughts")
        place = closing.end()
    text = text[place:]
    if text.lstrip().startswith(("{", "[", "```")):
        return text
    # Some servers remove the opening tag.
    closings = list(_CLOSING.finditer(text))
    return text[closings[-1].end() :] if closings else text


def _scan_json(text: str, max_depth: int) -> Iterator[FoundJson | UnreadableAnswer]:
    """Yield the lists and objects in a text that are not part of another one."""
    place = 0
    for _ in range(_MAX_TRIES):
        bracket = _BRACKET.search(text, place)
        if bracket is None:
            return
        start = bracket.start()
        end, depth = _measure(text, start)
        place = len(text) if end is None else end
        if depth > max_depth:
            yield UnreadableAnswer("json_too_deep", f"the JSON has more than {max_depth} levels")
            continue
        try:
            yield _load_half(text[start:]) if end is None else _load_whole(text[start:end])
        except ValueError as error:
            yield UnreadableAnswer("not_json", f"the JSON cannot be read: {error}")
            place = start + 1


def _measure(text: str, start: int) -> tuple[int | None, int]:
    """Find the end of the value that begins at a bracket, and its levels of nesting.

    Returns:
        Index behind its last bracket, `None` if that is missing, and the number of levels.
    """
    depth = deepest = 0
    for token in _TOKEN.finditer(text, start):
        bracket = token.group()
        if bracket in ("[", "{"):
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in ("]", "}"):
            depth -= 1
            if not depth:
                return token.end(), deepest
    return None, deepest


def _load_whole(written: str) -> FoundJson:
    """Read a value, mending what has only one reading: commas at an end, raw line breaks.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return FoundJson(_parse(written))
    except ValueError as error:
        mended = _TRAILING_COMMA.sub(lambda match: match.group(1) or "", written)
        try:
            # It reads lone surrogates, too: the part that has one is refused where it is validated.
            value: object = json.loads(mended, strict=False, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise error from None
        return FoundJson(value)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _load_half(written: str) -> FoundJson:
    """Read a value that breaks off, as far as its parts are complete.

    Raises:
        ValueError: it does not break off, it is broken.
    """
    return FoundJson(_parse(written, allow_partial=True), is_cut=True)


def _parse(written: str, *, allow_partial: bool = False) -> object:
    try:
        return from_json(written, allow_inf_nan=False, allow_partial=allow_partial)
    except TypeError as error:
        # pydantic's parser takes a text with a lone surrogate for no text at all.
        raise ValueError("it has half a surrogate") from error


def explain(error: ValidationError, *, max_chars: int = MAX_ERROR_CHARS) -> str:
    """Return what is wrong with a value, without repeating the value: it may hold anything."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    said = [
        f"{'.'.join(map(str, fault['loc'])) or 'the value'}: {fault['msg']}"
        for fault in faults[:_MAX_ERRORS]
    ]
    if len(faults) > _MAX_ERRORS:
        said.append(f"and {len(faults) - _MAX_ERRORS} more")
    return "; ".join(said)[:max_chars]


def form_of(model: type[BaseModel], name: str) -> AnswerForm:
    """Turn a model into the JSON schema that providers enforce.

    Objects are closed and all their fields required, as OpenAI's strict mode wants; bounds on
    lengths and numbers are left out, since not every provider takes them, and are checked when the
    answer is read.
    See https://platform.openai.com/docs/guides/structured-outputs#supported-schemas.
    """
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
