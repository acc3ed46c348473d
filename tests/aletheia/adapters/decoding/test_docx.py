"""Word documents, and what pretends to be one."""

import io
import zipfile

import docx
import pytest

from aletheia.adapters.decoding.docx import read_docx
from aletheia.errors import InvalidTask
from tests.aletheia.adapters.decoding.conftest import Decode
from tests.fakes.samples import make_docx, replace_parts, sentences

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def document(body: str, declaration: str = '<?xml version="1.0" encoding="UTF-8"?>') -> bytes:
    return f"{declaration}<w:document {W}><w:body>{body}</w:body></w:document>".encode()


def with_body(body: str) -> bytes:
    return replace_parts(make_docx(), {"word/document.xml": document(body)})


def texts(decode: Decode, data: bytes) -> str:
    return "\n\n".join(page["text"] for page in decode(read_docx, data)[1])


def test_paragraphs_and_tables_are_read_in_order(decode: Decode):
    head, pages = decode(read_docx, make_docx())
    assert pages[0]["text"].split("\n\n") == [
        *("Harbour report", sentences(3), sentences(3, 3)),
        *("silo | moisture", "nine | 12 %"),
    ]
    assert head["page_count"] is None
    assert head["metadata"]["author"] == "A. Tester"
    assert head["metadata"]["title"] == "Harbour report"


def test_it_reads_what_another_reader_reads(decode: Decode):
    data = make_docx([sentences(20), "a\tb\nc", "  ", sentences(5, 20)])
    theirs = [paragraph.text for paragraph in docx.Document(io.BytesIO(data)).paragraphs]
    ours = texts(decode, data).split("\n\n")
    assert ours[: len(theirs) - 1] == [text for text in theirs if text.strip()]


def test_what_was_deleted_moved_away_or_is_there_twice_is_read_once(decode: Decode):
    body = (
        "<w:p><w:r><w:t>kept</w:t></w:r>"
        "<w:del><w:r><w:delText> deleted</w:delText></w:r></w:del>"
        "<w:moveFrom><w:r><w:t> moved</w:t></w:r></w:moveFrom>"
        "<w:ins><w:r><w:t> added</w:t></w:r></w:ins>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r>"
        "<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/></w:r></w:p>"
    )
    assert texts(decode, with_body(body)) == "kept addeda\tb\nc-"


def test_the_text_is_where_the_relations_say(decode: Decode):
    data = make_docx()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        relations = archive.read("_rels/.rels").replace(b"word/document.xml", b"word/other.xml")
    moved = {
        "_rels/.rels": relations,
        "word/document.xml": None,
        "word/other.xml": document("<w:p><w:r><w:t>elsewhere</w:t></w:r></w:p>"),
        "word/footnotes.xml": document("<w:p><w:r><w:t>a note</w:t></w:r></w:p>"),
    }
    assert texts(decode, replace_parts(data, moved)) == "elsewhere\n\na note"


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]>"
)
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
PARAMETER = '<?xml version="1.0"?><!DOCTYPE d SYSTEM "http://127.0.0.1:1/evil.dtd">'


@pytest.mark.parametrize("declaration", [BOMB, EXTERNAL, PARAMETER], ids=["bomb", "file", "dtd"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_no_entity_is_let_in(decode: Decode, declaration: str, encoding: str):
    xml = document("<w:p><w:r><w:t>&x;&j;</w:t></w:r></w:p>", declaration).decode()
    part = xml.encode(encoding)
    with pytest.raises(InvalidTask) as refused:
        decode(read_docx, replace_parts(make_docx(), {"word/document.xml": part}))
    assert refused.value.code == "unreadable_document"
    assert "root:" not in str(refused.value)


def test_an_encoding_that_hides_a_declaration_is_refused(decode: Decode):
    xml = document("", '<?xml version="1.0" encoding="UTF-7"?>')
    with pytest.raises(InvalidTask, match="not in Unicode"):
        decode(read_docx, replace_parts(make_docx(), {"word/document.xml": xml}))


def test_what_a_document_points_to_is_not_opened(decode: Decode):
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/officeDocument" Target="file:///etc/passwd" TargetMode="External"/>'
        "</Relationships>"
    )
    data = replace_parts(make_docx(), {"_rels/.rels": relations.encode()})
    assert "Harbour report" in texts(decode, data)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"word/document.xml": b"<w:document"}, "unreadable_document"),
        ({"word/document.xml": b""}, "unreadable_document"),
        ({"word/document.xml": b"a" * 30_000_000}, "decompression_bomb"),
        ({"word/media/bomb.bin": bytes(30_000_000)}, "decompression_bomb"),
        ({f"word/{n}.xml": b"" for n in range(6000)}, "too_large"),
        ({"../../etc/cron.d/evil": b"x"}, "unreadable_document"),
        ({"/etc/passwd": b"x"}, "unreadable_document"),
        ({"..\\..\\evil.exe": b"x"}, "unreadable_document"),
        ({"word/document.xml": None}, "unreadable_document"),
    ],
    ids=[
        *("half", "empty", "bomb", "bomb aside", "many entries"),
        *("slip", "absolute", "backslashes", "no text"),
    ],
)
def test_an_archive_that_is_an_attack_or_broken_has_its_code(
    decode: Decode, parts: dict[str, bytes | None], code: str
):
    with pytest.raises(InvalidTask) as refused:
        decode(read_docx, replace_parts(make_docx(), parts))
    assert refused.value.code == code


def test_depth_without_end_is_an_error(decode: Decode):
    body = "<w:tbl><w:tr><w:tc>" * 50_000
    with pytest.raises(InvalidTask) as refused:
        decode(read_docx, with_body(body))
    assert refused.value.code == "unreadable_document"


def test_long_ones_come_in_parts_and_go_on_at_any(decode: Decode):
    data = make_docx([sentences(100, n) for n in range(0, 1000, 100)])
    _, pages = decode(read_docx, data)
    assert [page["number"] for page in pages] == list(range(1, len(pages) + 1))
    assert len(pages) > 3
    assert decode(read_docx, data, first_page=3)[1] == pages[2:]
