"""What calls to models used, by day, project, department, provider and model (SPEC §6, Reads).

Each call is added when it is settled, so that nobody has to count over calls. What is kept lasts
longer than the calls themselves.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from aletheia.documents import Change, Documents, Update

USAGE_DAYS: Final = "aletheia_usage_days"

MAX_ROWS: Final = 100_000
"""Rows that one question may read: a year of some hundred departments."""

DAYS_KEPT_S: Final = 400 * 86_400.0
"""How long rows are kept, seconds: a year, and a month to compare it with."""

MAX_PURGED: Final = 10_000

Dimension: TypeAlias = Literal["day", "project_id", "department", "provider", "model", "kind"]

DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)

_FIGURES: Final = ("calls", "tokens_in", "tokens_out", "nanousd")


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """What was used, by some dimensions, in their order."""

    key: tuple[str, ...]  # a value for each; empty where nobody said
    calls: int
    tokens_in: int
    tokens_out: int
    nanousd: int


def add_to_day(day: str, labels: Mapping[str, Any], figures: Mapping[str, int]) -> Update:
    """Return the change that adds a settled call; `labels` are by dimension, and `is_mock`."""
    values = {name: labels.get(name) or "" for name in DIMENSIONS if name != "day"}
    # Only the last may hold slashes beside the model, which stands between two that hold none.
    # An id that begins as a date does is one to some servers of MongoDB's protocol.
    parts = (f"day:{day}", *(values[name] for name in ("provider", "model", "kind", "project_id")))
    name = "/".join((*parts, "mock" if labels["is_mock"] else "", values["department"]))
    change = Change(
        set={**values, "day": day, "is_mock": bool(labels["is_mock"])}, increase=dict(figures)
    )
    return Update(name, change)


async def read_usage(
    documents: Documents,
    by: Sequence[Dimension],
    *,
    first_day: str,
    last_day: str,
    where: Mapping[str, str],
) -> list[UsageGroup]:
    """Return what was used from one UTC day to another, both included, grouped and sorted.

    Raises:
        ValueError: that would read more than `MAX_ROWS` rows.
    """
    days = {"day": {"$gte": first_day, "$lte": last_day}}
    rows = await documents.find(USAGE_DAYS, {**where, **days}, sort="day", limit=MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise ValueError(f"more than {MAX_ROWS:,} rows")
    sums: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(_FIGURES))
    for row in rows:
        group = sums[tuple(str(row[name]) for name in by)]
        for place, name in enumerate(_FIGURES):
            group[place] += int(row[name])
    return [UsageGroup(key, *figures) for key, figures in sorted(sums.items())]


async def purge_days(documents: Documents, *, before: str) -> int:
    """Delete what was used before a UTC day; return how many rows."""
    return await documents.delete(USAGE_DAYS, {"day": {"$lt": before}}, limit=MAX_PURGED)
