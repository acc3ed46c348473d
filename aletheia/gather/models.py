"""A gather run, and the batches of items that its iterations generate."""

from collections.abc import Sequence
from dataclasses import dataclass

from aletheia.gather.progress import GatherReport, RunProgress
from aletheia.items.models import Item
from aletheia.llm.messages import Fault


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a run is started with."""

    run_id: str
    project_id: str  # `[A-Za-z0-9_-]{1,48}`
    user_id: str
    max_iterations: int = 50  # of the whole run, 0 to `MAX_ITERATIONS`


@dataclass(frozen=True, slots=True)
class Run:
    """An attempt at a run."""

    id: str
    project_id: str
    user_id: str
    token: int
    progress: RunProgress
    attempt: int  # from 1
    began_at: float  # when this attempt began, or the run was read, Unix time
    worked_before_s: float  # how long it had been at work by then, seconds
    is_cancel_requested: bool = False
    report: GatherReport | None = None  # its result, once it is closed
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What a prompt may quote; each list most important first."""

    existing: Sequence[str] = ()
    gaps: Sequence[str] = ()
    brain: Sequence[str] = ()
    earlier: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of one iteration's generation."""

    items: tuple[Item, ...]  # valid items, none of them twice; may be fewer than asked for
    faults: tuple[Fault, ...]  # what was wrong with the answers, in the order it was found
    model: str  # the model that ran last, by the provider's name; else the one asked for
    is_mock: bool
    rounds: int  # answers that were read, 0 to 3

    @property
    def failure(self) -> Fault | None:
        """Why there are no items; `None` if there are some."""
        return None if self.items else self.faults[-1]
