"""ffmpeg, as far as it is installed."""

import os
import shutil

import numpy as np
import pytest

from aletheia.adapters.audio.ffmpeg import (
    NotRead,
    ffmpeg_version,
    has_ffmpeg,
    probe_ffmpeg,
    read_ffmpeg,
)
from aletheia.adapters.children.child import path_of
from tests.aletheia.adapters.audio.conftest import Open
from tests.fakes.recordings import make_tone, write_by_ffmpeg, write_sound

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def test_a_machine_without_it_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", os.devnull)
    assert not has_ffmpeg()


@needs_ffmpeg
def test_a_file_is_probed_and_decoded(opened: Open):
    tone = make_tone(2, rate=16_000)
    path = path_of(opened(write_by_ffmpeg(tone, 16_000, "matroska", "-c:a", "flac")))
    head = probe_ffmpeg(path)
    assert (head.rate, head.channels, head.format) == (16_000, 1, "matroska/flac")
    assert head.version == ffmpeg_version() != "unknown"
    with read_ffmpeg(path, head) as blocks:
        sound = np.concatenate(list(blocks), axis=1)
    assert np.abs(sound - tone).max() < 1e-4


@needs_ffmpeg
@pytest.mark.parametrize("data", [b"", b"text", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_recording_is_not_read(opened: Open, data: bytes):
    with pytest.raises(NotRead):
        probe_ffmpeg(path_of(opened(data)))


@needs_ffmpeg
def test_a_decoder_ends_with_its_reader(opened: Open):
    path = path_of(opened(write_sound(make_tone(300, rate=48_000), 48_000)))
    with read_ffmpeg(path, probe_ffmpeg(path)) as blocks:
        assert next(blocks).shape[0] == 1
    children = f"/proc/self/task/{os.getpid()}/children"
    with open(children, encoding="ascii") as file:  # noqa: PTH123 - of the kernel
        running = file.read().split()
    assert not any(_name_of(pid) == "ffmpeg" for pid in running)


def _name_of(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:  # noqa: PTH123 - of the kernel
            return file.read().strip()
    except OSError:
        return ""
