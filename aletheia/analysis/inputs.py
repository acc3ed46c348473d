"""Reading a task's input by the model that a type has for it."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from aletheia.errors import InvalidTask
from aletheia.llm.messages import clean_text

InputT = TypeVar("InputT", bound=BaseModel)

MAX_NAME_CHARS: Final = 40
"""Longest name of a field that becomes part of an error's code."""

_BEGINNING: Final = 1000

_MISSING: Final = frozenset({"missing", "none_required"})


def read_input(form: type[InputT], task_input: Mapping[str, Any]) -> InputT:
    """Read an input; fields that the form does not have are left out.

    Raises:
        InvalidTask: `missing_FIELD` or `invalid_FIELD`, of the first field that is wrong.
    """
    try:
        return form.model_validate(dict(task_input))
    except ValidationError as problem:
        # Nothing of the input is repeated: it may be long, and it may be anything.
        first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
        path = [str(part) for part in first["loc"]]
        name = path[0][:MAX_NAME_CHARS] if path else "input"
        is_missing = len(path) <= 1 and (
            first["type"] in _MISSING or task_input.get(name, "") is None
        )
        kind = "missing" if is_missing else "invalid"
        said = f"{'.'.join(path)[:100] or 'the input'}: {first['msg'][:200]}"
        raise InvalidTask(f"{kind}_{name}", said) from None


def check_text(text: str, *, max_bytes: int, name: str = "text") -> None:
    """Check that a text has something in it and is not too long.

    Raises:
        InvalidTask: `empty_NAME`, or `input_too_long`.
    """
    if not text.strip():
        raise InvalidTask(f"empty_{name}", f"the {name} is empty")
    # Half of a surrogate pair is a fault of its own, and not one of length.
    if len(text.encode(errors="surrogatepass")) > max_bytes:
        raise InvalidTask("input_too_long", f"the {name} is longer than {max_bytes:,} bytes")


def check_readable(text: str, *, name: str = "text") -> None:
    """Check that a text is Unicode, with something visible in it.

    Raises:
        InvalidTask: `invalid_NAME`, half of a surrogate pair is in it; `empty_NAME`.
    """
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        said = f"the {name} has half of a surrogate pair at character {fault.start}"
        raise InvalidTask(f"invalid_{name}", said) from None
    # Nearly always it begins visibly; the whole of a long text takes half a second.
    if not clean_text(text[:_BEGINNING]) and not clean_text(text):
        raise InvalidTask(f"empty_{name}", f"the {name} has nothing but invisible characters")
