"""What a rule is made of, and what the functions of rules share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import View
from aletheia.text.grammar import agree

Severity: TypeAlias = Literal["critical", "high", "medium", "low"]

SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "high", "medium", "low")

ROUNDING_ERROR: Final = 1e-6
"""By how much a product of floats may miss a whole number."""
"""The worst first."""

Category: TypeAlias = Literal["performance", "content", "campaigns", "system"]
Effort: TypeAlias = Literal["low", "medium", "high"]
ActionType: TypeAlias = Literal[
    "process_queue",
    "retry_failed_jobs",
    "process_pending_jobs",
    "gather_project",
    "pull_model",
    "reconcile",
    "sweep",
]
"""What automated steps may do (SPEC §5); nothing else is ever carried out."""


class Found(NamedTuple):
    """What a rule found: how bad it is, a sentence, the values it rests on by path, its bound."""

    severity: Severity
    text: str
    evidence: Mapping[str, object]
    limit: float | None = None


Check: TypeAlias = Callable[[View, FindingSettings], Found | None]


PayloadOf: TypeAlias = Callable[[Mapping[str, object]], Mapping[str, Any]]
"""Reads the parameters of an action from a finding's evidence, by path, the worst first."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What can be done about a finding; `payload_of` adds to the payload what depends on it."""

    title: str
    description: str
    impact: str
    category: Category = "system"
    effort: Effort = "low"
    action: ActionType | None = None
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])
    payload_of: PayloadOf | None = None

    def read_payload(self, evidence: Mapping[str, object]) -> dict[str, Any]:
        """Return the parameters of the action about a finding with this evidence."""
        payload = dict(self.payload)
        return payload if self.payload_of is None else {**payload, **self.payload_of(evidence)}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: what it checks, which source it depends on, what is done about what it finds.

    `title` states the finding without any figure. `because` names the rules whose findings cause
    this one, which only a claim that names both may say. `weight` is what the finding costs the
    score, points; `None` takes that of its severity.
    """

    id: str
    source: str
    title: str
    check: Check
    advice: Advice | None = None
    because: tuple[str, ...] = ()
    weight: float | None = None


def rule(
    id_: str,
    source: str,
    title: str,
    advice: Advice | None = None,
    *,
    because: tuple[str, ...] = (),
    weight: float | None = None,
) -> Callable[[Check], Rule]:
    """Make a rule of the function that checks it; for the arguments see `Rule`."""

    def build(check: Check) -> Rule:
        return Rule(id_, source, title, check, advice, because, weight)

    return build


def find_above(
    view: View,
    path: str,
    text: str,
    *levels: tuple[float, Severity],
    said: str = "",
    entity: str = "",
) -> Found | None:
    """Return what a number is from one of the bounds on, the worst one that holds, inclusive.

    `text` has `{value}`, `{limit}` and `{entity}`, and `[one|many]` for words that go with the
    value, see `agree`; `said` stands in for the value.
    """
    value = view.number(path)
    if value is None:
        return None
    holding = [level for level in levels if value >= level[0]]
    return _worst_of(holding, {path: value}, text, said=said, entity=entity)


def find_below(
    view: View, path: str, text: str, *levels: tuple[float, Severity], said: str = ""
) -> Found | None:
    """Return what a number below one of the bounds is, the worst one that holds; see above."""
    value = view.number(path)
    if value is None:
        return None
    holding = [level for level in levels if value < level[0]]
    return _worst_of(holding, {path: value}, text, said=said)


def _worst_of(
    holding: Sequence[tuple[float, Severity]],
    evidence: Mapping[str, float],
    text: str,
    *,
    said: str,
    entity: str = "",
) -> Found | None:
    if not holding:
        return None
    limit, severity = min(holding, key=lambda level: SEVERITIES.index(level[1]))
    (value,) = evidence.values()
    sentence = agree(text, value).format(
        value=said or write_number(value), limit=write_number(limit), entity=entity
    )
    return Found(severity, sentence, evidence, limit)


def find_worst(
    view: View, table: str, name: str, text: str, *levels: tuple[float, Severity]
) -> Found | None:
    """Return what the entity with the largest number of a name is.

    The evidence has every entity that is past a bound, the worst first.
    """
    paths = [f"{table}.{key}.{name}" for key in view.keys(table)]
    known = [(number, path) for path in paths if (number := view.number(path)) is not None]
    if not known:
        return None
    worst_first = sorted(known, reverse=True)
    path = worst_first[0][1]
    entity = view.text(f"{path.rpartition('.')[0]}.name")
    found = find_above(view, path, text, *levels, entity=entity)
    if found is None:
        return None
    first_bound = min(bound for bound, _ in levels)
    past = {path: number for number, path in worst_first if number >= first_bound}
    return found._replace(evidence=past)


def write_number(value: float) -> str:
    """Write a number as people read it: thousands apart, at most two decimals."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}".rstrip("0").rstrip(".")


def write_share(value: float) -> str:
    """Write a fraction as a percentage, to the nearest tenth.

    It is not rounded up to a whole percentage, which may be a bound, or all of it.
    """
    tenths = round(value * 1000)
    if tenths % 10 == 0 and tenths - value * 1000 > ROUNDING_ERROR:
        tenths -= 1
    return f"{tenths / 10:.1f}".removesuffix(".0") + " %"


def write_duration(seconds: float) -> str:
    """Write a duration in the largest unit that it has at least two of, rounded down."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
