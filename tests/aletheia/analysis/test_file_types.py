"""What a file is by its content."""

import gzip
import io
import wave
import zipfile
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.analysis.file_types import (
    ANY_TYPE,
    HEAD_BYTES,
    MEDIA_TYPES,
    FileType,
    find_type,
    is_readable_as,
    may_become,
)
from tests.fakes.samples import make_docx, make_html, make_markdown, make_pdf, make_text


def make_wave() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    return out.getvalue()


def make_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "text")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (make_pdf(["x"]), "pdf"),
        (b"\xef\xbb\xbf\n\n" + make_pdf(["x"]), "pdf"),
        (make_docx(), "docx"),
        (make_zip(), "zip"),
        (make_html(), "html"),
        (b"  <!-- a comment -->\n<HTML>", "html"),
        (b'<?xml version="1.0"?><html xmlns="x">', "html"),
        ("\ufeff<html><body>".encode("utf-16"), "html"),
        (make_markdown(), "markdown"),
        (b"# A heading", "markdown"),
        (make_text(), "text"),
        ("Gr\u00fc\u00dfe".encode("cp1252"), "text"),
        ("wide".encode("utf-16"), "text"),
        ("\u65e5\u672c\u8a9e".encode(), "text"),
        (make_wave(), "wav"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"RIFF\0\0\0\0RMID", "unknown"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
        (b"wvpk\0\0", "wavpack"),
        (b"MAC \x96\x0f\0\0", "ape"),
        (b"MAC addresses are read here", "text"),
        (b"riff\x2e\x91\xcf\x11", "w64"),
        (b"NIST_1A\n   1024", "nist"),
        (b"FORM\0\0\0\0AIFFCOMM", "aiff"),
        (b"fLaC\0\0\0\x22", "flac"),
        (b"OggS\0\2", "ogg"),
        (b"ID3\4\0", "mp3"),
        (b"\xff\xfb\x90\x64" + bytes(100), "mp3"),
        (b"\xff\xf1\x50\x80" + bytes(100), "aac"),
        (b"\0\0\0\x20ftypM4A ", "mp4"),
        (b"\x1aE\xdf\xa3", "webm"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (gzip.compress(b"x", mtime=0), "gzip"),  # the time would be in the test's name
        (b"{\\rtf1 hello}", "rtf"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office"),
        (b"\x7fELF\2", "program"),
        (b"MZ\x90", "program"),
        (bytes(100), "unknown"),
        (b"", "empty"),
    ],
)
def test_a_file_is_known_by_its_bytes(data: bytes, found: str):
    assert find_type(data[:HEAD_BYTES], data[-65_536:]) == found


@given(st.binary(max_size=200))
def test_every_file_has_a_type(data: bytes):
    assert find_type(data, data) in get_args(FileType)


def test_kinds_of_text_stand_for_one_another_and_nothing_else_does():
    assert is_readable_as("text", {"markdown"})
    assert is_readable_as("html", {"text"})
    assert not is_readable_as("pdf", {"text"})
    assert not is_readable_as("text", {"pdf"})
    assert may_become("zip", {"docx"})
    assert not is_readable_as("zip", {"docx"})


def test_every_type_that_is_known_has_a_name_in_http():
    assert ANY_TYPE - MEDIA_TYPES.keys() == {"program", "unknown"}


@pytest.mark.parametrize(
    "head", [b"<!---->" * 500 + b"x", b"<!-- " * 800, b"[" * 4096, b"|" * 4096, b" " * 4095 + b"x"]
)
@pytest.mark.timeout(10)
def test_no_beginning_takes_long_to_recognise(head: bytes):
    assert find_type(head[:HEAD_BYTES]) in ("text", "markdown")


def test_a_page_that_begins_with_comments_is_one():
    assert find_type(b"<!-- a --><!-- b -->\n<!-- c --> <html><body>") == "html"
