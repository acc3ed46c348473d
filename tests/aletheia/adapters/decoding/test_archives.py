"""Archives that others made."""

import io
import tempfile
import zipfile
from contextlib import closing

import pytest

from aletheia.adapters.decoding.archives import FREE_BYTES, MAX_RATIO, open_archive, read_part
from aletheia.errors import InvalidTask


def make(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def read(data: bytes, name: str) -> bytes | None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        with closing(open_archive(file.fileno())) as archive:
            return read_part(archive, name)


def test_a_part_is_read_and_one_that_is_not_there_is_none():
    data = make({"a.xml": b"<a/>"})
    assert read(data, "a.xml") == b"<a/>"
    assert read(data, "b.xml") is None


def test_a_size_that_lies_is_found_out():
    data = make({"a.xml": b"x" * 1000})
    lying = data.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != data
    with pytest.raises(InvalidTask) as refused:
        read(lying, "a.xml")
    assert refused.value.code == "unreadable_document"


def test_what_grows_as_text_does_is_no_bomb():
    text = b"".join(b"<w:t>%d</w:t>" % number for number in range(400_000))
    assert len(text) > FREE_BYTES
    assert read(make({"a.xml": text}), "a.xml") == text
    with pytest.raises(InvalidTask) as refused:
        read(make({"a.xml": b" " * (FREE_BYTES + 1)}), "a.xml")
    assert refused.value.code == "decompression_bomb"
    assert str(MAX_RATIO) in str(refused.value)


@pytest.mark.parametrize("limit", ["MAX_PART_BYTES", "MAX_TOTAL_BYTES"])
def test_what_is_larger_than_any_document_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str):
    monkeypatch.setattr(f"aletheia.adapters.decoding.archives.{limit}", 1000)
    data = make({"a.xml": b"x" * 600, "b.xml": b"y" * 400})
    assert read(data, "a.xml") == b"x" * 600
    with pytest.raises(InvalidTask) as refused:
        read(make({"a.xml": b"x" * 1001}), "a.xml")
    assert refused.value.code == "too_large"


def test_an_encrypted_one_says_so():
    data = bytearray(make({"a.xml": b"<a/>"}))
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1
    with pytest.raises(InvalidTask) as refused:
        read(bytes(data), "a.xml")
    assert refused.value.code == "encrypted"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"x" * 1000])
def test_what_is_no_archive_is_refused(data: bytes):
    with pytest.raises(InvalidTask) as refused:
        if read(data, "a.xml") is None:
            raise InvalidTask("unreadable_document", "an archive without a part")
    assert refused.value.code == "unreadable_document"


def test_damage_within_a_part_is_found_by_its_checksum():
    data = bytearray(make({"a.xml": bytes(range(256)) * 4}))
    data[60] ^= 0xFF
    with pytest.raises(InvalidTask):
        read(bytes(data), "a.xml")
