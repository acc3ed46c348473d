"""A gather run, and the batches of items that its iterations generate."""

from collections.abc import Sequence
from dataclasses import dataclass

from aletheia.gather.progress import GatherReport, RunProgress
from aletheia.items.models import Item
from aletheia.llm.faults import Fault
from aletheia.llm.quoting import Excerpt


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a run is started with.

    `project_id`: `[A-Za-z0-9_-]{1,48}`. `max_iterations`: of the whole run, 0 to `MAX_ITERATIONS`.
    """

    run_id: str
    project_id: str
    user_id: str
    max_iterations: int = 50


@dataclass(frozen=True, slots=True)
class Run:
    """An attempt at a run.

    Attributes:
        attempt: from 1.
        began_at: when this attempt began, or the run was read, Unix time.
        worked_before_s: how long it had been at work by then, seconds.
        report: its result, once it is closed.
    """

    id: str
    project_id: str
    user_id: str
    token: int
    progress: RunProgress
    attempt: int
    began_at: float
    worked_before_s: float
    is_cancel_requested: bool = False
    report: GatherReport | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What a prompt may quote; each list most important first.

    `brain`: what else the Brain knows.
    """

    existing: Sequence[Excerpt] = ()
    gaps: Sequence[Excerpt] = ()
    brain: Sequence[Excerpt] = ()
    earlier: Sequence[Excerpt] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of one iteration's generation.

    Attributes:
        items: valid items, none of them twice; may be fewer than asked for.
        faults: what was wrong with the answers, in the order it was found.
        model: the model that ran last, by the provider's name; else the one asked for.
        rounds: answers that were read, 0 to 3.
    """

    items: tuple[Item, ...]
    faults: tuple[Fault, ...]
    model: str
    asked: str
    provider: str
    is_mock: bool
    rounds: int

    @property
    def failure(self) -> Fault | None:
        """Why there are no items; `None` if there are some."""
        return None if self.items else self.faults[-1]
