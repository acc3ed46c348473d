"""What can go wrong, as a small tree.

Every error answers two questions: what do we report (`code`), and does it help to try again
(`retryable`)? Adapters translate every library error at the edge; everything inside catches
only these.

    AletheiaError
    ├── InvalidTask           the task itself is wrong; its code says how
    ├── Unavailable           an outside system cannot be reached or answers 5xx or 429
    │   ├── Unreachable       no connection came about; nothing was sent
    │   ├── ConnectionLost    it was lost before the whole answer had come
    │   ├── TimedOut          the whole answer did not come in time
    │   ├── BadAnswer         it answered, but not with what its protocol promises
    │   │   ├── TooLong       with more than is read
    │   │   └── WrongCount    with another number of vectors than texts
    │   └── QuotaExhausted    what was paid for is used up; waiting alone does not help
    ├── Refused               an outside system refused (4xx), and will refuse again
    │   ├── Unauthorized      401 or 403, after a fresh token
    │   ├── NotFound          404
    │   └── Conflict          409
    ├── ModelUnavailable      a model cannot be had from any of its sources
    ├── ComputeFailed         computing a task failed; another attempt may help
    │   ├── TooSlow           it took longer than it may; the same would happen again
    │   ├── UnreadableAnswer  llm: an answer without a usable value
    │   └── StepFailed        tasks: a step of a plan failed; the ones behind it are not carried out
    ├── Deferred              not now, by our own rules; nothing was sent
    │   ├── RateLimited       a provider is over one of its limits
    │   ├── BudgetExceeded    a budget does not suffice for the call
    │   ├── BreakerOpen       a dependency failed too often to be asked for a while
    │   ├── LaneTaken         another run works in the bulk lane
    │   └── ReasoningBusy     reasoning: another run is under way and does not end
    ├── Misconfigured         a setting or a block is missing or makes no sense
    ├── ModelChanged          brain: its vectors are of another model than the one in use
    ├── OtherModel            brain: the service embeds with another model than its caller
    ├── RunError              gather: an error about a run
    │   ├── ProjectBusy       another run has the project's lock
    │   ├── RunSuperseded     another run has taken its project over
    │   ├── LockLost          another attempt, or another run, has taken over
    │   ├── UnknownRun        there is no such run
    │   ├── RunOver           it is over and stays as it is
    │   ├── NotResumable      it cannot be resumed
    │   ├── AnswersUnreadable it was in vain: what models answered could not be used
    │   └── TimeIsUp          a generation has not ended in the time of an attempt
    ├── UndoRefused           items: a decision cannot be undone
    ├── DropRefused           items: a possible repetition cannot be dropped
    ├── ProgramFailed         deployments: a program did not start, or ended too early
    ├── RunEnded              deployments: a run ended without a result
    ├── DeployFailed          deployments: `prefect deploy` failed
    └── PartsFailed           tasks: some parts of a run failed, the others were done
        ├── EventsStayDead    of sending dead events once more
        ├── ReconcileFailed   of reconciling
        └── SweepFailed       of a sweep
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import ClassVar, Final

ABOUT_CONTENT: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses that may be due to what is in a request."""


class AletheiaError(Exception):
    """Root of the tree. A subclass with arguments declares them as the fields of a dataclass."""

    code: str = "internal_error"
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None  # seconds that an outside system asked us to wait, if any
    sentence: ClassVar[str] = ""  # what `str` returns, with the names of fields in braces

    def __post_init__(self) -> None:
        # Another process unpickles an error by calling its class with `args`.
        self.args = tuple(vars(self).values())

    def __str__(self) -> str:
        return self.sentence.format(**vars(self)) if self.sentence else super().__str__()


@dataclass(eq=False)
class InvalidTask(AletheiaError):
    """A task that cannot be done as it stands."""

    sentence = "{message}"

    code: str = field()  # stable, such as `empty_text`; without the default of the root
    message: str  # one sentence for whoever sent the task


@dataclass(eq=False)
class Unavailable(AletheiaError):
    """An outside system is out of reach for now."""

    code = "unavailable"
    retryable = True
    sentence = "{dependency} is unavailable: {reason}"

    dependency: str  # its name, such as `upstream` or `store`
    reason: str  # what was seen, without secrets
    retry_after_s: float | None = None  # seconds it asked us to wait, if it did
    status: int | None = None  # its HTTP status, if it gave one


class Unreachable(Unavailable):
    """No connection to an outside system came about, so nothing was sent."""


class ConnectionLost(Unavailable):
    """A connection was lost before the whole answer had come."""


class TimedOut(Unavailable):
    """The whole answer did not come in time."""


class BadAnswer(Unavailable):
    """An outside system answered with something its protocol does not promise."""

    code = "bad_answer"
    sentence = "{dependency} gave a bad answer: {reason}"


class TooLong(BadAnswer):
    """An answer is longer than what is read; a smaller request may help."""


class WrongCount(BadAnswer):
    """An answer has another number of vectors than there were texts; fewer texts may help."""

    def __init__(self, dependency: str, given: int, asked: int) -> None:
        super().__init__(dependency, f"{given} vectors for {asked} texts", None, HTTPStatus.OK)
        self.args = (dependency, given, asked)
        self.given = given


class QuotaExhausted(Unavailable):
    """A provider has nothing left that was paid for: its owner has to act."""

    code = "quota_exhausted"
    sentence = "the quota at {dependency} is used up: {reason}"


@dataclass(eq=False)
class Refused(AletheiaError):
    """An outside system refused with an HTTP status, and will refuse again."""

    code = "refused"

    dependency: str
    status: int
    reason: str = ""  # the beginning of its answer, without secrets

    @property
    def is_about_content(self) -> bool:
        """Whether what was sent may be the reason, so that the same is refused again."""
        return self.status in ABOUT_CONTENT

    def __str__(self) -> str:
        said = f": {self.reason}" if self.reason else ""
        return f"{self.dependency} refused with {self.status}{said}"


class Unauthorized(Refused):
    """401 or 403, after a fresh token."""

    code = "unauthorized"


class NotFound(Refused):
    """404."""

    code = "not_found"


@dataclass(eq=False)
class Conflict(Refused):
    """409: what we ask for has been settled, elsewhere or by us."""

    code = "conflict"

    may_be_ours: bool = False  # an earlier try without a definite answer may have settled it


@dataclass(eq=False)
class ModelUnavailable(AletheiaError):
    """A model cannot be had; the reason names where it was looked for and what was found there."""

    code = "model_unavailable"
    retryable = True
    sentence = "model {model!r} is unavailable: {reason}"

    model: str
    reason: str


@dataclass(eq=False)
class ComputeFailed(AletheiaError):
    """Computing a task failed in a way another attempt may mend."""

    retryable = True
    sentence = "{message}"

    code: str = field()  # stable, such as `model_crashed`
    message: str


class TooSlow(ComputeFailed):
    """Computing a task took longer than it may."""

    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__("too_slow", message)
        self.args = (message,)


class Deferred(AletheiaError):
    """What is asked for is not allowed now; nothing was sent and nothing was charged."""

    code = "held_up"
    retryable = True

    until: datetime | None  # when to ask again, in UTC; `None` if waiting does not help this run


@dataclass(eq=False)
class RateLimited(Deferred):
    """A provider is over one of its limits."""

    code = "rate_limited"

    provider: str
    until: datetime | None  # when a call of this weight is allowed, if no other one comes before it
    tiers: tuple[str, ...] = ()  # the limits that are reached, such as `minute`

    def __str__(self) -> str:
        per = f" per {' and '.join(self.tiers)}" if self.tiers else ""
        return f"{self.provider!r} is over its limit{per} until {self.until}"


@dataclass(eq=False)
class BudgetExceeded(Deferred):
    """A budget does not suffice for a call."""

    code = "budget_exceeded"

    budget: str  # the setting, such as `BUDGET_USD_PER_DAY`
    limit: Decimal | int  # its value, USD or tokens
    spent: Decimal | int  # what is spent or reserved of it
    asked: Decimal | int  # what the call may take at most
    until: datetime | None  # when the budget begins anew, in UTC; `None` for the budget of a run

    def __str__(self) -> str:
        unit = "USD" if "_USD_" in self.budget else "tokens"
        begins = "with the next run" if self.until is None else f"at {self.until}"
        limit, spent, asked = (
            f"{amount:,f}" if isinstance(amount, Decimal) else f"{amount:,}"
            for amount in (self.limit, self.spent, self.asked)
        )
        return (
            f"{self.budget} is {limit} {unit}, of which {spent} are spent or reserved; the call "
            f"may take {asked}; it begins anew {begins}"
        )


@dataclass(eq=False)
class BreakerOpen(Deferred):
    """A dependency failed too often to be asked again before `until`."""

    code = "breaker_open"
    sentence = "the breaker of {dependency!r} is open until {until}"

    dependency: str
    until: datetime | None


@dataclass(eq=False)
class LaneTaken(Deferred):
    """Another run works in the bulk lane; its lease ends at `until` unless it renews it."""

    code = "lane_taken"
    sentence = "another run works in the bulk lane, until {until} at least"

    until: datetime | None


@dataclass(eq=False)
class Misconfigured(AletheiaError):
    """A setting or a block is missing or makes no sense; the reason says what to do about it."""

    code = "misconfigured"
    sentence = "{name}: {reason}"

    name: str
    reason: str
