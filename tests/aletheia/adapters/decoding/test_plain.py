"""Plain text, in whatever encoding."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.adapters.decoding.plain import decode_text, read_plain, split_paragraphs
from aletheia.errors import InvalidTask
from tests.aletheia.adapters.decoding.conftest import Decode
from tests.fakes.samples import make_text, sentences

RUSSIAN = (
    "\u0412 \u0433\u0430\u0432\u0430\u043d\u0438 "
    "\u0445\u0440\u0430\u043d\u044f\u0442 \u0437\u0435\u0440\u043d\u043e. "
) * 20
JAPANESE = "\u6e2f\u306b\u306f\u7a40\u7269\u5009\u5eab\u304c\u3042\u308b\u3002" * 20


def test_paragraphs_become_parts(decode: Decode):
    head, pages = decode(read_plain, make_text())
    assert (head["page_count"], head["metadata"]) == (None, {})
    assert pages[0]["text"] == f"{sentences(3)}\n\n{sentences(3, 3)}"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Gr\u00fc\u00dfe aus K\u00f6ln, Stra\u00dfe", "utf-8"),
        ("Gr\u00fc\u00dfe aus K\u00f6ln, Stra\u00dfe", "utf-8-sig"),
        ("Gr\u00fc\u00dfe aus K\u00f6ln, Stra\u00dfe", "cp1252"),
        ("Gr\u00fc\u00dfe aus K\u00f6ln", "utf-16"),
        ("Gr\u00fc\u00dfe aus K\u00f6ln", "utf-32"),
        (RUSSIAN, "utf-8"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
    ],
)
def test_an_encoding_is_found(text: str, encoding: str):
    assert decode_text(text.encode(encoding)) == text


def test_line_ends_are_of_one_kind():
    assert decode_text(b"a\r\nb\rc\nd") == "a\nb\nc\nd"


@pytest.mark.parametrize("data", [bytes(5000), bytes(range(256)) * 20, b"\x01\x02\x03" * 100])
def test_what_is_no_text_is_refused(data: bytes):
    with pytest.raises(InvalidTask) as refused:
        decode_text(data)
    assert refused.value.code == "unreadable_document"


def test_chance_is_no_text():
    with pytest.raises(InvalidTask):
        decode_text(os.urandom(50_000))


@given(st.binary(max_size=300))
def test_bytes_are_text_or_an_error_of_ours(data: bytes):
    try:
        assert isinstance(decode_text(data), str)
    except InvalidTask as error:
        assert error.code == "unreadable_document"  # noqa: PT017 - either is right


def test_a_paragraph_without_end_is_cut_between_sentences():
    text = sentences(2000)
    blocks = list(split_paragraphs(text))
    assert "".join(blocks) == text
    assert max(map(len, blocks)) <= 20_000
    assert all(block.rstrip().endswith(".") for block in blocks)
    assert "".join(split_paragraphs("x" * 100_000)) == "x" * 100_000
