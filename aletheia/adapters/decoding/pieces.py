"""What decoders yield: a head, then pages, as JSON values; and the bounds of what they read."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from aletheia.errors import InvalidTask

Piece: TypeAlias = dict[str, Any]

MAX_METADATA_CHARS: Final = 1000
MAX_METADATA: Final = 40
"""Length of a value of the metadata, and how many there may be."""

PART_CHARS: Final = 20_000
"""Characters of a part of a document without pages, about."""

_READ_BYTES: Final = 2**20


def make_head(page_count: int | None, metadata: Mapping[str, object]) -> Piece:
    """Return the head of a document; what is empty or no text is left out of the metadata."""
    cleaned = {
        str(name)[:100]: " ".join(clean(str(value)[: 2 * MAX_METADATA_CHARS]).split())
        for name, value in list(metadata.items())[:MAX_METADATA]
        if value is not None
    }
    shown = {name: value[:MAX_METADATA_CHARS] for name, value in cleaned.items() if value}
    return {"kind": "head", "page_count": page_count, "metadata": shown}


def make_page(number: int, text: str, **more: object) -> Piece:
    """Return a page, or a part."""
    return {"kind": "page", "number": number, "text": text, **more}


def split_parts(blocks: Iterable[str], max_chars: int, first: int = 1) -> Iterator[Piece]:
    """Yield paragraphs as parts of about `PART_CHARS`, from the one numbered `first` on.

    After `max_chars` in all the rest is left out, and the last part says so.
    """
    number, held, size, total = 1, list[str](), 0, 0
    for block in blocks:
        text = clean(block).strip("\n")
        if not text.strip():
            continue
        left = max_chars - total
        held.append(text[:left])
        size += len(text)
        total += len(text)
        if total >= max_chars:
            yield make_page(number, "\n\n".join(held), is_cut=True)
            return
        if size >= PART_CHARS:
            if number >= first:
                yield make_page(number, "\n\n".join(held))
            number, held, size = number + 1, [], 0
    if held and number >= first:
        yield make_page(number, "\n\n".join(held))


def clean(text: str) -> str:
    """Remove from a text what no store and no JSON takes: halves of pairs, and control characters.

    Line ends become line feeds.
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    if not _UNCLEAN.search(text):
        return text
    return text.translate(_CLEANED).encode("utf-8", "replace").decode("utf-8")


_CLEANED: Final[Mapping[int, str | None]] = {
    **{code: None for code in range(32) if code not in (9, 10)},
    **dict.fromkeys(range(0x7F, 0xA0)),
    0x0C: "\n",
    0x0D: "\n",
    0x85: "\n",
    0xAD: None,  # a soft hyphen
    0xFEFF: None,
    0xFFFE: "-",  # what pdfium writes for a hyphen at the end of a line
    0xFFFF: None,
}


_UNCLEAN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\ud800-\udfff\ufeff\ufffe\uffff]")


def read_all(descriptor: int, max_bytes: int) -> bytes:
    """Read a file whole, or raise `InvalidTask`, `too_large`."""
    if os.fstat(descriptor).st_size > max_bytes:
        raise InvalidTask("too_large", f"the document has more than {max_bytes:,} bytes")
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts: list[bytes] = []
    size = 0
    while part := os.read(descriptor, _READ_BYTES):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise InvalidTask("too_large", f"the document has more than {max_bytes:,} bytes")
    return b"".join(parts)
