"""What model processes work on: models, calls, and the requests made of both."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from aletheia.adapters.local.memory import Place
from aletheia.adapters.local.source import Found, ModelFiles
from aletheia.analysis.model_manager import QuantisationLoss
from aletheia.analysis.ports import Embedded, Embedding
from aletheia.errors import AletheiaError, ComputeFailed

MAX_BATCH_CHARACTERS: Final = 65_536
"""Characters of a batch; long texts must not exceed the time limit of a batch."""

MAX_GROUP: Final = 128
GROUP_WAIT_S: Final = 0.5
"""Answers passed on together, or those that come within that time, seconds: whoever saves them
needs one or two transactions for a group, whatever its size."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to embed."""

    files: ModelFiles
    dimensions: int
    kernels: tuple[str, ...]  # those of `unpadded` and `packed` that are in use
    load_s: float  # in the first process, without the import of libraries
    device: str = "cpu"  # in PyTorch's words
    loss: QuantisationLoss | None = None  # where it is quantised


@dataclass(slots=True, eq=False)
class ModelState:
    """What is known about a model."""

    name: str
    files: ModelFiles | None = None  # once found
    weights_bytes: int = 0  # on disk, once found
    memory_bytes: int = 0  # the most that a process grew with it
    is_leaving: bool = False  # whether processes have to unload it
    search: "asyncio.Future[Found] | None" = None  # the one under way
    loaded: LoadedModel | None = None
    ready: set[int] = field(default_factory=set[int])  # slots whose processes have it
    loading: set[int] = field(default_factory=set[int])  # slots that were asked to load it
    unloading: set[int] = field(default_factory=set[int])
    failures: dict[int, str] = field(default_factory=dict[int, str])  # by slot


class Job:
    """A call of `embed`, or of `load`: that one has no texts."""

    def __init__(self, model: ModelState, texts: Sequence[str]) -> None:
        indices: dict[str, list[int]] = {}
        for index, text in enumerate(texts):
            indices.setdefault(text, []).append(index)
        self.model = model
        self.texts = sorted(indices, key=len, reverse=True)  # rows are indices into it
        self.answers: asyncio.Queue[Sequence[Embedded] | AletheiaError] = asyncio.Queue()
        self.unanswered = len(texts)  # equal ones counted
        self.again: deque[list[int]] = deque()  # batches that a process did not finish
        self.is_over = False  # whether nobody wants the answers any more
        self.place: Place | None = None  # in memory, of the model
        self._indices = [indices[text] for text in self.texts]
        self._next = 0
        self._crashes: dict[int, int] = {}
        self._ending: AletheiaError | None = None

    @property
    def left(self) -> int:
        """Number of its texts that no process has been given yet."""
        return len(self.texts) - self._next

    def take(self, max_texts: int) -> list[int]:
        """Take the rows of the next batch, longest texts first; empty if none is left."""
        if self.again:
            return self.again.popleft()
        wanted = min(self.left, max_texts)
        rows: list[int] = []
        characters = 0
        while len(rows) < wanted:
            characters += len(self.texts[self._next])
            if rows and characters > MAX_BATCH_CHARACTERS:
                break
            rows.append(self._next)
            self._next += 1
        return rows

    async def next_answers(self) -> list[Embedded]:
        """Wait for answers, and those that come soon after, or raise why the call ends."""
        group: list[Embedded] = []
        until: float | None = None
        while self._ending is None and len(group) < min(MAX_GROUP, self.unanswered):
            try:
                async with asyncio.timeout_at(until):
                    answers = await self.answers.get()
            except TimeoutError:
                break
            if isinstance(answers, AletheiaError):
                self._ending = answers
            else:
                group += answers
                until = until or asyncio.get_running_loop().time() + GROUP_WAIT_S
        if self._ending is not None and not group:
            raise self._ending
        return group

    def answer(self, results: Iterable[tuple[int, Embedding | AletheiaError]]) -> None:
        """Pass on the results of rows."""
        if not self.is_over:
            self.answers.put_nowait(
                [Embedded(index, result) for row, result in results for index in self._indices[row]]
            )

    def blame(self, rows: list[int], max_retries: int, reason: str) -> None:
        """Record that a process died over rows; each is then tried alone, `max_retries` times."""
        for row in rows:
            crashes = self._crashes[row] = self._crashes.get(row, 0) + 1
            if len(rows) > 1 or crashes <= max_retries:
                self.again.append([row])
                continue
            message = f"the model's process failed {crashes} times over this text: {reason}"
            self.answer([(row, ComputeFailed("model_crashed", message))])


@dataclass(frozen=True, slots=True)
class Load:
    """A request to load a model."""

    model: ModelState
    files: ModelFiles


@dataclass(frozen=True, slots=True)
class Unload:
    """A request to unload a model."""

    model: ModelState


@dataclass(frozen=True, slots=True)
class Batch:
    """A request to embed some rows of a job."""

    job: Job
    rows: list[int]


Request: TypeAlias = Load | Unload | Batch
