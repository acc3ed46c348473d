"""The text of a document, collected page by page, so that what was read is not read again."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol, cast

from aletheia.analysis.file_types import FileType
from aletheia.analysis.ports import DocumentHead, DocumentReader, FetchedFile, Page, PageRecogniser
from aletheia.analysis.time_limits import find_share_left
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask
from aletheia.store.clock import SYSTEM_CLOCK

log = logging.getLogger(__name__)

SAVE_EVERY_S: Final = 10.0
"""How often the pages read so far are saved, seconds."""

MIN_TIME_LEFT: Final = 0.3
"""Share of the time limit from which no further page is recognised: what follows needs some, and
a page takes up to a minute."""

_BETWEEN: Final = "\n\n"
_MIN_SCANNED: Final = 0.5
"""Share of scanned pages from which a document counts as scanned."""


class PageCache(Protocol):
    """Saves JSON values for a while, by what they were made from."""

    async def get(self, *made_from: object) -> Any | None:
        """Return what was saved for this, or `None`."""
        ...

    async def put(self, value: Any, *made_from: object) -> None:
        """Save a value."""
        ...


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document that was read: `text` is that of its pages, with an empty line between them."""

    head: DocumentHead
    pages: tuple[Page, ...]
    text: str
    starts: tuple[int, ...]  # where each page begins in the text, in characters

    @property
    def is_scanned(self) -> bool:
        """Whether at least half of its pages are pictures of text."""
        scanned = sum(page.is_scanned for page in self.pages)
        return bool(self.pages) and scanned >= _MIN_SCANNED * len(self.pages)

    @property
    def is_cut(self) -> bool:
        """Whether some of its text was left out, as it is longer than what is read."""
        count = self.head.page_count
        is_short = count is not None and len(self.pages) < count
        return is_short or any(page.is_cut for page in self.pages)

    @property
    def lost_pages(self) -> dict[int, str]:
        """The numbers of pages that could not be read, each with the code of its error."""
        return {page.number: page.fault for page in self.pages if page.fault}

    def page_at(self, place: int) -> int:
        """Return the number of the page that a place in the text is on."""
        return self.pages[max(0, bisect_right(self.starts, place) - 1)].number


class DocumentCollector:
    """Reads whole documents; pages are saved in `cache`, so that another attempt goes on there."""

    def __init__(
        self,
        reader: DocumentReader,
        *,
        recogniser: PageRecogniser | None = None,
        cache: PageCache | None = None,
        steady_s: Callable[[], float] = SYSTEM_CLOCK.steady_s,
    ) -> None:
        self._reader, self.recogniser = reader, recogniser
        self._cache, self._steady_s = cache, steady_s

    async def collect(self, file: FetchedFile, type_: FileType) -> DocumentText:
        """Read a document, with the text of scanned pages where that can be recognised.

        Raises:
            InvalidTask: see `DocumentReader.read`.
            ComputeFailed: the same; what had been read is saved.
        """
        found: list[DocumentHead | Page] = await self._find_saved(file, type_)
        saved_at = self._steady_s()
        first_page = _next_page(found)
        try:
            async with aclosing(self._reader.read(file, type_, first_page=first_page)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Page) or not found:
                        found.append(piece)
                    if self._steady_s() - saved_at >= SAVE_EVERY_S:
                        await self._save(file, type_, found)
                        saved_at = self._steady_s()
        except AletheiaError:
            await self._save(file, type_, found)
            raise
        head, pages = _split(found)
        return _join(head, await self._recognise(file, pages))

    async def _recognise(self, file: FetchedFile, pages: Sequence[Page]) -> tuple[Page, ...]:
        """Return the pages, with the text that was recognised on scanned ones.

        What fails there, or has no time left, leaves a page as it is: the document itself was read.
        """
        scanned = [page.number for page in pages if page.is_scanned]
        if self.recogniser is None or not scanned or find_share_left() < MIN_TIME_LEFT:
            return tuple(pages)
        recognised: dict[int, Page] = {}
        try:
            async with aclosing(self.recogniser.recognise(file, scanned)) as results:
                async for page in results:
                    recognised[page.number] = page
                    if find_share_left() < MIN_TIME_LEFT:
                        said = "no time left: %d of %d pages recognised"
                        log.warning(said, len(recognised), len(scanned))
                        break
        except (ComputeFailed, InvalidTask) as error:
            log.warning("%d of %d pages recognised: %s", len(recognised), len(scanned), error)
        return tuple(
            replace(page, text=better.text, is_recognised=True)
            if (better := recognised.get(page.number))
            else page
            for page in pages
        )

    async def _find_saved(self, file: FetchedFile, type_: FileType) -> list[DocumentHead | Page]:
        if self._cache is None:
            return []
        saved: Any = await self._cache.get(*_key(file, type_))
        return [] if saved is None else _load(cast("Mapping[str, Any]", saved))

    async def _save(
        self, file: FetchedFile, type_: FileType, found: Sequence[DocumentHead | Page]
    ) -> None:
        if self._cache is not None and len(found) > 1:
            head, pages = _split(found)
            value = {"head": asdict(head), "pages": [asdict(page) for page in pages]}
            await self._cache.put(value, *_key(file, type_))


def _key(file: FetchedFile, type_: FileType) -> tuple[str, str, str]:
    return ("pages", file.content_hash, type_)


def _load(saved: Mapping[str, Any]) -> list[DocumentHead | Page]:
    return [DocumentHead(**saved["head"]), *(Page(**page) for page in saved["pages"])]


def _next_page(found: Sequence[DocumentHead | Page]) -> int:
    last = found[-1] if found else None
    return last.number + 1 if isinstance(last, Page) else 1


def _split(found: Sequence[DocumentHead | Page]) -> tuple[DocumentHead, list[Page]]:
    head = found[0] if found else None
    if not isinstance(head, DocumentHead):
        raise ComputeFailed("decoder_error", "the document was read without a head")
    return head, [piece for piece in found if isinstance(piece, Page)]


def _join(head: DocumentHead, pages: tuple[Page, ...]) -> DocumentText:
    starts: list[int] = []
    at = 0
    for page in pages:
        starts.append(at)
        at += len(page.text) + len(_BETWEEN)
    return DocumentText(head, pages, _BETWEEN.join(page.text for page in pages), tuple(starts))
