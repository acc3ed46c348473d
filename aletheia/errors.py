"""What can go wrong, as a small tree.

Every error answers two questions: what do we report (`code`), and does it help to try again
(`retryable`)? Adapters translate every library error at the edge; everything inside catches
only these.

    AletheiaError
    ├── InvalidTask           the task itself is wrong; its code says how
    ├── Unavailable           an outside system cannot be reached or answers 5xx or 429
    │   ├── Unreachable       no connection came about; nothing was sent
    │   ├── BadAnswer         it answered, but not with what its protocol promises
    │   │   └── TooLong       with more than is read
    │   └── QuotaExhausted    what was paid for is used up; waiting alone does not help
    ├── Refused               an outside system refused (4xx), and will refuse again
    │   ├── Unauthorized      401 or 403, after a fresh token
    │   ├── NotFound          404
    │   └── Conflict          409
    ├── ModelUnavailable      a model cannot be had from any of its sources
    ├── ComputeFailed         computing a task failed; another attempt may help
    ├── Deferred                not now, by our own rules; nothing was sent
    │   ├── RateLimited       a provider is over one of its limits
    │   ├── BudgetExceeded    a budget has no room for the call
    │   ├── BreakerOpen       a dependency failed too often to be asked for a while
    │   └── LaneTaken         another run works in the bulk lane
    └── Misconfigured         a setting or a block is missing or makes no sense
"""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar


class AletheiaError(Exception):
    """Root of the tree."""

    code: str = "internal_error"
    retryable: ClassVar[bool] = False


class InvalidTask(AletheiaError):
    """A task that cannot be done as it stands.

    Args:
        code: stable, lower case with underscores, such as `unknown_type` or `empty_text`.
        message: one sentence for whoever sent the task.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return self.message


class Unavailable(AletheiaError):
    """An outside system is out of reach for now.

    Args:
        dependency: its name, such as `upstream` or `store`.
        reason: what was seen, without secrets.
        retry_after_s: seconds it asked us to wait, if it did.
        status: its HTTP status, if it gave one.
    """

    code = "unavailable"
    retryable = True

    def __init__(
        self,
        dependency: str,
        reason: str,
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(dependency, reason, retry_after_s, status)
        self.dependency, self.reason = dependency, reason
        self.retry_after_s, self.status = retry_after_s, status

    def __str__(self) -> str:
        return f"{self.dependency} is unavailable: {self.reason}"


class Unreachable(Unavailable):
    """No connection to an outside system came about, so nothing was sent."""


class BadAnswer(Unavailable):
    """An outside system answered with something its protocol does not promise."""

    code = "bad_answer"

    def __str__(self) -> str:
        return f"{self.dependency} gave a bad answer: {self.reason}"


class TooLong(BadAnswer):
    """An answer is longer than what is read; a smaller request may help."""


class QuotaExhausted(Unavailable):
    """A provider has nothing left that was paid for: its owner has to act."""

    code = "quota_exhausted"

    def __str__(self) -> str:
        return f"the quota at {self.dependency} is used up: {self.reason}"


class Refused(AletheiaError):
    """An outside system refused and will refuse again.

    Args:
        dependency: its name.
        status: the HTTP status.
        reason: the beginning of its answer, without secrets.
    """

    code = "refused"

    def __init__(self, dependency: str, status: int, reason: str = "") -> None:
        super().__init__(dependency, status, reason)
        self.dependency, self.status, self.reason = dependency, status, reason

    def __str__(self) -> str:
        said = f": {self.reason}" if self.reason else ""
        return f"{self.dependency} refused with {self.status}{said}"


class Unauthorized(Refused):
    """401 or 403, after a fresh token."""

    code = "unauthorized"


class NotFound(Refused):
    """404."""

    code = "not_found"


class Conflict(Refused):
    """409: what we ask for has been settled, elsewhere or by us.

    Args:
        dependency: its name.
        status: the HTTP status.
        reason: the beginning of its answer, without secrets.
        may_be_ours: an earlier try got no definite answer and may be what settled it.
    """

    code = "conflict"

    def __init__(
        self, dependency: str, status: int, reason: str = "", *, may_be_ours: bool = False
    ) -> None:
        super().__init__(dependency, status, reason)
        self.may_be_ours = may_be_ours


class ModelUnavailable(AletheiaError):
    """A model cannot be had from any of its sources.

    Args:
        model: its name.
        reason: where it was looked for and what was found there.
    """

    code = "model_unavailable"
    retryable = True

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model, self.reason = model, reason

    def __str__(self) -> str:
        return f"model {self.model!r} is unavailable: {self.reason}"


class ComputeFailed(AletheiaError):
    """Computing a task failed in a way another attempt may mend.

    Args:
        code: stable, such as `model_crashed` or `bad_vector`.
        message: what happened.
    """

    retryable = True

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return self.message


class Deferred(AletheiaError):
    """What is asked for is not allowed now; nothing was sent and nothing was charged.

    Attributes:
        until: when it may be asked for again, in UTC; `None` if waiting does not help this run.
    """

    code = "held_up"
    retryable = True
    until: datetime | None


class RateLimited(Deferred):
    """A provider is over one of its limits.

    Args:
        provider: its name.
        until: when a call of this weight is allowed, if no other one comes before it.
        tiers: the limits that are reached, such as `minute`.
    """

    code = "rate_limited"

    def __init__(self, provider: str, until: datetime, tiers: tuple[str, ...] = ()) -> None:
        super().__init__(provider, until, tiers)
        self.provider, self.until, self.tiers = provider, until, tiers

    def __str__(self) -> str:
        per = f" per {' and '.join(self.tiers)}" if self.tiers else ""
        return f"{self.provider!r} is over its limit{per} until {self.until}"


class BudgetExceeded(Deferred):
    """A budget has no room for a call.

    Args:
        budget: the setting, such as `BUDGET_USD_PER_DAY`.
        limit: its value, USD or tokens.
        spent: what is spent or reserved of it.
        asked: what the call may take at most.
        until: when the budget begins anew, in UTC; `None` for the budget of a run.
    """

    code = "budget_exceeded"

    def __init__(
        self,
        budget: str,
        limit: Decimal | int,
        spent: Decimal | int,
        asked: Decimal | int,
        until: datetime | None,
    ) -> None:
        super().__init__(budget, limit, spent, asked, until)
        self.budget, self.limit, self.spent, self.asked = budget, limit, spent, asked
        self.until = until

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


class BreakerOpen(Deferred):
    """A dependency failed too often to be asked for a while.

    Args:
        dependency: its name.
        until: when it may be tried again, in UTC.
    """

    code = "breaker_open"

    def __init__(self, dependency: str, until: datetime) -> None:
        super().__init__(dependency, until)
        self.dependency, self.until = dependency, until

    def __str__(self) -> str:
        return f"the breaker of {self.dependency!r} is open until {self.until}"


class LaneTaken(Deferred):
    """Another run works in the bulk lane.

    Args:
        until: when its lease ends unless it renews it, in UTC.
    """

    code = "lane_taken"

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until

    def __str__(self) -> str:
        return f"another run works in the bulk lane, until {self.until} at least"


class Misconfigured(AletheiaError):
    """A setting or a block is missing or makes no sense.

    Args:
        name: the setting or block.
        reason: what is wrong and what to do about it.
    """

    code = "misconfigured"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def retry_after_s(error: AletheiaError) -> float:
    """Return how long the outside system behind an error asked us to stay away, seconds, or 0."""
    return (error.retry_after_s or 0.0) if isinstance(error, Unavailable) else 0.0
