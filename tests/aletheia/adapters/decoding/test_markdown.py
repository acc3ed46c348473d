"""Markdown."""

import pytest

from aletheia.adapters.decoding.markdown import read_blocks, read_markdown
from tests.aletheia.adapters.decoding.conftest import Decode
from tests.fakes.samples import make_markdown, sentences


def test_text_is_read_without_its_marks(decode: Decode):
    head, pages = decode(read_markdown, make_markdown())
    assert head["metadata"] == {"title": "Harbour report", "author": "A. Tester"}
    assert pages[0]["text"].split("\n\n") == [
        *("Harbour report", sentences(3), "a link", "code", "silo | moisture", "nine | 12 %"),
        *("print(1)", sentences(3, 3)),
    ]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("# A\n\nb", ["A", "b"]),
        ("A\n===\nb\nc  \nd", ["A", "b c\nd"]),
        ("> quoted **text**", ["quoted text"]),
        ("1. a\n2. b", ["a", "b"]),
        ("![a picture](x.png) and <b>html</b>", ["a picture and html"]),
        ("    code\n\n~~~\nmore\n~~~", ["code\n", "more\n"]),
        ("<div>\nhtml\n</div>", []),
        ("a\\*b &amp; <https://x.example>", ["a*b & https://x.example"]),
        ("", []),
    ],
)
def test_blocks_are_paragraphs_headings_entries_rows_and_code(text: str, blocks: list[str]):
    assert list(read_blocks(text)) == blocks


def test_a_long_text_is_read_in_chunks_that_cut_no_block_of_code():
    code = "```\n" + "line of code\n\n" * 3000 + "```\n"
    text = ("word " * 20 + "\n\n") * 900 + code + "after\n"
    blocks = list(read_blocks(text))
    assert blocks[-1] == "after"
    assert blocks[-2].count("line of code") == 3000
    assert len(blocks) == 902


@pytest.mark.parametrize("text", ["[" * 5000, "*a_" * 5000, "> " * 5000, "`" * 5000, "- " * 5000])
def test_marks_without_end_end(text: str):
    assert len(list(read_blocks(text))) >= 0


def test_front_matter_is_read_as_lines_and_never_as_a_program(decode: Decode):
    text = "---\ntitle: &a [*a, *a]\nevil: !!python/object/apply:os.system [x]\n---\nbody\n"
    head, pages = decode(read_markdown, text.encode())
    assert head["metadata"]["title"] == "&a [*a, *a]"
    assert pages[0]["text"] == "body"
