"""Bodies that are compressed, and bombs."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.adapters.files.inflating import FREE_BYTES, MAX_RATIO, Inflation
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask


def inflate(encoding: str, *chunks: bytes) -> bytes:
    inflation = Inflation(encoding, "a file")
    pieces = [piece for chunk in chunks for piece in inflation.feed(chunk)]
    inflation.finish()
    assert all(len(piece) <= 65_536 for piece in pieces) or not encoding
    return b"".join(pieces)


@given(st.binary(max_size=2000), st.integers(1, 50))
def test_every_cut_of_a_body_gives_the_same(data: bytes, size: int):
    for encoding, packed in (("gzip", gzip.compress(data)), ("deflate", zlib.compress(data))):
        chunks = [packed[start : start + size] for start in range(0, len(packed), size)]
        assert inflate(encoding, *chunks) == data


def test_several_members_are_one_body_and_padding_is_none():
    packed = gzip.compress(b"one") + gzip.compress(b"two")
    assert inflate("gzip", packed + bytes(100)) == b"onetwo"


def test_half_a_body_is_none():
    with pytest.raises(ComputeFailed, match="too early"):
        inflate("gzip", gzip.compress(b"hello" * 100)[:-9])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_compressed_is_no_body(encoding: str):
    with pytest.raises(ComputeFailed, match="cannot be decompressed"):
        inflate(encoding, b"\xff\xfe plain text that nobody has compressed")


def test_a_bomb_is_found_soon_behind_what_is_free():
    inflation = Inflation("gzip", "a file")
    made = 0
    with pytest.raises(InvalidTask) as refused:
        for piece in inflation.feed(gzip.compress(bytes(50_000_000))):
            made += len(piece)
    assert refused.value.code == "decompression_bomb"
    assert FREE_BYTES <= made <= 50_000_000 // MAX_RATIO + 20 * FREE_BYTES


def test_a_bomb_in_many_members_is_one_as_well():
    packed = gzip.compress(bytes(1_000_000)) * 200
    with pytest.raises(InvalidTask):
        inflate("gzip", packed)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "x" * 99])
def test_an_encoding_that_nobody_asked_for_is_refused(encoding: str):
    with pytest.raises(AletheiaError) as refused:
        Inflation(encoding, "a file")
    assert refused.value.code == "file_refused"
    assert len(str(refused.value)) < 200


def test_of_padding_nothing_is_kept():
    inflation = Inflation("gzip", "a file")
    assert b"".join(inflation.feed(gzip.compress(b"hello") + bytes(10))) == b"hello"
    tracemalloc.start()
    for _ in range(500):
        assert not list(inflation.feed(b"\x1f" * 65_536))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    inflation.finish()


def test_members_may_be_cut_anywhere():
    packed = gzip.compress(b"one") + gzip.compress(b"two")
    for size in (1, 2, 3, len(packed) // 2, len(packed) // 2 + 1):
        pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
        assert inflate("gzip", *pieces) == b"onetwo"
