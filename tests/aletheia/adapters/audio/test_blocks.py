"""Recordings of every format, and what is wrong with some."""

import shutil
import struct

import numpy as np
import pytest

from aletheia.adapters.audio import blocks
from aletheia.adapters.audio.blocks import MAX_LEVEL, Recording, open_recording
from aletheia.errors import InvalidTask
from tests.aletheia.adapters.audio.conftest import Open
from tests.fakes.recordings import (
    Sound,
    lie_about_flac,
    lie_about_wav,
    make_noise,
    make_tone,
    write_by_ffmpeg,
    write_sound,
)

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")

TONE = np.concatenate([make_tone(1, rate=16_000), make_noise(1, rate=16_000)])


def read(descriptor: int, max_seconds: float = 60) -> tuple[Recording, Sound]:
    with open_recording(descriptor, max_seconds=max_seconds) as recording:
        found = list(recording.read())
    return recording, np.concatenate(found, axis=1)


def refused(descriptor: int, max_seconds: float = 60) -> str:
    with pytest.raises(InvalidTask) as error:
        read(descriptor, max_seconds)
    return error.value.code


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *(("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("RF64", "")),
        *(("FLAC", ""), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", ""), ("AIFF", ""), ("AU", "")),
        *(("CAF", ""), ("W64", ""), ("VOC", ""), ("NIST", "")),
    ],
)
def test_every_format_of_libsndfile_is_read(opened: Open, container: str, subtype: str):
    data = write_sound(TONE, 16_000, container=container, subtype=subtype)
    recording, sound = read(opened(data))
    head = recording.head
    assert (head.rate, head.channels, head.provider) == (16_000, 2, "libsndfile")
    assert sound.shape == (2, recording.frames)
    assert recording.frames == pytest.approx(16_000, rel=0.15)  # MP3 pads
    assert np.abs(sound[0]).max() == pytest.approx(10 ** (-23 / 20), rel=0.35)
    assert not recording.is_broken


@needs_ffmpeg
@pytest.mark.parametrize(
    ("container", "options"),
    [
        ("adts", ("-c:a", "aac")),
        ("matroska", ("-c:a", "libopus")),
        ("webm", ("-c:a", "libopus")),
        ("mp4", ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov")),
        ("wv", ()),
        ("tta", ()),
        ("asf", ("-c:a", "wmav2")),
        ("ac3", ("-ar", "48000")),
    ],
)
def test_what_ffmpeg_reads_is_read_by_it(opened: Open, container: str, options: tuple[str, ...]):
    recording, sound = read(opened(write_by_ffmpeg(TONE, 16_000, container, *options)))
    assert recording.head.provider == "ffmpeg"
    assert recording.head.version
    assert sound.shape[0] == 2
    assert sound.shape[1] == pytest.approx(recording.head.rate, rel=0.2)
    assert np.abs(sound[0]).max() == pytest.approx(10 ** (-23 / 20), rel=0.35)


@needs_ffmpeg
def test_a_length_that_ffmpeg_guesses_is_not_taken_for_what_is_said(opened: Open):
    recording, _ = read(opened(write_by_ffmpeg(TONE, 16_000, "adts", "-c:a", "aac")))
    assert recording.head.is_estimated
    assert not recording.is_broken
    recording, _ = read(opened(write_by_ffmpeg(TONE, 16_000, "matroska", "-c:a", "libopus")))
    assert not recording.head.is_estimated


def test_what_nothing_reads_is_refused_with_a_code(opened: Open):
    rubbish = np.random.default_rng(0).bytes(20_000)
    has_ffmpeg = shutil.which("ffmpeg") is not None
    expected = "unreadable_audio" if has_ffmpeg else "no_decoder"
    for data in (b"", b"RIFF", rubbish, b"RIFF\x10\x00\x00\x00WAVE", b"fLaC" + rubbish):
        assert refused(opened(data)) == expected


def test_without_ffmpeg_its_formats_are_refused(opened: Open, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "has_ffmpeg", lambda: False)
    assert refused(opened(b"\x1aE\xdf\xa3" + bytes(1000))) == "no_decoder"


@needs_ffmpeg
@pytest.mark.parametrize(
    "playlist",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:1/a.wav\n",
    ],
)
def test_a_list_of_other_files_is_no_recording(opened: Open, playlist: bytes):
    assert refused(opened(playlist)) == "unreadable_audio"


def test_a_recording_that_plays_too_long_is_refused(opened: Open):
    tone = make_tone(3, rate=8_000)
    assert refused(opened(write_sound(tone, 8_000)), max_seconds=2) == "too_large"
    day = lie_about_flac(tone, 8_000, 86_400)
    assert refused(opened(day), max_seconds=14_400) == "too_large"


def test_a_header_that_lies_is_found_out_by_what_is_there(opened: Open):
    tone = make_tone(3, rate=8_000)
    recording, sound = read(opened(lie_about_flac(tone, 8_000, 50)))
    assert sound.shape[1] <= 24_000
    assert recording.is_broken
    recording, sound = read(opened(lie_about_wav(tone, 8_000, 86_400)))
    assert sound.shape[1] == 24_000


def test_what_comes_before_damage_is_read(opened: Open):
    data = bytearray(write_sound(make_noise(20, rate=16_000), 16_000, container="FLAC"))
    recording, sound = read(opened(bytes(data[: len(data) // 2])))
    assert 0 < sound.shape[1] < 20 * 16_000
    assert recording.is_broken


def test_samples_are_numbers_of_a_level_that_there_is(opened: Open):
    sound = make_tone(1, rate=8_000)
    sound[0, 100:105] = (np.nan, np.inf, -np.inf, 1e30, -1e30)
    _, found = read(opened(write_sound(sound, 8_000, subtype="FLOAT")))
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= MAX_LEVEL


@pytest.mark.parametrize(("rate", "channels"), [(10, 1), (4_000_000, 1), (8_000, 200)])
def test_a_header_that_no_recording_has_is_refused(opened: Open, rate: int, channels: int):
    body = bytes(4000)
    kind = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    wav = b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + struct.pack("<I", 16) + kind
    wav += b"data" + struct.pack("<I", len(body)) + body
    assert refused(opened(wav)) == "unreadable_audio"
