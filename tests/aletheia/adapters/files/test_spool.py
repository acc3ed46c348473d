"""A file without a name, bounded while it is written."""

import os

import pytest

from aletheia.adapters.files.spool import Spool, check_type
from aletheia.analysis.file_types import ANY_TYPE, HEAD_BYTES
from aletheia.errors import ComputeFailed, InvalidTask
from tests.fakes.samples import make_docx, make_text


def test_what_is_written_in_pieces_is_one_file():
    spool = Spool({"text"}, max_bytes=10_000, shown="a file")
    text = make_text()
    for start in range(0, len(text), 7):
        spool.write(text[start : start + 7])
    file = spool.finish()
    assert os.pread(file.descriptor, 10_000, 0) == text
    assert (file.size_bytes, file.type, file.shown) == (len(text), "text", "a file")
    spool.close()
    spool.close()


def test_the_last_byte_that_is_too_much_is_not_taken():
    spool = Spool({"text"}, max_bytes=4, shown="a file")
    spool.write(b"full")
    with pytest.raises(InvalidTask) as refused:
        spool.write(b"!")
    assert refused.value.code == "too_large"


def test_a_beginning_that_cannot_become_what_is_wanted_ends_it():
    spool = Spool({"docx"}, max_bytes=10**6, shown="a file")
    spool.write(b"x" * (HEAD_BYTES - 1))
    with pytest.raises(InvalidTask) as refused:
        spool.write(b"x")
    assert refused.value.code == "wrong_type"
    assert "is text by its content; what is read: docx" in str(refused.value)


def test_an_archive_is_known_for_a_document_at_its_end_alone():
    data = make_docx()
    spool = Spool({"docx"}, max_bytes=10**6, shown="a file")
    spool.write(data)
    assert spool.finish().type == "docx"
    spool = Spool({"docx"}, max_bytes=10**6, shown="a file")
    spool.write(data[: len(data) // 2].replace(b"word/", b"xxxx/"))
    with pytest.raises(InvalidTask, match="is zip"):
        spool.finish()


def test_a_disk_that_is_full_is_no_fault_of_the_task(monkeypatch: pytest.MonkeyPatch):
    spool = Spool({"text"}, max_bytes=100, shown="a file")
    spool.close()
    with pytest.raises((ComputeFailed, ValueError)):
        spool.write(b"x")
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(ComputeFailed) as failed:
        Spool({"text"}, max_bytes=100, shown="a file")
    assert failed.value.code == "file_unavailable"


def test_any_type_is_every_one_but_nothing():
    check_type("program", ANY_TYPE, "a file")
    with pytest.raises(InvalidTask) as refused:
        check_type("empty", ANY_TYPE, "a file")
    assert refused.value.code == "empty_file"


def test_a_file_that_is_closed_takes_nothing_more():
    spool = Spool({"text"}, max_bytes=10_000, shown="a file")
    spool.write(b"one")
    spool.close()
    with pytest.raises(ValueError, match="closed"):
        spool.write(b"two")
