"""What a run of the bulk lane works with."""

from dataclasses import dataclass

from aletheia.documents import Documents
from aletheia.intake.bulk.ports import Batches
from aletheia.intake.ports import Processors, Upstream
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter
from aletheia.settings import IntakeSettings
from aletheia.store.clock import SYSTEM_CLOCK, Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneDeps:
    """What a run of the lane works with; `batches` records in `breakers` how its calls went.

    A run that was killed keeps others out for `lane_lease_s`. For `listed_after_s` after a
    submission without an answer its batch may yet turn up in the list.
    """

    upstream: Upstream
    documents: Documents
    processors: Processors
    batches: Batches
    spending: Spending
    prices: PriceTable
    limiter: RateLimiter
    breakers: CircuitBreaker
    settings: IntakeSettings
    run_id: str
    poll_s: float = 0
    lane_lease_s: float = 60
    listed_after_s: float = 60
    clock: Clock = SYSTEM_CLOCK
