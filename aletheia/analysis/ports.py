"""What the processors need from outside."""

import os
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.analysis.file_types import ANY_TYPE, MEDIA_TYPES, FileType
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
    """A file that is here: open, whole, and of a type that was asked for.

    It has no name in the file system, so that nothing of it stays, however this process ends.
    """

    descriptor: int  # open for reading; closed when the context of `Fetcher.fetch` is left
    size_bytes: int
    content_hash: str  # SHA-256 of its content, 64 hexadecimal digits
    type: FileType  # by its content
    shown: str  # where it is from, for errors and logs: without anything secret

    @property
    def path(self) -> Path:
        """A path by which this process, and on Linux others of its user, can open it."""
        by_pid = Path(f"/proc/{os.getpid()}/fd/{self.descriptor}")
        return by_pid if Path("/proc/self/fd").exists() else Path(f"/dev/fd/{self.descriptor}")

    @property
    def media_type(self) -> str:
        """Its type as HTTP names it, such as `audio/wav`."""
        return MEDIA_TYPES.get(self.type, "application/octet-stream")


class Fetcher(Protocol):
    """Fetches the files that tasks name, from addresses that nobody is trusted with."""

    def check(self, address: str) -> None:
        """Check an address as far as that is possible without work; `InvalidTask` as of `fetch`."""
        ...

    def fetch(
        self,
        address: str,
        *,
        types: Collection[FileType] = ANY_TYPE,
        max_bytes: int | None = None,
    ) -> AbstractAsyncContextManager[FetchedFile]:
        """Fetch the file at an https URL, in a `data:` URI, or at a path below `FILES_DIR`.

        It has at most `max_bytes`, or what is set where that is less. It is gone when the context
        is left.

        Raises:
            InvalidTask: `invalid_file` (the address cannot be used), `forbidden_address` (it is not
                public, or a path leaves the directory), `file_not_found`, `file_refused` (by its
                server), `too_large`, `decompression_bomb`, `empty_file`, `wrong_type`.
            ComputeFailed: `file_unavailable`, `file_too_slow`; another attempt may help. Not
                `Unavailable`: whoever names a server that is down for ever has no task that waits
                for ever.
        """
        ...


DocumentType: TypeAlias = Literal["pdf", "docx", "html", "markdown", "text"]


@dataclass(frozen=True, slots=True)
class DocumentHead:
    """What a document says of itself, before its pages."""

    type: DocumentType
    page_count: int | None  # `None` where there are no pages, only parts
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])  # not empty, cleaned


@dataclass(frozen=True, slots=True)
class Page:
    """A page, or a part of a document without pages, from 1 on."""

    number: int
    text: str
    is_scanned: bool = False  # a picture covers it, and there is hardly any text
    is_recognised: bool = False  # whether the text was recognised in its picture
    is_cut: bool = False  # whether the end of its text was left out
    fault: str = ""  # code of the error that its text was lost by; `text` is what was read


class DocumentReader(Protocol):
    """Reads documents in a process of its own, page by page."""

    def read(
        self, file: FetchedFile, type_: FileType, *, first_page: int = 1
    ) -> AsyncGenerator[DocumentHead | Page]:
        """Yield the head of a document, then its pages from `first_page` on, in order.

        A page that its decoder dies of, or hangs at, is yielded with its fault, and the others are
        read all the same. What was yielded before an error is whole.

        Raises:
            InvalidTask: `encrypted`, `unreadable_document`, `too_large`, `decompression_bomb`,
                `wrong_type`.
            ComputeFailed: `decoder_died`, `decoder_unavailable`, `too_slow`; another attempt may
                help.
        """
        ...


class PageRecogniser(Protocol):
    """Recognises text in the pictures of pages (OCR)."""

    def recognise(self, file: FetchedFile, numbers: Sequence[int]) -> AsyncGenerator[Page]:
        """Yield pages of a PDF with the text that stands in their pictures, as they are done.

        Raises:
            InvalidTask: `no_ocr` where it is not installed, and as `DocumentReader.read`.
            ComputeFailed: as `DocumentReader.read`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Translated:
    """A text in another language, and what translated it."""

    text: str
    provider: str
    model: str
    confidence: float | None = None  # mean probability of its tokens, where the engine gives one


class Translator(Protocol):
    """Translates between the languages that engines on this machine know, ISO 639-1 codes."""

    def sources_of(self, target: str) -> frozenset[str]:
        """Return the languages that can be translated into one; perhaps none."""
        ...

    async def translate(self, text: str, source: str, target: str) -> Translated:
        """Translate a text, sentence by sentence; what is no sentence stays as it is.

        Raises:
            InvalidTask: `no_engine_for_pair`, `input_too_long`, `too_large`.
            ComputeFailed: `decoder_died`, `too_slow`, `engine_failed`; another attempt may help.
        """
        ...
