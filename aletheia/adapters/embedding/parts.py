"""The parts that texts are sent in, and the answers they come together to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from aletheia.analysis.ports import Embedded, Embedding
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask
from aletheia.llm.prices import Tokens

Vector: TypeAlias = NDArray[np.float32]

TOO_LONG: Final = "input_too_long"

_BLANK: Final = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Called:
    """What a request brought.

    Attributes:
        vectors: by position, a `(d,)` float32 vector or why the answer has none that is usable.
        tokens: what the provider counted, or else our upper estimate.
        is_estimate: whether the provider counted nothing.
        model: what ran, in the provider's words.
    """

    vectors: tuple[Vector | ComputeFailed, ...]
    tokens: int
    is_estimate: bool
    model: str

    @property
    def used(self) -> Tokens:
        """The tokens, as all calls count them."""
        return Tokens(self.tokens)


@dataclass(frozen=True, slots=True)
class Part:
    """What is sent of a text: all of it, or a part of a long one.

    Attributes:
        owner: which of the different texts it belongs to.
        text: what is sent.
        tokens: how many tokens it has at most, if the provider takes it at all.
        is_truncated: whether the end of the text is left out, by us or by the provider.
    """

    owner: int
    text: str
    tokens: int
    is_truncated: bool = False


class AnswerSheet:
    """The answers of one `embed`, as they come in part by part.

    Attributes:
        texts: the different texts; their positions are what parts call owner.
        refusals: requests that were refused for a text in them.
        failure: why no further request is sent.
        has_success: whether a request was answered with vectors.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        places: dict[str, list[int]] = {}
        for index, text in enumerate(texts):
            places.setdefault(text, []).append(index)
        self.texts = list(places)
        self._places = list(places.values())
        self._missing = [0] * len(places)
        self._found: list[list[tuple[Part, Vector, int]]] = [[] for _ in places]
        self._is_answered = [False] * len(places)
        self._answers: list[Embedded] = []
        self.refusals = 0
        self.failure: AletheiaError | None = None
        self.has_success = False
        self._suspects: dict[int, AletheiaError] = {}

    def expect(self, owner: int, parts: int) -> None:
        """Wait for so many further parts of a text."""
        self._missing[owner] += parts

    def still_wanted(self, parts: Sequence[Part]) -> list[Part]:
        """Leave out the parts of texts that are answered."""
        return [part for part in parts if not self._is_answered[part.owner]]

    def fail(self, owner: int, fault: AletheiaError) -> None:
        """Answer a text with an error."""
        self._answer(owner, fault)

    def suspect(self, owner: int, refusal: AletheiaError) -> None:
        """Remember that a text was refused alone, for no stated fault of its own."""
        self._suspects[owner] = refusal

    def _judge_suspects(self) -> None:
        """Blame texts for their refusal if others passed, and else whatever is refused in all."""
        for owner, refusal in self._suspects.items():
            if self.has_success:
                self.fail(owner, InvalidTask("refused_input", str(refusal)))
            else:
                self.failure = self.failure or refusal
        self._suspects.clear()

    def take(self, parts: Sequence[Part], called: Called) -> None:
        """Take in what a request for some parts brought."""
        self.has_success = True
        tokens = share(called.tokens, [part.tokens for part in parts])
        for part, vector, count in zip(parts, called.vectors, tokens, strict=True):
            if isinstance(vector, ComputeFailed):
                self.fail(part.owner, vector)
                continue
            self._found[part.owner].append((part, vector, count))
            self._missing[part.owner] -= 1
            if not self._missing[part.owner]:
                self._answer(part.owner, _merge(self._found[part.owner]))

    def take_answers(self, *, is_last: bool) -> list[Embedded]:
        """Return the answers that came since the last time, one for each place of a text."""
        if is_last:
            self._judge_suspects()
        answers, self._answers = self._answers, []
        return answers

    def _answer(self, owner: int, result: Embedding | AletheiaError) -> None:
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
    """Divide a whole number in proportion to some weights; the parts add up to it again.

    Args:
        total: 0 or more.
        weights: 0 or more; all 0 counts as all equal.
    """
    if not sum(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    rest = [total * weight % whole for weight in weights]
    for index in sorted(range(len(weights)), key=rest.__getitem__, reverse=True)[
        : total - sum(shares)
    ]:
        shares[index] += 1
    return shares


def halve(text: str) -> tuple[str, str] | None:
    """Cut a text in two, at the first blank behind its middle if one is near.

    Returns:
        `None` for a text that is too short for it.
    """
    text = text.strip()
    middle = len(text) // 2
    if not middle:
        return None
    blank = _BLANK.search(text, middle, middle + max(1, len(text) // 4))
    cut = blank.start() if blank else middle
    return text[:cut], text[cut:]


def read_vector(numbers: object) -> Vector:
    """Read a vector from a JSON list of numbers; `null`, as some servers write NaN, is NaN.

    Raises:
        ValueError: it is something else.
    """
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
