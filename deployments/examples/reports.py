"""What a report to the example upstream may hold, as strict as validation with whitelists."""

from typing import Annotated, Any, Final, Generic, TypeVar, cast

import orjson
from annotated_types import MinLen
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

T = TypeVar("T")


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Embedding(_Fields):
    embedding: Annotated[list[float], MinLen(1)]
    dimensions: int
    model: Annotated[str, MinLen(1)]
    provider: Annotated[str, MinLen(1)]
    truncated: bool | None = None
    mock: bool | None = None

    @model_validator(mode="after")
    def _check_dimensions(self) -> "_Embedding":
        if self.dimensions != len(self.embedding):
            raise ValueError("dimensions must be the length of embedding")
        return self


class _Error(_Fields):
    code: Annotated[str, MinLen(1)]
    message: Annotated[str, MinLen(1)]
    retryable: bool


class _Succeeded(_Fields, Generic[T]):
    result: T
    usage: dict[str, float] = {}


class _Failed(_Fields):
    error: _Error


class _OldSucceeded(_Fields, Generic[T]):
    output_data: T


class _OldFailed(_Fields):
    error_message: str


REPORTS: Final[dict[str, dict[str, Any]]] = {
    "state": {"processing": _Fields, "succeeded": _Succeeded, "failed": _Failed},
    "status": {"processing": _Fields, "succeeded": _OldSucceeded, "failed": _OldFailed},
}
"""The fields of a report by dialect, which is the name of its state, and by state."""


def read_report(
    body: bytes, task_type: str, listed_state: str = "pending"
) -> tuple[dict[str, Any], list[str]]:
    """Read the JSON of a report; return it, its `state` in lower case, and what is wrong with it.

    The type of the task, in lower case, decides what a result must hold; states must be in the
    letter case of the one that was listed.
    """
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return {}, [f"the body is not JSON: {error}"]
    if not isinstance(found, dict):
        return {}, ["the body must be an object"]
    report = cast("dict[str, Any]", found)
    dialect = "status" if "status" in report else "state"
    written = report.pop(dialect, None)
    names = [name.upper() if listed_state.isupper() else name for name in REPORTS[dialect]]
    if not isinstance(written, str) or written not in names:
        return {}, [f"state must be one of {', '.join(names)}"]
    state = written.lower()
    model = REPORTS[dialect][state]
    if state == "succeeded":
        model = model[_Embedding if task_type == "text_embedding" else dict[str, Any]]
    try:
        model.model_validate(report)
    except ValidationError as invalid:
        return {}, [f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in invalid.errors()]
    return report | {"state": state}, []
