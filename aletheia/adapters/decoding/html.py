"""Reads web pages: what a reader sees of them, by lexbor's HTML5 parser.

Nothing that a page points to is fetched, and no script runs.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from selectolax.lexbor import LexborHTMLParser

from aletheia.adapters.decoding.pieces import Piece, make_head, read_all, split_parts
from aletheia.adapters.decoding.plain import decode_text
from aletheia.errors import InvalidTask

MAX_HTML_BYTES: Final = 20_000_000

MAX_DEPTH: Final = 10_000
"""Elements within one another: the time of parsing grows with its square, 1 s for so many."""

MIN_MAIN_CHARS: Final = 200
"""Characters that the main part of a page must have, or else the whole body is read."""

_UNSEEN: Final = (
    "script, style, noscript, template, svg, math annotation, iframe, object, embed, canvas, head, "
    "nav, select, button, [hidden], [aria-hidden=true]"
)
_FRAME: Final = "header, footer, aside"
"""What surrounds the text of a page that does not name its main part."""

_BLOCKS: Final = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "dialog"),
        *("details", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "legend", "li", "main"),
        *("menu", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead"),
        *("tr", "ul"),
    )
)
_TAG: Final = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})")
_CLOSED_BY_OTHERS: Final = frozenset(
    (
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source"),
        *("track", "wbr", "p", "li", "dt", "dd", "tr", "td", "th", "option", "tbody", "thead"),
        *("tfoot", "colgroup", "rp", "rt", "a"),
    )
)
"""Elements without content, and those that the next one of their kind closes."""

_CELLS: Final = frozenset({"td", "th"})
_MAX_CLIMB: Final = 40
_META: Final = {
    "description": "description",
    "author": "author",
    "keywords": "keywords",
    "generator": "application",
    "date": "creation_date",
    "og:title": "title",
    "article:published_time": "creation_date",
}
_CHARSET: Final = re.compile(
    rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE
)
_CHARSET_WITHIN: Final = 4096
_BLANKS: Final = re.compile(r"[ \t\n\r\f]+")


def read_html(files: Sequence[int], *, first_page: int, max_chars: int) -> Iterator[Piece]:
    """Yield the head of a page, then its parts from `first_page` on.

    Raises:
        InvalidTask: `unreadable_document`, `too_large`.
    """
    data = read_all(files[0], MAX_HTML_BYTES)
    text = decode_text(data, _find_charset(data))
    _check_depth(text)
    tree = LexborHTMLParser(text)
    yield make_head(None, _read_metadata(tree))
    yield from split_parts(read_blocks(tree), max_chars, first_page)


def _check_depth(text: str) -> None:
    """Raise `InvalidTask` if more elements are open at once than pages have."""
    depth = 0
    for found in _TAG.finditer(text):
        if found[2].lower() not in _CLOSED_BY_OTHERS:
            depth = max(0, depth - 1) if found[1] else depth + 1
            if depth > MAX_DEPTH:
                reason = f"the page has more than {MAX_DEPTH:,} elements within one another"
                raise InvalidTask("unreadable_document", reason)


def read_blocks(tree: LexborHTMLParser) -> Iterator[str]:
    """Yield the text of a page block by block, cells of a row on one line."""
    for node in tree.css(_UNSEEN):
        node.decompose()
    root: Any = _find_root(tree)
    if root is None:
        raise InvalidTask("unreadable_document", "the page has no body")
    held: list[str] = []
    block: object = None
    cell: object = None
    for node in root.traverse(include_text=True):
        if node.tag == "br":
            held.append("\n")
        if not node.is_text_node:
            continue
        text = node.text_content or ""
        its_block, its_cell, is_kept = _find_place(node)
        if its_block != block:
            yield _join(held)
            held = []
        elif its_cell != cell and held:
            held.append(" | ")
        block, cell = its_block, its_cell
        held.append(text if is_kept else _BLANKS.sub(" ", text))
    yield _join(held)


def _find_root(tree: LexborHTMLParser) -> Any:
    for selector in ("main, [role=main]", "article"):
        found = tree.css(selector)
        if len(found) == 1 and len(found[0].text(strip=True)) >= MIN_MAIN_CHARS:
            return found[0]
    body = tree.body
    if body is not None:
        for node in body.css(_FRAME):
            node.decompose()
    return body


def _find_place(node: Any) -> tuple[object, object, bool]:
    """Return the block and the cell that a text is in, and whether its blanks count."""
    cell: object = None
    is_kept = False
    up = node.parent
    for _ in range(_MAX_CLIMB):
        if up is None:
            break
        if up.tag in _CELLS and cell is None:
            cell = up.mem_id
        is_kept |= up.tag == "pre"
        if up.tag in _BLOCKS:
            return up.mem_id, cell, is_kept
        up = up.parent
    return None, cell, is_kept


def _join(held: list[str]) -> str:
    lines = (line.strip() for line in "".join(held).split("\n"))
    return "\n".join(line for line in lines if line)


def _read_metadata(tree: LexborHTMLParser) -> dict[str, object]:
    metadata: dict[str, object] = {}
    for node in tree.css("meta[content]")[:200]:
        name = (node.attributes.get("name") or node.attributes.get("property") or "").lower()
        if name in _META:
            metadata.setdefault(_META[name], node.attributes.get("content"))
    title = tree.css_first("head > title")
    if title is not None and title.text(strip=True):
        metadata["title"] = title.text(strip=True)
    page = tree.css_first("html")
    if page is not None and page.attributes.get("lang"):
        metadata["language"] = page.attributes["lang"]
    return metadata


def _find_charset(data: bytes) -> str | None:
    """Return the encoding that a page names, as far as Python knows it and it is one of texts."""
    found = _CHARSET.search(data[:_CHARSET_WITHIN])
    if not found:
        return None
    try:
        name = codecs.lookup(found[1].decode("ascii", "replace")).name
    except LookupError:
        return None
    # A page that can be read as ASCII as far as this is not in UTF-16, whatever it says.
    return None if name.startswith(("utf-16", "utf-32", "utf-7")) else name
