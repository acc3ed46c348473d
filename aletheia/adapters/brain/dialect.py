"""How a Brain service is spoken to: as SPEC §4 has it, and as our own is.

What reads an answer raises `ValueError` where it is not one.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from aletheia.adapters.http_answers import as_object, as_text, load_json
from aletheia.brain import wire
from aletheia.brain.context import choose_previous
from aletheia.brain.forms import escape_text, make_unit
from aletheia.brain.ports import (
    BrainDepartment,
    BrainItem,
    Coverage,
    DepartmentContext,
    KnownItem,
    Upserted,
)
from aletheia.errors import InvalidTask
from aletheia.llm.structured import explain
from aletheia.quality.comparison import MAX_ITEMS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request to be made; `path` is below the root of the service."""

    path: str
    answers: type[T]
    body: bytes | None = None  # JSON, to be posted
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def read(self, body: bytes) -> T:
        """Read the answer."""
        try:
            return _adapter(self.answers).validate_python(load_json(body))
        except ValidationError as invalid:
            raise ValueError(explain(invalid)) from None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a service refuses a request: its own code, a message for people, further values."""

    code: str = ""
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def write_item(item: BrainItem) -> bytes:
    """Write an item of a batch.

    Raises:
        InvalidTask: `invalid_id`, `invalid_vector`: JSON has no form for it.
    """
    embedding = {} if item.vector is None else {"embedding": _check_vector(item.vector)}
    return _write(_to_values(item) | embedding)


def upsert(
    project_id: str, department: BrainDepartment, items: Sequence[bytes], model: str
) -> Call[Upserted]:
    """Ask to index items, each of them written, with vectors of a model; empty says nothing."""
    to = {
        "slug": escape_text(department.slug),
        "name": escape_text(department.name),
        "codeDepNumber": department.code_dep_number,
    }
    head = _write({"project_id": project_id, "department": to})
    body = b'%b,"items":[%b]}' % (head[:-1], b",".join(items))
    return Call(wire.INDEX_PATH, Upserted, body, headers=_name_model(model))


def find_duplicates(
    project_id: str,
    *,
    content: str | None,
    vector: NDArray[np.float32] | None,
    threshold: float,
    limit: int,
    model: str,
) -> Call[wire.DuplicatesFound]:
    """Ask for items near to a vector, of this model, or else to a text.

    Raises:
        InvalidTask: `invalid_vector`: JSON has no form for it.
    """
    query: dict[str, Any] = {"project_id": project_id, "threshold": threshold, "limit": limit}
    headers: dict[str, str] = {}
    if vector is None:
        query["content"] = escape_text(content or "")
    else:
        query["embedding"], headers = _check_vector(vector), _name_model(model)
    return Call(wire.SEARCH_PATH, wire.DuplicatesFound, _write(query), headers=headers)


def read_context(
    project_id: str, department: str, previous: Sequence[str], *, max_tokens: int
) -> Call[DepartmentContext]:
    """Ask what is known of a department; slugs with a comma in them are left out."""
    slugs = choose_previous([escape_text(slug) for slug in previous])
    query = {
        "project_id": project_id,
        "department": escape_text(department),
        "previous": ",".join(slug for slug in slugs if "," not in slug),
        "max_tokens": str(max_tokens),
    }
    return Call(wire.CONTEXT_PATH, DepartmentContext, query=query)


def measure_coverage(
    project_id: str, department: str, items: Sequence[KnownItem] | None
) -> Call[Coverage]:
    """Ask how well items, the newest that count, or all that are indexed, cover a department.

    Raises:
        InvalidTask: `invalid_id`: JSON has no form for it.
    """
    query: dict[str, Any] = {"project_id": project_id, "department": escape_text(department)}
    if items is not None:
        query["items"] = [_to_values(item) for item in items[-MAX_ITEMS:]]
    return Call(wire.COVERAGE_PATH, Coverage, _write(query))


def read_refusal(body: bytes) -> Refusal:
    """Read why a request is refused, in any of the forms that are usual."""
    try:
        values = as_object(load_json(body))
    except ValueError:
        return Refusal()
    error = values.get("error")
    if isinstance(error, dict):
        values = as_object(cast("object", error))
    else:
        values = {"message": error or values.get("detail"), **values}
    return Refusal(
        as_text(values.get("code")),
        as_text(values.get("message")),
        as_object(values.get("details")),
    )


def _name_model(model: str) -> dict[str, str]:
    return {wire.MODEL_HEADER: quote(model, errors="replace")} if model else {}


def _to_values(item: BrainItem | KnownItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "content": escape_text(item.content),
        "summary": escape_text(item.summary),
        "context": escape_text(item.context),
    }


def _check_vector(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Check a vector and return it in a form that can be written; its length stays what it is."""
    make_unit(vector)
    return np.ascontiguousarray(vector, np.float32)


def _write(values: dict[str, Any]) -> bytes:
    """Write a request; the service validates it."""
    try:
        return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        raise InvalidTask("invalid_id", "a name or a value has no form in JSON") from None


@functools.cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)
