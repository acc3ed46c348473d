"""Documents as processors see them: a head, then pages of text (SPEC §3)."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from aletheia.analysis.file_types import FileType
from aletheia.analysis.files import FetchedFile

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
            ComputeFailed: `decoder_died`, `too_slow`; another attempt may help.
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
