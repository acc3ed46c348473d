"""Recordings cut into parts in children."""

import io
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from aletheia.adapters.audio.cutter import ChildCutter, SoundPart
from aletheia.adapters.children.pool import Children
from aletheia.analysis.audio_ports import AudioHead
from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import SpeechEnd, SpeechProgress
from aletheia.errors import InvalidTask
from tests.fakes.recordings import make_tone, write_sound


@pytest.fixture
async def cutter() -> AsyncGenerator[ChildCutter]:
    settings = AudioSettings()
    children = Children(settings.audio_memory_max)
    await children.open()
    yield ChildCutter(children, settings)
    await children.close()


async def cut(cutter: ChildCutter, data: bytes, from_s: float = 0.0) -> list[Any]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        fetched = FetchedFile(file.fileno(), len(data), "0" * 64, "wav", "a file")
        async with aclosing(cutter.cut(fetched, from_s)) as pieces:
            return [piece async for piece in pieces]


async def test_a_recording_comes_as_its_head_its_parts_and_its_end(cutter: ChildCutter):
    soundfile: Any = import_module("soundfile")  # which has no types
    head, part, end = await cut(cutter, write_sound(make_tone(3, rate=48_000, hertz=440), 48_000))
    assert isinstance(head, AudioHead)
    assert isinstance(part, SoundPart)
    assert (head.rate, part.begin_s, part.seconds) == (48_000, 0.0, 3.0)
    sound, rate = soundfile.read(io.BytesIO(part.flac))
    assert (rate, sound.shape) == (16_000, (48_000,))
    assert end == SpeechEnd(3.0, False)


async def test_silence_is_passed_over_and_said(cutter: ChildCutter):
    silence = write_sound(np.zeros((1, 80_000), np.float32), 16_000)
    _, progress, end = await cut(cutter, silence, 1.0)
    assert progress == SpeechProgress(5.0)
    assert end == SpeechEnd(5.0, False)


async def test_what_is_no_recording_is_said_to_be_none(cutter: ChildCutter):
    with pytest.raises(InvalidTask) as refused:
        await cut(cutter, b"this is no recording" * 100)
    assert refused.value.code == "unreadable_audio"
