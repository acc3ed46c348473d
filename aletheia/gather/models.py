"""What a gather run is about: departments, and the items they are filled with."""

from collections.abc import Sequence
from dataclasses import dataclass

from aletheia.items.models import Item
from aletheia.llm.faults import Fault
from aletheia.llm.quoting import Excerpt


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What a prompt may tell a model about what is there already; each most important first.

    Attributes:
        existing: items of the department.
        gaps: what the Brain misses in it.
        brain: what else the Brain knows.
        earlier: what earlier departments came to.
    """

    existing: Sequence[Excerpt] = ()
    gaps: Sequence[Excerpt] = ()
    brain: Sequence[Excerpt] = ()
    earlier: Sequence[Excerpt] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """What one iteration's generation brought.

    Attributes:
        items: valid items, none of them twice; fewer than asked for where the model gave no more.
        faults: what was wrong with the answers, in the order it was found.
        model: what ran last, in the provider's words; the model asked for if none answered.
        asked: the model asked for last.
        provider: who ran it.
        is_mock: whether the items were made up.
        is_fallback: whether the department's own model does not exist and the default ran.
        rounds: answers that were read, 1 to 3.
        tokens_in: tokens read by the models over all rounds.
        tokens_out: tokens written.
        angle: the point of view that was asked for.
        sources: what the prompt quoted.
    """

    items: tuple[Item, ...]
    faults: tuple[Fault, ...]
    model: str
    asked: str
    provider: str
    is_mock: bool
    is_fallback: bool
    rounds: int
    tokens_in: int
    tokens_out: int
    angle: str
    sources: tuple[str, ...]

    @property
    def failure(self) -> Fault | None:
        """Why there are no items; `None` if there are some."""
        return None if self.items else self.faults[-1]
