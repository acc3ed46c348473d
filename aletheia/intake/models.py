"""The words of intake: task, page, claim, batch."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, Field, StringConstraints

from aletheia.documents import Document
from aletheia.errors import InvalidTask
from aletheia.text.grammar import agree


class RowState(StrEnum):
    """The state of a task in the ledger. The last five are final until somebody acts."""

    CLAIMED = "claimed"  # ours; the upstream has not acknowledged `processing` yet
    PROCESSING = "processing"  # it has: only the ledger knows this task now
    QUEUED = "queued"  # likewise, and handed over to its lane, where a worker takes it
    WAITING = "waiting"  # deferred after `processing` until `waiting_until`
    KEPT = "kept"  # the report is written down, and not acknowledged yet
    REPORTED = "reported"  # the upstream acknowledged the report
    CONFLICT = "conflict"  # the upstream had it settled by somebody else
    DEAD = "dead"  # the upstream refuses our report, or our claim, for good
    SUPERSEDED = "superseded"  # it was handed out with other content before we were done
    REJECTED = "rejected"  # without a usable id, or it makes work on it fail unexpectedly


UNFINISHED = (
    *(RowState.CLAIMED, RowState.PROCESSING, RowState.QUEUED),
    *(RowState.WAITING, RowState.KEPT),
)
"""States in which the ledger still owes the upstream something."""


class Task(BaseModel, frozen=True):
    """One task of the upstream, whichever dialect it came in."""

    id: str
    type: Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1)]
    input: dict[str, Any]  # the dialect's parameters are merged in below it
    callback_route: Any = None
    callback_params: Any = None
    job_id: str = ""  # of the job it belongs to; empty where it belongs to none
    retry_count: int = Field(default=0, ge=0)  # tries the upstream has counted already
    max_retries: int | None = Field(default=None, ge=0)  # after the first; `None`: as set
    created_at: float | None = None  # by the upstream's clock, Unix time, seconds
    content_hash: str  # SHA-256 of type and input, hexadecimal; equal content is equal work


Origin: TypeAlias = Literal["upstream", "pushed"]
"""Where a task comes from: the upstream's list, or a request to our own service."""

PUSHED: Final = "#pushed"
"""The end of the id of a pushed task's row; those of polled ones end in 16 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a page, or of a request to the service, that has a usable id."""

    id: str
    content_hash: str  # of the content, or of the whole entry where the content cannot be made out
    json: str  # the entry as it came
    task: Task | InvalidTask  # the task, or what is wrong with it
    listed_state: str | None = None  # the task's own state as it was listed
    origin: Origin = "upstream"
    callback_url: str | None = None  # where the report of a pushed task is sent, if anywhere

    @property
    def row_id(self) -> str:
        """The id of this content's row in the ledger; a pushed task has one content for ever."""
        if self.origin == "pushed":
            return f"{self.id}{PUSHED}"
        return f"{self.id}#{self.content_hash[:16]}"


class NewTask(NamedTuple):
    """A task to claim for the first time."""

    entry: Entry
    group: str  # as `Claim.group`
    generation: int  # of the work under its id, from 1
    problem: InvalidTask | None = None  # why it cannot be done
    lane: str | None = None  # as `Claim.lane`


class Listed(NamedTuple):
    """A finished task that the upstream lists as pending again: its row, and what is listed."""

    row: Document
    entry: Entry
    group: str
    lane: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An entry that cannot be reported, since it has no usable id."""

    content_hash: str
    json: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of pending tasks, read."""

    size: int  # entries that came
    entries: tuple[Entry, ...]  # those to process, in order, each id once
    rejected: tuple[Rejected, ...]  # those without a usable id
    not_pending: tuple[str, ...]  # ids that came in another state than pending


MAX_COMPUTATIONS: Final = 16
"""Computations of a task that its row names, the newest."""


@dataclass(slots=True, eq=False)
class Claim:
    """A row of the ledger that this poller holds."""

    row_id: str
    entry: Entry
    token: int  # fencing token; the ledger refuses a write that carries an older one
    state: RowState  # of the row, as we last wrote it
    lease_until: float
    group: str = ""  # model, or whatever else is computed together
    lane: str | None = None  # whose workers compute it; `None`: the shift itself
    takes: int = 0  # how often a worker has taken it from its lane without an end
    attempts: int = 0  # computations that failed so far
    report_tries: int = 0
    report_error: Mapping[str, Any] | None = None  # what is in the way of its report, since when
    kept_at: float | None = None  # when its report was written down, Unix time, seconds
    body: bytes | None = None  # the report, once there is one, byte for byte
    counted_type: str = "invalid"  # see `aletheia.intake.counting`
    claimed_at: float = 0.0  # when this work began, Unix time, seconds
    was_taken_over: bool = False
    was_kept: bool = False  # its report was kept by whoever had it before, who may have sent it
    was_reported: bool = False  # an earlier report of it was acknowledged
    is_dead_letter: bool = False  # one that the upstream has not taken back yet
    is_resend: bool = False  # listed as pending again after its report
    computations: tuple[str, ...] = ()  # ids of those it was part of, the newest last

    def note_computation(self, computation_id: str) -> None:
        """Note a computation that it is part of; its next write has it."""
        self.computations = (*self.computations, computation_id)[-MAX_COMPUTATIONS:]

    @property
    def task(self) -> Task:
        """The task; only a claim whose entry is a good one is ever computed."""
        assert isinstance(self.entry.task, Task)
        return self.entry.task


@dataclass(slots=True)
class Tally:
    """What a poller has done so far; all counts are tasks unless their name says otherwise."""

    pages: int = 0
    claimed: int = 0
    taken_over: int = 0
    computed: int = 0
    succeeded: int = 0
    failed: int = 0
    conflicts: int = 0
    dead: int = 0
    waiting: int = 0
    handed_over: int = 0
    resent: int = 0
    rejected: int = 0
    superseded: int = 0
    deferred_reports: int = 0
    lost_leases: int = 0
    refused_replays: int = 0
    blocked_head: int = 0  # entries that must wait and hide what comes after them, last time
    tokens: int = 0
    by_type: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    by_error: Counter[str] = field(default_factory=Counter[str])
    by_model: Counter[str] = field(default_factory=Counter[str])  # by `provider: model`
    fallbacks: int = 0  # results of another provider than the one asked first
    cached: int = 0  # results that had been made before
    deferred: dict[str, str] = field(default_factory=dict[str, str])  # what is in a group's way

    def count_use(self, outcome: "Outcome") -> None:
        """Count what one result that was kept is made of."""
        tokens, made = (outcome.usage or {}).get("tokens"), outcome.result or {}
        self.tokens += tokens if isinstance(tokens, int) else 0
        self.fallbacks += bool(made.get("fallback"))
        self.cached += bool(made.get("cached"))
        if "provider" in made and "model" in made:
            self.by_model[f"{made['provider']}: {made['model']}"] += 1

    def count_outcome(self, task_type: str, outcome: str, error: str | None = None) -> None:
        """Count one acknowledged report."""
        self.by_type.setdefault(task_type, Counter())[outcome] += 1
        if outcome == "succeeded":
            self.succeeded += 1
        else:
            self.failed += 1
        if error is not None:
            self.by_error[error] += 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a claim: the report to send and what stays in the ledger."""

    body: bytes  # the report, JSON, byte for byte
    result: Mapping[str, Any] | None = None  # what stays of a success (model, provider, dimensions)
    usage: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None  # code, message and retryable of a failure


class Collected(BaseModel, frozen=True):
    """A batch, as the steps over it know it."""

    number: int = 0  # in the shift, from 1
    size: int = 0


class ShiftReport(BaseModel):
    """What a shift did, in how many seconds and ticks, and why it ended."""

    ended: str
    seconds: float
    ticks: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """Reports that the upstream has answered with something that is no acknowledgement."""

    count: int  # how many wait to be sent again
    since: datetime  # when the first of them was answered so
    answer: str  # what it looked like

    def __str__(self) -> str:
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        counted = agree(f"{self.count:,} [report is|reports are]", self.count)
        return f"{counted} not acknowledged, since {since}: {self.answer}"


@dataclass(frozen=True, slots=True)
class ClockAhead:
    """A clock that was found to be ahead of another one, at a moment by that other one."""

    owner: str  # the poller whose clock it was, as host, process and run; empty if not known
    ahead_s: float
    seen_at: datetime

    def __str__(self) -> str:
        at = f"{self.seen_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"clocks differ: that of {self.owner!r} was {self.ahead_s:.0f} s ahead, at {at}"


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Who holds leases that have not run out."""

    owner: str
    claims: int
    until_s: float  # when the last of them runs out unless it is renewed, Unix time


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """The status of the ledger."""

    is_paused: bool
    states: dict[str, int]  # rows by state
    held: int  # rows under a lease that has not run out
    expired: int  # rows whose lease has run out, for the next tick to take over
    waiting: int  # rows deferred after `processing`
    dead: dict[str, int]  # dead letters by code
    blocked_head: int = 0  # pending entries that must wait and hide what comes after them
    unacknowledged: Unacknowledged | None = None
    clock_ahead: ClockAhead | None = None  # what was found during the last day
    paused_lanes: tuple[str, ...] = ()
    paused_types: tuple[str, ...] = ()
    holders: tuple[LeaseHolder, ...] = ()  # those with most leases first
    waiting_until_s: float | None = None  # when the first of `waiting` goes on, Unix time
