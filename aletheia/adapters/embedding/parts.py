"""The parts that texts are sent in, and the answers they come together to."""

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.embedding.input_limits import InputLimit
from aletheia.adapters.http_answers import ABOUT_US
from aletheia.analysis.ports import Embedded, Embedding
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask
from aletheia.llm.prices import Tokens

Vector: TypeAlias = NDArray[np.float32]

TOO_LONG: Final = "input_too_long"

MISSING: Final = "no_vector"
"""Code for what an answer that has other vectors has in place of one."""

_BLANK: Final = re.compile(r"\s")

_INPUT: Final = (
    r"\b(inputs?|prompts?|texts?|tokens?|context|sequences?|content|requests?|batch|strings?"
    r"|payload|length|size|documents?)\b"
)
_SAYS_TOO_LONG: Final = re.compile(
    r"\b(context|input|sequence|prompt) (length|window|size)|maximum (input|prompt) tokens"
    r"|must have less than \d+ tokens|tokens per request|^\W*too (long|large)\b"
    rf"|{_INPUT}.{{0,80}}?\b(too (long|large|big|many tokens)|exceed(s|ed|ing)?|longer than)\b"
    rf"|\bexceed(s|ed|ing)?\b.{{0,80}}?{_INPUT}",
    re.IGNORECASE | re.DOTALL,
)
_SAYS_OTHER: Final = re.compile(
    r"max_(completion_)?tokens|deadline|time-?out|timed out|rate limit|per (second|minute|hour|day)"
    r"|quota|credit|billing|plan\b|monthly|memory|concurren|dimension",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Called:
    """What a request brought: a vector by position, or why there is none.

    Where that is a `MISSING` one the text is asked for once more, without the others.
    """

    vectors: tuple[Vector | ComputeFailed, ...]  # of `(d,)` float32
    used: Tokens  # as the provider counted them, or else our upper estimate


@dataclass(frozen=True, slots=True)
class Part:
    """What is sent of the different text `owner`: all of it, or a part of a long one."""

    owner: int
    text: str
    tokens: int  # an upper bound
    is_truncated: bool = False  # whether the end of the text is left out
    is_suspected: bool = False  # whether it was in a request that failed while others passed


class AnswerSheet:
    """What one `embed` of a model still sends, and its answers, as they come in part by part."""

    def __init__(self, model: str, texts: Sequence[str], limit: InputLimit) -> None:
        self.model, self.limit = model, limit
        self.queue = deque[list[Part]]()  # what is sent together, if the limit allows it
        places: dict[str, list[int]] = {}
        for index, text in enumerate(texts):
            places.setdefault(text, []).append(index)
        self.texts = list(places)  # the different ones, which parts name as their owners
        self._places = list(places.values())
        self._missing = [0] * len(places)
        self._found: list[list[tuple[Part, Vector, int]]] = [[] for _ in places]
        self._is_answered = [False] * len(places)
        self._answers: list[Embedded] = []
        self.refusals = 0  # of requests of several texts
        self.failure: AletheiaError | None = None  # why no further request is sent
        self.has_success = False

    def expect(self, owner: int, parts: int) -> None:
        """Wait for so many further parts of a text."""
        self._missing[owner] += parts

    def next_group(self) -> list[Part]:
        """Take the next parts to be sent together; none where nothing is left."""
        size = self.limit.size
        while self.queue:
            group = [part for part in self.queue.popleft() if not self._is_answered[part.owner]]
            if rest := group[size:]:
                self.queue.appendleft(rest)
            if group:
                return group[:size]
        return []

    def take(self, parts: Sequence[Part], called: Called) -> list[Part]:
        """Take in what a request for some parts brought; return those that lack a vector."""
        self.has_success = True
        missing: list[Part] = []
        tokens = share(called.used.input, [part.tokens for part in parts])
        for part, vector, count in zip(parts, called.vectors, tokens, strict=True):
            if isinstance(vector, ComputeFailed):
                if vector.code == MISSING:
                    missing.append(part)
                else:
                    self.answer(part.owner, vector)
                continue
            self._found[part.owner].append((part, vector, count))
            self._missing[part.owner] -= 1
            if not self._missing[part.owner]:
                self.answer(part.owner, _merge(self._found[part.owner]))
        return missing

    def take_answers(self) -> list[Embedded]:
        """Return the answers that came since the last time, one for each place of a text."""
        answers, self._answers = self._answers, []
        return answers

    def answer(self, owner: int, result: Embedding | AletheiaError) -> None:
        """Answer a text, unless it is answered."""
        if not self._is_answered[owner]:
            self._is_answered[owner] = True
            self._found[owner].clear()
            self._answers += [Embedded(index, result) for index in self._places[owner]]


def _merge(found: Sequence[tuple[Part, Vector, int]]) -> Embedding | ComputeFailed:
    """Make one embedding of the parts of a text: the mean, weighted by length, scaled to 1."""
    tokens = sum(count for _, _, count in found)
    is_truncated = any(part.is_truncated for part, _, _ in found)
    if len(found) == 1:
        return Embedding(found[0][1], tokens, is_truncated)
    vectors = np.stack([vector for _, vector, _ in found]).astype(np.float64)
    mean = np.average(vectors, axis=0, weights=[len(part.text) for part, _, _ in found])
    norm = np.linalg.norm(mean)
    if not norm > 0:
        return ComputeFailed("bad_vector", "the windows' vectors cancel each other out")
    return Embedding((mean / norm).astype(np.float32), tokens, is_truncated)


def share(total: int, weights: Sequence[int]) -> list[int]:
    """Divide a whole number in proportion to weights, all 0 being equal; the parts add up to it."""
    if not sum(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    ends = [(2 * total * end + whole) // (2 * whole) for end in accumulate(weights)]  # rounded
    return [end - begin for begin, end in pairwise([0, *ends])]


def halve(text: str) -> tuple[str, str] | None:
    """Cut a text in two near its middle, at a blank if one is near; `None` for one character."""
    text = text.strip()
    middle = len(text) // 2
    if not middle:
        return None
    blank = _BLANK.search(text, middle, middle + max(1, len(text) // 4))
    cut = blank.start() if blank else middle
    return text[:cut], text[cut:]


def read_vector(numbers: object) -> Vector:
    """Read a vector from a JSON list of numbers, or raise `ValueError`; `null` is NaN."""
    if not isinstance(numbers, list):
        raise ValueError("a vector that is not a list")  # noqa: TRY004 - readers raise ValueError
    try:
        read: NDArray[Any] = np.array(cast("list[object]", numbers))
        if read.ndim == 1 and read.dtype.kind in "iufO":
            with np.errstate(over="ignore"):
                return read.astype(np.float32)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("a vector that is not a list of numbers")


def read_each(
    entries: Sequence[object], read: Callable[[object], Vector] = read_vector
) -> list[Vector | ComputeFailed]:
    """Read vectors, `MISSING` for each that cannot be; `ValueError` where that is so of all."""
    found: list[Vector | ComputeFailed] = []
    for entry in entries:
        try:
            found.append(read(entry))
        except ValueError as error:
            found.append(ComputeFailed(MISSING, str(error)))
    faults = [str(vector) for vector in found if isinstance(vector, ComputeFailed)]
    if faults and len(faults) == len(found):
        raise ValueError(faults[0])
    return found


def says_too_long(status: int, message: str) -> bool:
    """Check whether an error, whatever its status, says that a text or request is too long."""
    if status in ABOUT_US or _SAYS_OTHER.search(message):
        return False
    return _SAYS_TOO_LONG.search(message) is not None


def find_fault(text: str, *, max_bytes: int) -> InvalidTask | None:
    """Return why no provider can embed a text, as far as that is seen without tokenising it."""
    if not text.strip():
        return InvalidTask("empty_text", "the text is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return InvalidTask("invalid_text", "the text has lone surrogates, which are not Unicode")
    if size > max_bytes:
        return InvalidTask(TOO_LONG, f"the text has {size:,} bytes, more than {max_bytes:,}")
    return None


def check_vectors(
    vectors: Sequence[Vector], dimensions: int, provider: str
) -> tuple[Vector | ComputeFailed, ...]:
    """Return vectors that are finite, not zero and of one length; errors in place of others."""
    if vectors and all(len(vector) == dimensions for vector in vectors):
        stacked = np.stack(vectors)
        if np.isfinite(stacked).all() and stacked.any(axis=1).all():
            return tuple(vectors)
    faults = [_describe_fault(vector, dimensions) for vector in vectors]
    return tuple(
        ComputeFailed("bad_vector", f"{provider} gave a vector of {fault}") if fault else vector
        for vector, fault in zip(vectors, faults, strict=True)
    )


def _describe_fault(vector: Vector, dimensions: int) -> str:
    if len(vector) != dimensions:
        return f"{len(vector)} dimensions in place of {dimensions}"
    if not np.isfinite(vector).all():
        return "numbers that are not finite"
    return "" if vector.any() else "length 0"
