"""How many texts a server takes in one request, as far as its refusals show it.

A refusal may be due to one of its texts instead, so it stands with them and falls with any of them.
Between the most texts that passed and the fewest that were refused the limit is searched, first
among numbers that people choose, then by halves, until an eighth more is not worth another refusal.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aletheia.documents import Change, Documents, Update
from aletheia.errors import AletheiaError, WrongCount
from aletheia.store.clock import SYSTEM_CLOCK

log = logging.getLogger(__name__)

INPUT_LIMITS: Final = "aletheia_input_limits"

KEPT_S: Final = 86_400.0
"""How long a limit is believed, seconds."""

COMMON_LIMITS: Final = (
    *(1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 48, 50, 64, 96, 100, 128, 200, 250, 256),
    *(500, 512, 1000, 1024, 2000),
)

_SAYS_NUMBER: Final = re.compile(
    r"(?:max\w*|at most|up to|limit\w*|allowed|no more than|less than|exceed\w*|<=?|>)"
    r"\D{0,40}?\b(\d{1,4})\b(?!\s*(?:tokens|char|bytes|kb|mb|s\b|sec|dim))",
    re.IGNORECASE,
)
_SAYS_INPUTS: Final = re.compile(
    r"\b(batch|inputs|texts|items|documents|elements|strings|array|list|entries|requests)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A request that was refused, and whether its size is one above a limit that was stated."""

    size: int
    texts: frozenset[str] = frozenset()
    is_stated: bool = False


class InputLimit:
    """What is known of one model's limit; more than `max_inputs` texts are never sent."""

    def __init__(self, max_inputs: int) -> None:
        self._max_inputs = max_inputs
        self._refusals: list[_Refusal] = []
        self._passed = 0
        self._proven = 0
        self._turn = asyncio.Lock()

    @property
    def known(self) -> tuple[int, int] | None:
        """The most texts that may pass, and the most that did; `None` where nothing shows one."""
        return (self._top, self._passed) if self._refusals and self._passed else None

    @property
    def size(self) -> int:
        """How many texts the next request may have."""
        top, passed = self._top, self._passed
        if not self._refusals or min(self._refusals, key=lambda known: known.size).is_stated:
            return top
        if common := [size for size in COMMON_LIMITS if passed < size <= top]:
            return common[len(common) // 2]
        return passed if top - passed <= passed // 8 else (passed + top + 1) // 2

    @asynccontextmanager
    async def turn(self, count: int) -> AsyncGenerator[None]:
        """Wait until some of so many texts may be sent: one request at a time explores."""
        if not self._explores(count):
            yield
            return
        async with self._turn:
            if self._explores(count):
                yield
                return
        yield

    def _explores(self, count: int) -> bool:
        return bool(self._refusals) and min(count, self.size) > self._passed

    def note_passed(self, count: int) -> None:
        """Note that a request of so many texts was answered."""
        self._proven = max(self._proven, count)
        self._passed = max(self._passed, count)
        self._refusals = [refusal for refusal in self._refusals if refusal.size > count]

    def note_refused(self, texts: Collection[str], error: AletheiaError) -> None:
        """Note that several texts were refused together; their number may be the reason."""
        count = len(texts)
        if count < 2 or count <= self._proven:  # noqa: PLR2004 - one text cannot be too many
            return
        if count <= self._passed:  # what an earlier process found does not apply any more
            self._passed = self._proven
        self._refusals.append(_Refusal(count, frozenset(texts)))
        stated = _read_limit(error, count)
        if stated is not None and stated >= self._proven:
            self._refusals.append(_Refusal(stated + 1, frozenset(texts), is_stated=True))

    def note_blamed(self, text: str) -> None:
        """Note that a text was refused alone: the number of texts was not the reason."""
        self._refusals = [refusal for refusal in self._refusals if text not in refusal.texts]

    def forget(self) -> None:
        """Note that everything is refused, whatever its size."""
        self._refusals.clear()

    def remember(self, top: int, passed: int) -> None:
        """Take over what another process found out."""
        self._passed = passed
        self._refusals = [_Refusal(top + 1, is_stated=passed >= top)]

    @property
    def _top(self) -> int:
        return min([self._max_inputs, *(refusal.size - 1 for refusal in self._refusals)])


class InputLimits:
    """The limits of a server's models, at most `max_inputs`, kept in `documents` for a day."""

    def __init__(
        self,
        max_inputs: int,
        documents: Documents | None = None,
        *,
        server: str = "",
        clock: Callable[[], float] = SYSTEM_CLOCK.unix_s,
    ) -> None:
        self._max_inputs, self._documents = max_inputs, documents
        self._server, self._clock = server, clock
        self._limits: dict[str, InputLimit] = {}
        self._saved: dict[str, tuple[int, int] | None] = {}

    async def of(self, model: str) -> InputLimit:
        """Return the limit of a model."""
        if model not in self._limits:
            found = await self._read(model)
            limit = self._limits.setdefault(model, InputLimit(self._max_inputs))
            if found is not None and found[0] < self._max_inputs and limit.known is None:
                limit.remember(*found)
            self._saved.setdefault(model, limit.known)
        return self._limits[model]

    async def save(self, model: str) -> None:
        """Write what has become known of a model's limit; a fault of the store costs only that."""
        known = self._limits[model].known
        if self._documents is None or known == self._saved[model]:
            return
        self._saved[model] = known
        id_ = f"{self._server} {model}"
        try:
            if known is None:
                await self._documents.delete(INPUT_LIMITS, {"_id": id_})
            else:
                values = {"top": known[0], "passed": known[1], "at": self._clock()}
                await self._documents.upsert(INPUT_LIMITS, [Update(id_, Change(set=values))])
                log.info("%s takes %d texts in a request for %r", self._server, known[1], model)
        except AletheiaError as error:
            log.warning("the limit of texts in a request could not be kept: %s", error)

    async def _read(self, model: str) -> tuple[int, int] | None:
        if self._documents is None:
            return None
        id_ = f"{self._server} {model}"
        try:
            found = (await self._documents.get(INPUT_LIMITS, [id_])).get(id_)
        except AletheiaError as error:
            log.warning("the limit of texts in a request cannot be read: %s", error)
            return None
        if found is None or abs(self._clock() - float(found["at"])) >= KEPT_S:
            return None
        return int(found["top"]), int(found["passed"])


def _read_limit(error: AletheiaError, count: int) -> int | None:
    """Read how many texts a server says it takes, or how many vectors it gives at once."""
    if isinstance(error, WrongCount):
        numbers = [error.given]
    elif _SAYS_INPUTS.search(said := str(error)):
        numbers = [int(number) for number in _SAYS_NUMBER.findall(said)]
    else:
        return None
    return min((number for number in numbers if 0 < number < count), default=None)
