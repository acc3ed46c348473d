"""How a Brain service is spoken to: as SPEC §4 has it, and as our own is.

What reads an answer raises `ValueError` where it is not one.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter, ValidationError

from aletheia.adapters.http_answers import as_object, as_text, load_json
from aletheia.brain import wire
from aletheia.brain.context import choose_previous
from aletheia.brain.ports import (
    BrainDepartment,
    BrainItem,
    Coverage,
    DepartmentContext,
    Duplicate,
    KnownItem,
    Upserted,
)
from aletheia.brain.texts import escape_text
from aletheia.brain.vectors import make_unit
from aletheia.errors import InvalidTask
from aletheia.llm.structured import explain
from aletheia.quality.scores import MAX_ITEMS

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_NO_FORM: Final = "a name or a value has no form in JSON"


@dataclass(frozen=True, slots=True)
class Call:
    """A request to be made; `path` is below the root of the service, `body` is JSON."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


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
    values = _to_values(item)
    if item.vector is not None:
        values["embedding"] = _check_vector(item.vector)
    return _write(wire.NewItem, **values)


def upsert(
    project_id: str, department: BrainDepartment, items: Sequence[bytes], model: str
) -> Call:
    """Ask to index items, each of them written, with vectors of a model; empty says nothing."""
    to = wire.Department.model_construct(
        slug=escape_text(department.slug),
        name=escape_text(department.name),
        code_dep_number=department.code_dep_number,
    )
    head = _write(wire.NodesBatch, project_id=project_id, department=to)
    body = b'%b,"items":[%b]}' % (head[:-1], b",".join(items))
    return Call("POST", wire.INDEX_PATH, body=body, headers=_name_model(model))


def read_upserted(body: bytes) -> Upserted:
    """Read the result of indexing a batch."""
    return _to_own(Upserted, _read(wire.NodesIndexed, body))


def find_duplicates(
    project_id: str,
    *,
    content: str | None,
    vector: NDArray[np.float32] | None,
    threshold: float,
    limit: int,
    model: str,
) -> Call:
    """Ask for items near to a vector, of this model, or else to a text.

    Raises:
        InvalidTask: `invalid_vector`: JSON has no form for it.
    """
    near: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if vector is None:
        near["content"] = escape_text(content or "")
    else:
        near["embedding"], headers = _check_vector(vector), _name_model(model)
    body = _write(
        wire.DuplicatesQuery, project_id=project_id, threshold=threshold, limit=limit, **near
    )
    return Call("POST", wire.SEARCH_PATH, body=body, headers=headers)


def read_duplicates(body: bytes) -> list[Duplicate]:
    """Read hits, in any order."""
    hits = _read(wire.DuplicatesFound, body).duplicates
    return [Duplicate(hit.id, hit.score, hit.content) for hit in hits]


def read_context_of(
    project_id: str, department: str, previous: Sequence[str], *, max_tokens: int
) -> Call:
    """Ask what is known of a department; slugs with a comma in them are left out."""
    slugs = choose_previous([escape_text(slug) for slug in previous])
    query = {
        "project_id": project_id,
        "department": escape_text(department),
        "previous": ",".join(slug for slug in slugs if "," not in slug),
        "max_tokens": str(max_tokens),
    }
    return Call("GET", wire.CONTEXT_PATH, query=query)


def read_context(body: bytes, department: str) -> DepartmentContext:
    """Read what is known of a department."""
    context = _to_own(DepartmentContext, _read(wire.ContextFound, body))
    return replace(context, department=department)


def measure_coverage(project_id: str, department: str, items: Sequence[KnownItem] | None) -> Call:
    """Ask how well items, the newest that count, or all that are indexed, cover a department.

    Raises:
        InvalidTask: `invalid_id`: JSON has no form for it.
    """
    measured: dict[str, Any] = {}
    if items is not None:
        measured["items"] = [
            wire.Item.model_construct(**_to_values(item)) for item in items[-MAX_ITEMS:]
        ]
    body = _write(
        wire.CoverageQuery,
        project_id=project_id,
        department=escape_text(department),
        **measured,
    )
    return Call("POST", wire.COVERAGE_PATH, body=body)


def read_coverage(body: bytes) -> Coverage:
    """Read how well a department is covered."""
    return _to_own(Coverage, _read(wire.CoverageFound, body))


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


def _write(kind: type[BaseModel], **values: Any) -> bytes:
    """Write a request with those of its fields that are given; the service validates it."""
    request = kind.model_construct(set(values), **values)
    try:
        return orjson.dumps(
            request.model_dump(by_alias=True, exclude_unset=True, warnings=False),
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
    except orjson.JSONEncodeError:
        raise InvalidTask("invalid_id", _NO_FORM) from None


def _to_own(kind: type[T], found: BaseModel) -> T:
    """Return what was answered as the type of ours whose names it has."""
    return _adapter(kind).validate_python(found.model_dump())


@functools.cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)


def _read(kind: type[M], body: bytes) -> M:
    try:
        return kind.model_validate(load_json(body))
    except ValidationError as invalid:
        raise ValueError(explain(invalid)) from None
