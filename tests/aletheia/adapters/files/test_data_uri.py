"""`data:` URIs."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.adapters.files.data_uri import read_data_uri
from aletheia.errors import InvalidTask


def read(uri: str, max_bytes: int = 1_000_000) -> bytes:
    return b"".join(read_data_uri(uri, max_bytes))


@given(st.binary(max_size=500), st.booleans())
def test_what_was_encoded_is_read(data: bytes, is_for_urls: bool):
    encode = base64.urlsafe_b64encode if is_for_urls else base64.b64encode
    assert read(f"data:application/pdf;base64,{encode(data).decode()}") == data
    assert read(f"data:;base64,{encode(data).decode().rstrip('=')}") == data


def test_a_long_one_is_read_in_pieces():
    data = bytes(range(256)) * 2000
    uri = f"data:;base64,{base64.b64encode(data).decode()}"
    pieces = list(read_data_uri(uri, 10**6))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) < 65_536


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        ("data:,a%20b", b"a b"),
        ("data:text/plain;charset=utf-8,%C3%A9", "\u00e9".encode()),
        ("data:;BASE64,aGk=", b"hi"),
        ("data:; base64,a Gk\n=", b"hi"),
        ("data:;base64,aGk%3D", b"hi"),
        ("data:,", b""),
    ],
)
def test_every_way_to_write_one_is_read(uri: str, data: bytes):
    assert read(uri) == data


@pytest.mark.parametrize(
    "uri",
    [
        "data:",
        "data:text/plain;base64",
        "data:;base64,a",
        "data:;base64,a*b=",
        "data:;base64,\u00e9",
        "data:" + "x" * 2000 + ",a",
    ],
)
def test_what_is_none_is_refused(uri: str):
    with pytest.raises(InvalidTask) as refused:
        read(uri)
    assert refused.value.code == "invalid_file"


def test_a_size_is_checked_before_anything_is_decoded():
    with pytest.raises(InvalidTask) as refused:
        next(read_data_uri("data:," + "a" * 1_000_000, 1000))
    assert refused.value.code == "too_large"
