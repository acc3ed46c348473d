"""Reads documents in child processes, and goes on behind a page that a child dies of."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, cast

from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import Children, Job
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.file_types import DOCUMENT_TYPES, FileType
from aletheia.analysis.ports import DocumentHead, DocumentType, FetchedFile, Page
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask

log = logging.getLogger(__name__)

MAX_LOST_PAGES: Final = 3
"""Pages of a document that a child may die of, before the document is given up."""

MAX_PAGE_S: Final = 30.0
"""Time for which a page is waited for, seconds; a page of 1 MB of drawing takes one."""

DECODERS: Final[Mapping[DocumentType, str]] = {
    "pdf": "aletheia.adapters.decoding.pdf:read_pdf",
    "docx": "aletheia.adapters.decoding.docx:read_docx",
    "html": "aletheia.adapters.decoding.html:read_html",
    "markdown": "aletheia.adapters.decoding.markdown:read_markdown",
    "text": "aletheia.adapters.decoding.plain:read_plain",
}
"""What reads each type in a child."""

_SKIPPED_CODES: Final = frozenset({"decoder_died", "too_slow", "decoder_error"})
"""Errors that may be those of a single page."""

_BYTES_PER_CHAR: Final = 8
_SPARE_BYTES: Final = 64_000_000


@dataclass(slots=True)
class _Progress:
    """How far the reading of one document is."""

    next_page: int
    chars: int = 0
    page_count: int | None = None
    has_head: bool = False
    lost: int = 0
    is_careful: bool = False  # whether each page is here before the next one is begun
    has_advanced: bool = False  # whether the last child read a page


class ChildReader:
    """A `DocumentReader` over children, which it does not close."""

    def __init__(self, children: Children, settings: DecoderSettings, *, wall_s: float) -> None:
        self._children, self._settings = children, settings
        self._limits = JobLimits(
            processor_s=settings.decoder_processor_seconds,
            wall_s=wall_s,
            piece_s=MAX_PAGE_S,
            result_bytes=_BYTES_PER_CHAR * settings.max_document_chars + _SPARE_BYTES,
        )

    async def read(
        self, file: FetchedFile, type_: FileType, *, first_page: int = 1
    ) -> AsyncGenerator[DocumentHead | Page]:
        """See `aletheia.analysis.ports.DocumentReader.read`."""
        if type_ not in DOCUMENT_TYPES:
            raise InvalidTask("wrong_type", f"{file.shown} is {type_}, which is no document")
        document_type = cast("DocumentType", type_)
        progress = _Progress(first_page)
        while True:
            try:
                async with aclosing(self._read_once(file, document_type, progress)) as pieces:
                    async for piece in pieces:
                        yield piece
            except ComputeFailed as error:
                _check_page(progress, error)
                # A child that read some pages may have used up its time with them.
                if progress.is_careful and not progress.has_advanced:
                    yield _lose_page(progress, error)
                progress.is_careful = True
            else:
                return
            if progress.page_count is not None and progress.next_page > progress.page_count:
                return

    async def _read_once(
        self, file: FetchedFile, type_: DocumentType, progress: _Progress
    ) -> AsyncGenerator[DocumentHead | Page]:
        """Read from the next page on, until the end or an error."""
        progress.has_advanced = False
        arguments: dict[str, Any] = {
            "first_page": progress.next_page,
            "max_chars": self._settings.max_document_chars - progress.chars,
        }
        if type_ == "pdf":
            arguments["max_pages"] = self._settings.max_document_pages
        job = Job(
            *(DECODERS[type_], self._limits, arguments, (file.descriptor,)),
            is_careful=progress.is_careful,
        )
        async with aclosing(self._children.run(job)) as pieces:
            async for piece in pieces:
                if piece["kind"] == "page":
                    page = read_page(piece)
                    progress.next_page, progress.has_advanced = page.number + 1, True
                    progress.chars += len(page.text)
                    yield page
                elif not progress.has_head:
                    progress.has_head, progress.page_count = True, piece["page_count"]
                    yield DocumentHead(type_, piece["page_count"], piece["metadata"])


def _check_page(progress: _Progress, error: AletheiaError) -> None:
    """Raise an error unless it may be that of a page, without which the others can be read.

    Parts of what has no pages cannot be left out: what makes the next one is what failed.
    """
    is_of_page = error.code in _SKIPPED_CODES and progress.page_count is not None
    if not is_of_page or not progress.has_head or progress.lost >= MAX_LOST_PAGES:
        raise error


def _lose_page(progress: _Progress, error: AletheiaError) -> Page:
    """Return the page that a child died of, and go on behind it."""
    page = Page(progress.next_page, "", fault=error.code)
    log.warning("page %d of a document is lost: %s", page.number, error)
    progress.lost += 1
    progress.next_page += 1
    return page


def read_page(piece: Mapping[str, Any]) -> Page:
    """Read a page as a decoder yields it."""
    return Page(
        number=int(piece["number"]),
        text=str(piece["text"]),
        is_scanned=bool(piece.get("is_scanned")),
        is_cut=bool(piece.get("is_cut")),
        fault=str(piece.get("fault", "")),
    )
