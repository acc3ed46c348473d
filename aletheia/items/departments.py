"""Departments of the application, as it lists them."""

from dataclasses import dataclass
from typing import Annotated, Final, cast

from pydantic import BaseModel, BeforeValidator, Field
from pydantic.alias_generators import to_camel

from aletheia.errors import InvalidTask
from aletheia.items.content import Cleaned, Required

DEFAULT_QUALITY_THRESHOLD: Final = 80.0
"""Quality, 0 to 100, at which a department is done unless it says otherwise (SPEC §4)."""

_MAX_NAME: Final = 300
_MAX_DESCRIPTION: Final = 100_000
_MAX_NUMBER: Final = 10**9
_MAX_RICH_TEXT: Final = 20


def read_id(value: object) -> object:
    """Take the number that Payload has as an id on PostgreSQL and SQLite."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _read_text(value: object) -> object:
    """Read a text that may be missing, or be one of Payload's rich texts."""
    if isinstance(value, (dict, list)):
        return "\n".join(_texts_of(cast("object", value)))
    return "" if value is None else value


def _texts_of(node: object, depth: int = 0) -> list[str]:
    """Collect the texts of a rich text; its editors nest `text` in `children`, below a `root`."""
    if depth > _MAX_RICH_TEXT:
        return []
    if isinstance(node, list):
        nodes = cast("list[object]", node)
        return [text for part in nodes for text in _texts_of(part, depth + 1)]
    if not isinstance(node, dict):
        return []
    found = cast("dict[str, object]", node)
    if isinstance(text := found.get("text"), str):
        return [text]
    return _texts_of(found.get("root") or found.get("children"), depth + 1)


def _read_model(value: object) -> object:
    """Take a model's name; a field that was left empty names none."""
    return None if isinstance(value, str) and not value.strip() else value


def _refuse_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - what pydantic turns into a fault
    return value


def _read_object(value: object) -> object:
    return {} if value is None else value


class CoordinationSettings(BaseModel, frozen=True, alias_generator=to_camel, populate_by_name=True):
    """What a department says about its own runs."""

    min_quality_threshold: float | None = Field(default=None, ge=0, le=100)


class Department(BaseModel, frozen=True, alias_generator=to_camel, populate_by_name=True):
    """A department of the application, with the fields and, by alias, the names it has there.

    Departments go in the order of `code_dep_number`, `None` last. With `gather_check` one takes
    part in gathering; its items are written by `default_model`, if it has one of its own.
    """

    id: Annotated[Required, BeforeValidator(read_id)] = Field(max_length=200)
    slug: Required = Field(max_length=_MAX_NAME)
    name: Required = Field(max_length=_MAX_NAME)
    description: Annotated[Cleaned, BeforeValidator(_read_text)] = Field(
        default="", max_length=_MAX_DESCRIPTION
    )
    code_dep_number: Annotated[
        int | None, Field(ge=-_MAX_NUMBER, le=_MAX_NUMBER), BeforeValidator(_refuse_flag)
    ] = None
    gather_check: bool = Field(strict=True)
    is_active: bool = Field(strict=True)
    default_model: Annotated[str | None, BeforeValidator(_read_model)] = None
    coordination_settings: Annotated[CoordinationSettings, BeforeValidator(_read_object)] = Field(
        default_factory=CoordinationSettings
    )

    @property
    def quality_threshold(self) -> float:
        """Quality at which it is done, 0 to 100."""
        own = self.coordination_settings.min_quality_threshold
        return DEFAULT_QUALITY_THRESHOLD if own is None else own


@dataclass(frozen=True, slots=True)
class DepartmentList:
    """The departments of a run, in the order they are worked through."""

    departments: tuple[Department, ...]
    faults: tuple[str, ...] = ()  # of those that cannot be used: id, or else place, and why
    warnings: tuple[str, ...] = ()  # what is odd and does not stop a run, each a sentence

    def choose(self, number: int | None, slug: str | None = None) -> Department:
        """Return the one department with this `codeDepNumber` and, where given, this slug.

        Without a slug, no number means those that have none.

        Raises:
            InvalidTask: `unknown_department`, `ambiguous_department`.
        """
        found = [
            department
            for department in self.departments
            if (slug is None or department.slug == slug)
            and (department.code_dep_number == number or (number is None and slug is not None))
        ]
        words = {f"slug {slug!r}": slug, f"number {number}": number}
        meant = " and ".join(name for name, value in words.items() if value is not None)
        meant = meant or "no number"
        if not found:
            known = ", ".join(map(_name_department, self.departments)) or "none"
            message = f"no department has {meant}; there are: {known}"
            raise InvalidTask("unknown_department", message)
        if len(found) > 1:
            slugs = ", ".join(repr(department.slug) for department in found)
            message = f"{len(found)} departments have {meant}: {slugs}; name one by its slug"
            raise InvalidTask("ambiguous_department", message)
        return found[0]


def _name_department(department: Department) -> str:
    number = department.code_dep_number
    return f"{'-' if number is None else number} {department.slug!r}"
