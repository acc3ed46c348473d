import os
from pathlib import Path

import pytest

from aletheia.adapters.local.wire import (
    PREFIX,
    pack_frame,
    pack_texts,
    read_frame,
    read_lengths,
    unpack_texts,
)


def read_back(directory: Path, content: bytes) -> list[object]:
    """Read frames from a file until they end."""
    path = directory / "frames"
    path.write_bytes(content)
    frames: list[object] = []
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while frame := read_frame(descriptor):
            frames.append(frame)
    finally:
        os.close(descriptor)
    return frames


def test_frames_are_read_as_they_were_written(tmp_path: Path):
    large = bytes(3_000_000)
    content = pack_frame({"op": "load"}) + pack_frame({"op": "embed", "n": [1, 2]}, large)

    frames = read_back(tmp_path, content)

    assert frames == [({"op": "load"}, b""), ({"op": "embed", "n": [1, 2]}, large)]


@pytest.mark.parametrize("missing", [1, 5, 12, 20])
def test_a_frame_that_is_cut_off_is_the_end(missing: int, tmp_path: Path):
    frame = pack_frame({"op": "load"}, b"12345")

    assert read_back(tmp_path, frame + frame[:-missing]) == [({"op": "load"}, b"12345")]


def test_what_is_no_frame_is_refused():
    with pytest.raises(ValueError, match="a frame of"):
        read_lengths(b"Loading "[: PREFIX.size])


def test_texts_are_read_as_they_were_written():
    texts = ["", "plain", "naïve 汉字 🦊", "half a \ud800 pair", "a\0b\n"]

    lengths, body = pack_texts(texts)

    assert unpack_texts(lengths, body) == texts
    assert sum(lengths) == len(body)
