"""Reads PDFs by pdfium, page by page."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from importlib import import_module
from typing import Any, Final

from aletheia.adapters.decoding.pieces import Piece, clean, make_head, make_page, read_all
from aletheia.errors import InvalidTask

pdfium: Any = import_module("pypdfium2")  # which has no types
pdfium_c: Any = import_module("pypdfium2.raw")

MIN_PAGE_CHARS: Final = 20
"""A page with fewer characters, blanks not counted, has no text of its own: a number, a stamp."""

MIN_PICTURE_SHARE: Final = 0.4
"""Share of a page that pictures cover from which it is taken for a scanned one."""

MAX_PAGE_CHARS: Final = 1_000_000
MAX_PDF_BYTES: Final = 500_000_000

_NO_PDF: Final = b"no PDF"
_MAX_OBJECTS: Final = 500
_DATE: Final = re.compile(r"D?:?(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?")
_ERRORS: Final = {
    pdfium_c.FPDF_ERR_PASSWORD: (
        "encrypted",
        "the PDF is encrypted: it opens only with a password, which a task cannot have",
    ),
    pdfium_c.FPDF_ERR_SECURITY: (
        "encrypted",
        "the PDF is encrypted in a way that is not supported",
    ),
}


def read_pdf(
    files: Sequence[int], *, first_page: int, max_pages: int, max_chars: int
) -> Iterator[Piece]:
    """Yield the head of a PDF, then its pages from `first_page` on.

    Raises:
        InvalidTask: `encrypted`, `unreadable_document`, `too_large`.
    """
    with closing(open_pdf(files[0])) as document:
        page_count = len(document)
        if page_count > max_pages:
            reason = f"the PDF says it has {page_count:,} pages; up to {max_pages:,} are read"
            raise InvalidTask("too_large", reason)
        yield make_head(page_count, _read_metadata(document))
        left = max_chars
        for number in range(first_page, page_count + 1):
            page = _read_page(document, number, min(left, MAX_PAGE_CHARS))
            yield page
            left -= len(page["text"])
            if left <= 0 or page.get("is_cut"):
                return


def open_pdf(descriptor: int) -> Any:
    """Open a PDF, or raise `InvalidTask`."""
    # From memory: pdfium opens files by a name, and this one has none.
    data = read_all(descriptor, MAX_PDF_BYTES)
    # A document without pages sets no error, and that of the last one that failed would be its own.
    pdfium_c.FPDF_LoadMemDocument64(_NO_PDF, len(_NO_PDF), None)
    try:
        document = pdfium.PdfDocument(data)
        page_count = len(document)
    except pdfium.PdfiumError as error:
        code, message = _ERRORS.get(
            getattr(error, "err_code", None), ("unreadable_document", f"not a whole PDF: {error}")
        )
        raise InvalidTask(code, message) from error
    if page_count < 1:
        raise InvalidTask("unreadable_document", "the PDF has no page")
    return document


def _read_page(document: Any, number: int, max_chars: int) -> Piece:
    try:
        page = document[number - 1]
    except pdfium.PdfiumError:
        return make_page(number, "", fault="unreadable_page")
    with closing(page):
        try:
            with closing(page.get_textpage()) as text_page:
                count = text_page.count_chars()
                is_cut = count > max_chars
                text = clean(text_page.get_text_range(0, max_chars if is_cut else -1))
        except pdfium.PdfiumError:
            return make_page(number, "", fault="unreadable_page")
        is_scanned = not _has_text(text) and _picture_share(page) >= MIN_PICTURE_SHARE
    return make_page(number, text, is_scanned=is_scanned, is_cut=is_cut)


def _has_text(text: str) -> bool:
    """Check whether a text has enough characters that are no blanks; most show it soon."""
    return any(
        sum(map(len, part.split())) >= MIN_PAGE_CHARS for part in (text[: 4 * MIN_PAGE_CHARS], text)
    )


def _picture_share(page: Any) -> float:
    """Return how much of a page its pictures cover, 0 to 1; where they overlap, rather too much."""
    width, height = page.get_size()
    covered = 0.0
    with suppress(pdfium.PdfiumError):
        found = page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=3)
        for _, picture in zip(range(_MAX_OBJECTS), found, strict=False):
            left, bottom, right, top = picture.get_bounds()
            wide = max(0.0, min(right, width) - max(left, 0.0))
            high = max(0.0, min(top, height) - max(bottom, 0.0))
            covered += wide * high
    area = width * height
    return min(1.0, covered / area) if area > 0 else 0.0


def _read_metadata(document: Any) -> dict[str, object]:
    """Return title, author and the like, dates as ISO 8601 writes them, and the PDF's version."""
    found: dict[str, Any] = {}
    with suppress(pdfium.PdfiumError, UnicodeError):
        found = document.get_metadata_dict(skip_empty=True)
    metadata: dict[str, object] = {
        _snake_case(name): _read_date(value) if name.endswith("Date") else value
        for name, value in found.items()
    }
    version = document.get_version()
    if version:
        metadata["pdf_version"] = f"{version // 10}.{version % 10}"
    return metadata


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _read_date(written: str) -> str:
    """Return a date of a PDF, such as `D:20240131120000+01'00'`, as `2024-01-31T12:00:00`."""
    found = _DATE.match(written)
    if not found:
        return written
    year, month, day, *time = found.groups()
    date = "-".join(part for part in (year, month, day) if part)
    return f"{date}T{':'.join(time)}" if day and all(time) else date
