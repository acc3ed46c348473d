"""Recordings measured in children."""

import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import pytest

from aletheia.adapters.audio.analyser import ChildAnalyser
from aletheia.adapters.children.pool import Children
from aletheia.analysis.audio_ports import AudioHead, Measured
from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.ports import FetchedFile
from aletheia.errors import AletheiaError
from tests.fakes.recordings import lie_about_flac, make_music, make_tone, write_sound


@pytest.fixture
async def children() -> AsyncGenerator[Children]:
    opened = Children(AudioSettings().audio_memory_max)
    await opened.open()
    yield opened
    await opened.close()


async def analyse(
    children: Children, data: bytes, **settings: float
) -> tuple[list[AudioHead | Measured], AletheiaError | None]:
    analyser = ChildAnalyser(children, AudioSettings(**settings))  # pyright: ignore[reportArgumentType] - numbers
    found: list[AudioHead | Measured] = []
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        fetched = FetchedFile(file.fileno(), len(data), "0" * 64, "wav", "a file")
        try:
            async with aclosing(analyser.analyse(fetched)) as pieces:
                async for piece in pieces:
                    found.append(piece)  # noqa: PERF401 - what came before an error is the point
        except AletheiaError as error:
            return found, error
    return found, None


async def test_a_recording_is_measured(children: Children):
    (head, measured), error = await analyse(children, write_sound(make_music(20), 48_000))
    assert error is None
    assert isinstance(head, AudioHead)
    assert isinstance(measured, Measured)
    assert (head.rate, head.channels, head.declared_s) == (48_000, 2, 20.0)
    assert measured.duration_s == 20.0
    assert not measured.is_broken
    assert measured.loudness_lufs is not None
    assert -25 < measured.loudness_lufs < -10
    assert measured.loudness_range_lu is not None
    assert measured.loudness_range_lu > 1
    assert measured.true_peak_dbtp is not None
    assert -12 < measured.true_peak_dbtp < 1
    assert measured.tempo_bpm == pytest.approx(100, rel=0.02)
    assert measured.centroid_hz is not None
    assert 500 < measured.centroid_hz.mean < 20_000


async def test_silence_is_measured_as_having_nothing(children: Children):
    silence = np.zeros((1, 48_000), np.float32)
    (_, measured), error = await analyse(children, write_sound(silence, 48_000))
    assert error is None
    assert isinstance(measured, Measured)
    assert (measured.loudness_lufs, measured.true_peak_dbtp) == (None, None)
    assert (measured.centroid_hz, measured.tempo_bpm) == (None, None)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (write_sound(make_tone(3, rate=8_000), 8_000)[:40], "unreadable_audio"),
        (lie_about_flac(make_tone(1, rate=8_000), 8_000, 86_400), "too_large"),
    ],
)
async def test_what_cannot_be_measured_has_its_code(children: Children, data: bytes, code: str):
    found, error = await analyse(children, data)
    assert not any(isinstance(piece, Measured) for piece in found)
    assert error is not None
    assert error.code in (code, "no_decoder")


async def test_what_takes_too_much_processor_time_is_too_slow(children: Children):
    long = write_sound(make_tone(1800, rate=48_000), 48_000, container="FLAC")
    _, error = await analyse(children, long, audio_processor_seconds=2)
    assert error is not None
    assert error.code == "too_slow"
    (_, measured), error = await analyse(children, write_sound(make_tone(1), 48_000))
    assert error is None
    assert isinstance(measured, Measured)
