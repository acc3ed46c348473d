"""The events of a gather run, as everybody gets them (SPEC §4, Events)."""

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

_ProjectId: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,48}$")]
_Quality: TypeAlias = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
_Count: TypeAlias = Annotated[int, Field(ge=0)]


class _Said(BaseModel):
    """What every event says; `department` is a slug wherever it stands."""

    model_config = ConfigDict(frozen=True)

    project_id: _ProjectId


class DepartmentStarted(_Said):
    """A department's turn has come; `model` is the one that writes for it."""

    type: Literal["department_started"] = "department_started"
    department: str
    department_name: str
    threshold: _Quality
    model: str


class Deduplicating(_Said):
    """An iteration's batch is there and is compared with what is saved."""

    type: Literal["deduplicating"] = "deduplicating"
    department: str


class IterationComplete(_Said):
    """An iteration's items are saved and scored."""

    type: Literal["iteration_complete"] = "iteration_complete"
    department: str
    department_name: str
    iteration: int = Field(ge=1)  # in this department, from 1
    total_iterations: int = Field(ge=1)  # in the run so far
    quality_score: _Quality
    items_created: _Count  # saved by this iteration
    threshold: _Quality


class DepartmentComplete(_Said):
    """A department's turn is over, for whatever reason."""

    type: Literal["department_complete"] = "department_complete"
    department: str
    department_name: str
    quality_score: _Quality
    iterations_used: _Count


class MaxIterationsReached(_Said):
    """A department's iterations are spent before it reached its threshold."""

    type: Literal["max_iterations_reached"] = "max_iterations_reached"
    department: str
    final_quality_score: _Quality
    threshold: _Quality


class DepartmentSummary(BaseModel, frozen=True):
    """What a run did in a department, by its slug; no quality where it was never scored."""

    department: str
    name: str
    quality_score: _Quality | None
    iterations: _Count
    items_created: _Count


class AutomationComplete(_Said):
    """A run is over; the summary is in the order in which it took the departments."""

    type: Literal["automation_complete"] = "automation_complete"
    total_iterations: _Count
    departments_processed: _Count
    items_created: _Count
    summary: tuple[DepartmentSummary, ...]


class AutomationCancelled(_Said):
    """A run was cancelled; what it created stays."""

    type: Literal["automation_cancelled"] = "automation_cancelled"
    items_created_so_far: _Count


Event: TypeAlias = Annotated[
    DepartmentStarted
    | Deduplicating
    | IterationComplete
    | DepartmentComplete
    | MaxIterationsReached
    | AutomationComplete
    | AutomationCancelled,
    Field(discriminator="type"),
]

EVENT: Final[TypeAdapter[Event]] = TypeAdapter(Event)
