"""Reads Word documents: paragraphs, tables and notes in order, by lxml's parser without a tree.

The parts of the archive are checked before they are parsed, no declaration of entities is let in,
and what the document points to outside of itself is never opened.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from typing import Any, Final
from zipfile import ZipFile

from aletheia.adapters.decoding.archives import open_archive, read_part
from aletheia.adapters.decoding.pieces import Piece, make_head, split_parts
from aletheia.errors import InvalidTask

etree: Any = import_module("lxml.etree")  # which has no types

_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_STRICT: Final = "http://purl.oclc.org/ooxml/officeDocument/relationships"
_MAIN: Final = (f"{_OFFICE}/officeDocument", f"{_STRICT}/officeDocument")
_DEFAULT_MAIN: Final = "word/document.xml"
_NOTES: Final = ("footnotes.xml", "endnotes.xml")

_PROPERTIES: Final[Mapping[str, str]] = {
    "title": "title",
    "subject": "subject",
    "creator": "author",
    "keywords": "keywords",
    "description": "description",
    "language": "language",
    "category": "category",
    "created": "creation_date",
    "modified": "modification_date",
    "Application": "application",
    "Pages": "pages",
    "Company": "company",
}
"""By local name in `docProps`: the name in our metadata."""

_SKIPPED: Final = frozenset({"moveFrom", "Fallback", "instrText", "delText"})
"""What is there twice, or not to be read: text that was moved away or deleted, fields' commands,
and what is meant for programs older than its other form."""

_SPELLED: Final = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}
_CELL: Final = " | "
_ENCODING: Final = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([^\"']{1,40})[\"']")
_ENCODINGS: Final = frozenset({b"utf-8", b"utf-16", b"us-ascii"})
_FED_BYTES: Final = 65_536


def read_docx(files: Sequence[int], *, first_page: int, max_chars: int) -> Iterator[Piece]:
    """Yield the head of a document, then its parts from `first_page` on.

    Raises:
        InvalidTask: `unreadable_document`, `encrypted`, `too_large`, `decompression_bomb`.
    """
    with closing(open_archive(files[0])) as archive:
        main = _find_main(archive)
        yield make_head(None, _read_properties(archive))
        yield from split_parts(_read_blocks(archive, main), max_chars, first_page)


def _read_blocks(archive: ZipFile, main: str) -> Iterator[str]:
    body = read_part(archive, main)
    if body is None:
        raise InvalidTask("unreadable_document", "the archive holds no Word document")
    yield from _parse_blocks(body)
    for name in _NOTES:
        notes = read_part(archive, posixpath.join(posixpath.dirname(main), name))
        if notes is not None:
            yield from _parse_blocks(notes)


def _find_main(archive: ZipFile) -> str:
    """Return the name of the part with the text, as the archive's relations say."""
    relations = read_part(archive, "_rels/.rels")
    if relations is None:
        return _DEFAULT_MAIN
    found = _Attributes("Relationship")
    _parse(relations, found)
    for relation in found.values:
        if relation.get("Type") in _MAIN and relation.get("TargetMode") != "External":
            return posixpath.normpath(relation.get("Target", "").lstrip("/"))
    return _DEFAULT_MAIN


def _read_properties(archive: ZipFile) -> dict[str, object]:
    found = _Texts(_PROPERTIES)
    for name in ("docProps/core.xml", "docProps/app.xml"):
        part = read_part(archive, name)
        if part is not None:
            _parse(part, found)
    return dict(found.values)


def _parse_blocks(part: bytes) -> Iterator[str]:
    """Yield the paragraphs, and the rows of tables, of a part as they are read."""
    blocks = _Blocks()
    parser = _make_parser(part, blocks)
    for start in range(0, len(part), _FED_BYTES):
        _feed(parser, part[start : start + _FED_BYTES])
        yield from blocks.take()
    _close(parser)
    yield from blocks.take()


def _parse(part: bytes, target: object) -> None:
    parser = _make_parser(part, target)
    _feed(parser, part)
    _close(parser)


def _make_parser(part: bytes, target: object) -> Any:
    named = _ENCODING.match(part)
    if named and named[1].lower() not in _ENCODINGS:
        raise InvalidTask("unreadable_document", "a part of the document is not in Unicode")
    return etree.XMLParser(
        target=target,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
    )


def _feed(parser: Any, data: bytes) -> None:
    try:
        parser.feed(data)
    except etree.XMLSyntaxError as error:
        raise _damaged(error) from error


def _close(parser: Any) -> None:
    try:
        parser.close()
    except etree.XMLSyntaxError as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> InvalidTask:
    return InvalidTask("unreadable_document", f"a part of the document is damaged: {error}")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


class _Blocks:
    """Takes the events of a parser, and collects the paragraphs and rows that have ended."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._paragraphs: list[list[str]] = []  # those that are open: a text box stands in another
        self._rows: list[list[list[str]]] = []  # cells of open rows, each with its paragraphs
        self._skipped = 0
        self._is_text = False

    def take(self) -> list[str]:
        """Return what has ended since the last call."""
        done, self._done = self._done, []
        return done

    def start(self, tag: str, attributes: object) -> None:
        del attributes
        name = _local(tag)
        if self._skipped or name in _SKIPPED:
            self._skipped += 1
        elif name == "p":
            self._paragraphs.append([])
        elif name == "tr":
            self._rows.append([])
        elif name == "tc" and self._rows:
            self._rows[-1].append([])
        elif name == "t":
            self._is_text = True
        elif name in _SPELLED and self._paragraphs:
            self._paragraphs[-1].append(_SPELLED[name])

    def data(self, text: str) -> None:
        if self._is_text and not self._skipped and self._paragraphs:
            self._paragraphs[-1].append(text)

    def end(self, tag: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        name = _local(tag)
        if name == "t":
            self._is_text = False
        elif name == "p" and self._paragraphs:
            self._add("".join(self._paragraphs.pop()))
        elif name == "tr" and self._rows:
            cells = (" ".join(cell) for cell in self._rows.pop())
            self._add(_CELL.join(cells) if cells else "")

    def close(self) -> None:
        """Nothing to return."""

    def _add(self, text: str) -> None:
        if not text.strip(" \t\n|"):
            return
        if self._rows and self._rows[-1]:
            self._rows[-1][-1].append(text)
        else:
            self._done.append(text)


class _Attributes:
    """Collects the attributes of the elements of one name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.values: list[dict[str, str]] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if _local(tag) == self._name:
            self.values.append(dict(attributes))

    def close(self) -> None:
        """Nothing to return."""


class _Texts:
    """Collects the texts of elements by the names that they are to have."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._open = ""
        self.values: dict[str, str] = {}

    def start(self, tag: str, attributes: object) -> None:
        del attributes
        self._open = self._names.get(_local(tag), "")

    def data(self, text: str) -> None:
        if self._open:
            self.values[self._open] = self.values.get(self._open, "") + text

    def end(self, tag: str) -> None:
        del tag
        self._open = ""

    def close(self) -> None:
        """Nothing to return."""
