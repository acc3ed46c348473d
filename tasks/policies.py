"""How tasks behave towards Prefect: none caches or keeps its result."""

from dataclasses import dataclass
from typing import TypedDict

from prefect.cache_policies import NO_CACHE, CachePolicy

from aletheia.errors import AletheiaError


@dataclass(eq=False)
class PartsFailed(AletheiaError):
    """Some parts of a run failed; the others were done. Each failure names its part."""

    failures: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.failures)


class TaskPolicy(TypedDict):
    """The options of `@task` that are ours to set."""

    retries: int
    cache_policy: CachePolicy
    persist_result: bool
    log_prints: bool


STEP: TaskPolicy = {
    "retries": 0,  # a step retries its own calls, one by one, and leaves the rest to the ledger
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "log_prints": False,
}
"""One step over a batch."""
