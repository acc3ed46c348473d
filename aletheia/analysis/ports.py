"""What the processors need from outside."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.errors import AletheiaError

LongText: TypeAlias = Literal["truncate", "chunk", "fail"]
"""What happens to a text longer than the model reads (SPEC §2, Long texts)."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """The vector of one text, `(d,)` float32, finite, not zero, and the tokens the model read."""

    vector: NDArray[np.float32]
    tokens: int
    is_truncated: bool = False  # whether the end of the text was left out, as the model reads less
    model: str | None = None  # what made it; `None` is the model that was asked for
    provider: str | None = None  # who made it; `None` is the embedder's own
    is_fallback: bool = False  # whether that is not who was asked first
    is_cached: bool = False  # whether it had been made before, and so used no tokens now


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of the text at `index` of a call: its embedding, or why there is none."""

    index: int
    result: Embedding | AletheiaError


class Embedder(Protocol):
    """Turns texts into vectors with one kind of provider."""

    provider: str  # `local`, `mock`, `openai` or `ollama`; of `hybrid` each embedding says it
    is_mock: bool  # whether its vectors mean nothing

    def canonical_model(self, model: str | None) -> str:
        """Name the model for a task's name, `None` being the default, or raise `InvalidTask`."""
        ...

    async def capacity(self, model: str, texts: Sequence[str]) -> int:
        """Return how many of some texts, from the first, may be embedded now; promise nothing.

        `Deferred` if none of them, with why and until when; `Misconfigured` as things are set.
        """
        ...

    def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """Embed texts, each answered once, in groups as they are done, in any order.

        Faults of a text (`input_too_long`, `bad_vector`, `model_crashed`) are answers, not
        exceptions. Texts not answered before an exception were not embedded: `ModelUnavailable` if
        the model cannot be loaded, `InvalidTask` if it exists nowhere or embeds no texts,
        `Unavailable` and `Refused` of the provider, `Deferred` by our own limits, budgets or
        breakers.
        """
        ...


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that a task names, as a local one."""

    path: Path  # to be read only, and gone at the end of the context that has it
    media_type: str  # by its content, such as `audio/wav`
    size_bytes: int
    content_hash: str  # SHA-256 of its bytes, hexadecimal


class Fetcher(Protocol):
    """Fetches the files that tasks name: an https URL, a `data:` URI, a path below a directory."""

    def check(self, address: str) -> None:
        """Check an address as far as that is possible without work, or raise `InvalidTask`."""
        ...

    def fetch(
        self, address: str, *, max_bytes: int | None = None
    ) -> AbstractAsyncContextManager[FetchedFile]:
        """Fetch a file for a while; it has at most `max_bytes`, or what is set.

        `InvalidTask` if it may not be fetched or is too large, `Unavailable` if it cannot be now.
        """
        ...
