"""Reads Markdown: its text without its marks, by markdown-it."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from aletheia.adapters.decoding.pieces import Piece, make_head, read_all, split_parts
from aletheia.adapters.decoding.plain import MAX_TEXT_BYTES, decode_text

_CHUNK_CHARS: Final = 50_000
"""Characters that are parsed at once, about: tokens take some hundred times their text."""

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_FRONT_MATTER: Final = re.compile(r"---[ \t]*\n(.{0,5000}?)\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_FIELD: Final = re.compile(
    r"^([A-Za-z][\w-]{0,40}):[ \t]*[\"']?([^\n]{1,500}?)[\"']?[ \t]*$", re.MULTILINE
)
_SPELLED: Final = {"softbreak": " ", "hardbreak": "\n"}
_CELL: Final = " | "


def read_markdown(files: Sequence[int], *, first_page: int, max_chars: int) -> Iterator[Piece]:
    """Yield the head of a text, then its parts from `first_page` on.

    Raises:
        InvalidTask: `unreadable_document` if it is no text, `too_large`.
    """
    text = decode_text(read_all(files[0], MAX_TEXT_BYTES))
    metadata: dict[str, object] = {}
    front = _FRONT_MATTER.match(text)
    if front:
        metadata = {found[1].lower(): found[2] for found in _FIELD.finditer(front[1])}
        text = text[front.end() :]
    yield make_head(None, metadata)
    yield from split_parts(read_blocks(text), max_chars, first_page)


def read_blocks(text: str) -> Iterator[str]:
    """Yield the paragraphs, headings, list items, rows and code blocks of a text."""
    parser = MarkdownIt("commonmark").enable("table")
    for chunk in _split_chunks(text):
        row: list[str] | None = None
        for token in parser.parse(chunk):
            match token.type:
                case "tr_open":
                    row = []
                case "tr_close":
                    yield _CELL.join(row or ())
                    row = None
                case "inline" if row is not None:
                    row.append(_read_inline(token))
                case "inline":
                    yield _read_inline(token)
                case "fence" | "code_block":
                    yield token.content
                case _:
                    pass


def _split_chunks(text: str) -> Iterator[str]:
    """Yield a text in chunks that end at empty lines, and not within a block of code."""
    begin = end = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and found[1].startswith(fence) and not line.strip("`~ \n"):
            fence = ""
        end += len(line)
        is_end = not line.strip() and not fence and end - begin >= _CHUNK_CHARS
        if is_end or end - begin >= 2 * _CHUNK_CHARS:
            yield text[begin:end]
            begin = end
    yield text[begin:]


def _read_inline(token: Token) -> str:
    parts: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline", "image"):
            parts.append(child.content)
        else:
            parts.append(_SPELLED.get(child.type, ""))
    return "".join(parts).strip()
