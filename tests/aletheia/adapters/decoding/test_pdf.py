"""PDFs."""

from functools import partial
from typing import Any

import pytest

from aletheia.adapters.decoding.pdf import read_pdf
from aletheia.errors import InvalidTask
from tests.aletheia.adapters.decoding.conftest import Decode
from tests.fakes.samples import encrypt_pdf, join_objects, make_pdf, sentences

read = partial(read_pdf, max_pages=100)


def test_pages_are_read_in_order_with_their_text(decode: Decode):
    head, pages = decode(read, make_pdf([sentences(4), sentences(3, 4), "last"]))
    assert head["page_count"] == 3
    assert [page["number"] for page in pages] == [1, 2, 3]
    assert " ".join(pages[0]["text"].split()) == sentences(4)
    assert pages[2]["text"] == "last"
    assert not any(page["is_scanned"] or page["is_cut"] for page in pages)


def test_metadata_is_that_of_the_document_with_dates_as_everybody_writes_them(decode: Decode):
    head, _ = decode(read, make_pdf(["a"], title="Grain north"))
    assert head["metadata"] == {
        "title": "Grain north",
        "author": "A. Tester",
        "creation_date": "2024-01-31T12:00:00",
        "pdf_version": "1.4",
    }


def test_reading_goes_on_at_any_page(decode: Decode):
    _, pages = decode(read, make_pdf(["one", "two", "three"]), first_page=3)
    assert [page["text"] for page in pages] == ["three"]
    assert decode(read, make_pdf(["one"]), first_page=2)[1] == []


def test_a_page_that_a_picture_covers_and_that_has_no_text_is_scanned(decode: Decode):
    pdf = make_pdf(["", sentences(3), "7", ""], pictures=(1, 2, 3))
    _, pages = decode(read, pdf)
    assert [page["is_scanned"] for page in pages] == [True, False, True, False]


def test_what_is_too_long_is_cut_and_says_so(decode: Decode):
    _, pages = decode(read, make_pdf([sentences(4), sentences(4)]), max_chars=100)
    assert len(pages) == 1
    assert pages[0]["is_cut"]
    assert len(pages[0]["text"]) <= 100


def test_an_encrypted_one_says_so_and_nothing_else(decode: Decode):
    with pytest.raises(InvalidTask) as refused:
        decode(read, encrypt_pdf(make_pdf(["secret"])))
    assert refused.value.code == "encrypted"
    assert "password" in str(refused.value)


def test_an_error_is_not_that_of_the_document_before(decode: Decode):
    for data, code in (
        (encrypt_pdf(make_pdf(["secret"])), "encrypted"),
        (join_objects([b"<< /Type /Catalog >>"] * 5), "unreadable_document"),
    ):
        with pytest.raises(InvalidTask) as refused:
            decode(read, data)
        assert refused.value.code == code


def test_one_that_is_encrypted_and_opens_without_a_password_is_read(decode: Decode):
    _, pages = decode(read, encrypt_pdf(make_pdf(["not so secret"]), user=""))
    assert pages[0]["text"] == "not so secret"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"%PDF-1.7\n", "unreadable_document"),
        (b"%PDF-1.7\n" + bytes(10_000), "unreadable_document"),
        (make_pdf([]), "unreadable_document"),
        (join_objects([b"<< /Type /Catalog >>"] * 5), "unreadable_document"),
        (make_pdf(["a"] * 101), "too_large"),
    ],
    ids=["head", "zeros", "no page", "no tree", "many pages"],
)
def test_what_is_no_pdf_or_too_much_of_one_has_its_code(decode: Decode, data: bytes, code: str):
    with pytest.raises(InvalidTask) as refused:
        decode(read, data)
    assert refused.value.code == code


def test_a_number_of_pages_that_lies_is_not_believed(decode: Decode):
    head, pages = decode(read, make_pdf(["a", "b"], count=10**9))
    assert (head["page_count"], len(pages)) == (2, 2)


def test_half_a_pdf_is_read_as_far_as_it_goes(decode: Decode):
    pdf = make_pdf([sentences(2), sentences(2, 2)])
    damaged = pdf[: pdf.rindex(b"xref")]
    _, pages = decode(read, damaged)
    assert "grain" in pages[0]["text"]


def test_a_page_that_cannot_be_read_leaves_the_others(decode: Decode):
    pdf = make_pdf(["one", "two", "three"])
    at = pdf.index(b"/Type /Page /Parent", pdf.index(b"/Type /Page /Parent") + 9)
    damaged = pdf[:at] + b"/Type /Junk/Parent" + b" " + pdf[at + 19 :]
    _, pages = decode(read, damaged)
    texts: list[Any] = [page["text"] for page in pages]
    assert texts[0] == "one"
    assert texts[-1] == "three"
