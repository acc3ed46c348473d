"""How the Brain is spoken to over HTTP: paths, names of fields, and nothing else (SPEC §4, Brain).

A service with other names is another `Dialect`: a subclass that writes and reads its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aletheia.adapters.http_answers import as_object, as_text, load_json
from aletheia.brain.index import choose_previous, make_unit
from aletheia.brain.ports import (
    AspectCoverage,
    BrainDepartment,
    BrainItem,
    Coverage,
    DepartmentContext,
    Duplicate,
    EarlierDepartment,
    FailedItem,
    IndexedItem,
    KnownItem,
    Upserted,
)
from aletheia.errors import InvalidTask
from aletheia.llm.structured import explain
from aletheia.quality.scores import MAX_ITEMS

MODEL_CHANGED: Final = "embedding_model_changed"
"""Code of an error that carries, in `details`, the model that is `kept` and the one `asked`."""

OTHER_MODEL: Final = "other_embedding_model"
"""Code of an error that carries, in `details`, the service's `own` model and the one `asked`."""

OURS: Final = ("X-Aletheia", "brain")
"""The header, and its value, by which a service of ours is known."""

MODEL_HEADER: Final = "X-Aletheia-Model"
"""Names the model that the vectors of a request are of; percent-encoded."""

INVALID: Final = frozenset(
    {
        *("missing_query", "wrong_dimensions", "invalid_vector", "invalid_id", "empty_text"),
        *("input_too_long", "invalid_project_id"),
    }
)
"""Codes of what is wrong with a question itself, as all backends name it."""

_TOLERATED: Final = 1e-3
"""How far rounding may take a cosine beyond 1."""

_T = TypeVar("_T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call:
    """A request to be made.

    Attributes:
        method: of HTTP.
        path: below the root of the service.
        query: names and values.
        body: JSON.
        headers: further ones.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Said:
    """What a service says against a request.

    Attributes:
        code: the service's own; empty if it has none.
        message: for people.
        details: further values by name.
    """

    code: str = ""
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _read_text(value: object) -> object:
    return "" if value is None else value


def _read_id(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _read_list(value: object) -> object:
    return [] if value is None else [value] if isinstance(value, str) else value


_Text: TypeAlias = Annotated[str, BeforeValidator(_read_text)]
_Id: TypeAlias = Annotated[str, Field(min_length=1), BeforeValidator(_read_id)]
_Ids: TypeAlias = Annotated[tuple[_Id, ...], BeforeValidator(_read_list)]
_Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_read_list)]
_Count: TypeAlias = Annotated[int, Field(ge=0)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Failed(_Answer):
    id: Annotated[str, BeforeValidator(_read_id)]
    code: str = "refused"


class _Upserted(_Answer):
    created: _Count
    updated: _Count
    failed: Annotated[tuple[_Failed, ...], BeforeValidator(_read_list)] = ()


class _Duplicate(_Answer):
    id: _Id
    score: Annotated[float, Field(ge=-1 - _TOLERATED, le=1 + _TOLERATED)]
    content: _Text = ""


class _Duplicates(_Answer):
    duplicates: tuple[_Duplicate, ...]


class _Known(_Answer):
    id: _Id
    content: str
    summary: _Text = ""
    context: _Text = ""

    def to_item(self) -> KnownItem:
        return KnownItem(self.id, self.content, self.summary, self.context)


_Items: TypeAlias = Annotated[tuple[_Known, ...], BeforeValidator(_read_list)]


class _Earlier(_Answer):
    department: str
    summary: _Text = ""
    items: _Items = ()


class _Context(_Answer):
    items: _Items
    previous: Annotated[tuple[_Earlier, ...], BeforeValidator(_read_list)] = ()
    gaps: _Texts = ()


class _Aspect(_Answer):
    name: str
    covered: Annotated[float, Field(ge=0, le=1)]
    evidence: _Ids = ()


class _Coverage(_Answer):
    score: Annotated[float, Field(ge=0, le=100)]
    aspects: tuple[_Aspect, ...]


class _Indexed(_Answer):
    id: _Id
    department: str
    fingerprint: str
    has_vector: bool


class _Listed(_Answer):
    items: tuple[_Indexed, ...]


class _Deleted(_Answer):
    deleted: _Count


class _Adopted(_Answer):
    adopted: bool


class Dialect:
    """What requests and answers look like: as the specification has it, and as we serve it.

    Methods that read an answer raise `ValueError` where it is not one.
    """

    def is_ours(self, headers: Mapping[str, str]) -> bool:
        """Tell by an answer whether the service is one of ours."""
        name, value = OURS
        return headers.get(name) == value

    def name_model(self, call: Call, model: str) -> Call:
        """Say which model the vectors of a request are of.

        In a header, which whoever does not know it passes over: the bodies are SPEC §4's.
        """
        named = {MODEL_HEADER: quote(model, errors="replace")} if model else {}
        return replace(call, headers={**call.headers, **named})

    def write_item(self, item: BrainItem) -> bytes:
        """Write an item of a batch.

        Raises:
            InvalidTask: `invalid_id`, `invalid_vector`; JSON has no form for it.
        """
        values: dict[str, Any] = _describe(item)
        if item.vector is not None:
            values["embedding"] = _plain(item.vector)
        return _dump(values)

    def upsert(self, project_id: str, department: BrainDepartment, items: Sequence[bytes]) -> Call:
        """Ask to index items, each of them written."""
        head = _dump(
            {
                "project_id": project_id,
                "department": {
                    "slug": _text_of(department.slug),
                    "name": _text_of(department.name),
                    "codeDepNumber": department.code_dep_number,
                },
            }
        )
        body = b'%b,"items":[%b]}' % (head[:-1], b",".join(items))
        return Call("POST", "/api/v1/nodes/batch", body=body)

    def read_upserted(self, body: bytes) -> Upserted:
        """Read what became of a batch."""
        answer = _load(_Upserted, body)
        failed = tuple(FailedItem(one.id, one.code) for one in answer.failed)
        return Upserted(answer.created, answer.updated, failed)

    def find_duplicates(
        self,
        project_id: str,
        *,
        content: str | None,
        vector: NDArray[np.float32] | None,
        threshold: float,
        limit: int,
    ) -> Call:
        """Ask for items near to a vector, or else to a text.

        Raises:
            InvalidTask: `invalid_vector`; JSON has no form for it.
        """
        values: dict[str, Any] = {"project_id": project_id, "threshold": threshold, "limit": limit}
        if vector is None:
            values["content"] = _text_of(content or "")
        else:
            values["embedding"] = _plain(vector)
        return Call("POST", "/api/v1/search/duplicates", body=_dump(values))

    def read_duplicates(self, body: bytes) -> list[Duplicate]:
        """Read hits, in any order."""
        return [
            Duplicate(one.id, min(1.0, max(-1.0, one.score)), one.content)
            for one in _load(_Duplicates, body).duplicates
        ]

    def read_context_of(
        self,
        project_id: str,
        department: BrainDepartment,
        previous: Sequence[str],
        *,
        max_tokens: int,
    ) -> Call:
        """Ask what is known of a department; a name with a comma in it cannot be asked about.

        One with a description can, of our own service alone.
        """
        slugs = [_text_of(slug) for slug in choose_previous(previous)]
        if department.description:
            values = {
                "project_id": project_id,
                "department": _describe_department(department),
                "previous": slugs,
                "max_tokens": max_tokens,
            }
            return Call("POST", "/api/v1/context/department", body=_dump(values))
        query = {
            "project_id": project_id,
            "department": _text_of(department.slug),
            "previous": ",".join(slug for slug in slugs if "," not in slug),
            "max_tokens": str(max_tokens),
        }
        return Call("GET", "/api/v1/context/department", query=query)

    def read_context(self, body: bytes, department: str) -> DepartmentContext:
        """Read what is known of a department."""
        answer = _load(_Context, body)
        previous = tuple(
            EarlierDepartment(one.department, one.summary, _known(one.items))
            for one in answer.previous
        )
        return DepartmentContext(department, _known(answer.items), previous, answer.gaps)

    def measure_coverage(
        self, project_id: str, department: BrainDepartment, items: Sequence[KnownItem] | None
    ) -> Call:
        """Ask how well items, the newest that count, or all that are indexed, cover a department.

        Of a department with a description only our own service can be asked.

        Raises:
            InvalidTask: `invalid_id`; JSON has no form for it.
        """
        is_described = bool(department.description)
        asked = _describe_department(department) if is_described else _text_of(department.slug)
        values: dict[str, Any] = {"project_id": project_id, "department": asked}
        if items is not None:
            values["items"] = [_describe(item) for item in items[-MAX_ITEMS:]]
        return Call("POST", "/api/v1/analyze/coverage", body=_dump(values))

    def read_coverage(self, body: bytes) -> Coverage:
        """Read how well a department is covered."""
        answer = _load(_Coverage, body)
        aspects = (AspectCoverage(one.name, one.covered, one.evidence) for one in answer.aspects)
        return Coverage(answer.score, tuple(aspects))

    def list_items(self, project_id: str, *, after: str, limit: int) -> Call:
        """Ask what is indexed; not of the specification, and only our own service knows it."""
        query = {"project_id": project_id, "after": after, "limit": str(limit)}
        return Call("GET", "/api/v1/nodes", query=query)

    def read_listed(self, body: bytes) -> list[IndexedItem]:
        """Read what is indexed."""
        return [
            IndexedItem(one.id, one.department, one.fingerprint, one.has_vector)
            for one in _load(_Listed, body).items
        ]

    def delete(self, project_id: str, ids: Sequence[str]) -> Call:
        """Ask to delete items; not of the specification, and only our own service knows it."""
        body = _dump({"project_id": project_id, "ids": list(ids)})
        return Call("POST", "/api/v1/nodes/delete", body=body)

    def read_deleted(self, body: bytes) -> int:
        """Read how many items were there."""
        return _load(_Deleted, body).deleted

    def keep_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> Call:
        """Ask to keep an evaluation; not of the specification, and only our own service knows it.

        Raises:
            InvalidTask: JSON has no form for it, as for an integer of 2^53 or more.
        """
        about = {"project_id": project_id, "department": _text_of(department), "version": version}
        return Call("POST", "/api/v1/evaluations", body=_dump({**about, "values": dict(values)}))

    def adopt_model(self, model: str) -> Call:
        """Ask to go over to a model; not of the specification, and only our own service knows it.

        Raises:
            InvalidTask: JSON has no form for it.
        """
        return Call("POST", "/api/v1/model/adopt", body=_dump({"model": model}))

    def read_adopted(self, body: bytes) -> bool:
        """Read whether vectors of another model went."""
        return _load(_Adopted, body).adopted

    def read_error(self, body: bytes) -> Said:
        """Read what is said against a request, in any of the forms that are usual."""
        try:
            values = as_object(load_json(body))
        except ValueError:
            return Said()
        error = values.get("error")
        if isinstance(error, dict):
            values = as_object(cast("object", error))
        else:
            values = {"message": error or values.get("detail"), **values}
        return Said(
            as_text(values.get("code")),
            as_text(values.get("message")),
            as_object(values.get("details")),
        )


def _known(items: Sequence[_Known]) -> tuple[KnownItem, ...]:
    return tuple(item.to_item() for item in items)


def _describe(item: BrainItem | KnownItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "content": _text_of(item.content),
        "summary": _text_of(item.summary),
        "context": _text_of(item.context),
    }


def _describe_department(department: BrainDepartment) -> dict[str, str]:
    return {
        "slug": _text_of(department.slug),
        "description": _text_of(department.description),
    }


def _text_of(text: str) -> str:
    """Write a text so that JSON can hold it: half surrogates become question marks."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _plain(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Check a vector, and give it as it can be written; its length stays what it is."""
    make_unit(vector)
    return np.ascontiguousarray(vector, np.float32)


def _dump(values: Mapping[str, Any]) -> bytes:
    try:
        # Many readers take an integer for a float64, which has not all of the larger ones.
        return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:
        raise InvalidTask("invalid_id", "a name or a value has no form in JSON") from None


def _load(model: type[_T], body: bytes) -> _T:
    try:
        return model.model_validate(load_json(body))
    except ValidationError as invalid:
        raise ValueError(explain(invalid)) from None
