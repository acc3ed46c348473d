"""Speech transcribed in children: by the model of the extra `offline`, and by pocketsphinx."""

import os
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from aletheia.adapters.audio.models import find_packaged
from aletheia.adapters.audio.transcriber import SPHINX_JOB, WHISPER_JOB, ChildTranscriber
from aletheia.adapters.children.pool import Children
from aletheia.analysis.audio_ports import AudioHead
from aletheia.analysis.audio_settings import AudioSettings, SpeechSettings
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import SpeechEnd, SpeechSegment
from aletheia.errors import AletheiaError
from tests.fakes.recordings import Sound, make_noise, make_tone, soundfile, write_sound
from tests.fakes.speech import HARBOUR, HARBOUR_WORDS, Piece

PACKAGED = find_packaged()

needs_whisper = pytest.mark.skipif(
    PACKAGED is None or find_spec("faster_whisper") is None,
    reason="the extras `speech` and `offline` are not installed",
)
needs_sphinx = pytest.mark.skipif(
    find_spec("pocketsphinx") is None, reason="the extra `speech` is not installed"
)


@pytest.fixture
async def children() -> AsyncGenerator[Children]:
    opened = Children(SpeechSettings().speech_memory_max)
    await opened.open()
    yield opened
    await opened.close()


def make_engine(children: Children, name: str) -> ChildTranscriber:
    arguments: dict[str, Any] = {"directory": str(PACKAGED), "threads": 2}
    return ChildTranscriber(
        children,
        job=WHISPER_JOB if name == "whisper" else SPHINX_JOB,
        provider=name,
        model="a model",
        languages=frozenset({"en"}),
        arguments=arguments if name == "whisper" else {},
        audio=AudioSettings(),
        speech=SpeechSettings(),
    )


async def transcribe(
    engine: ChildTranscriber, data: bytes, language: str | None = None, from_s: float = 0.0
) -> tuple[list[Piece], AletheiaError | None]:
    found: list[Piece] = []
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        fetched = FetchedFile(file.fileno(), len(data), "0" * 64, "ogg", "a file")
        pieces = engine.transcribe(fetched, language=language, from_s=from_s)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    found.append(piece)  # noqa: PERF401 - what came before an error is the point
        except AletheiaError as error:
            return found, error
    return found, None


def words_of(pieces: list[Piece]) -> set[str]:
    said = " ".join(piece.text for piece in pieces if isinstance(piece, SpeechSegment))
    return {word.strip(".,").lower().replace("harbor", "harbour") for word in said.split()} - {""}


ENGINES = [
    pytest.param("whisper", 0, marks=needs_whisper),
    pytest.param("pocketsphinx", 4, marks=needs_sphinx),
]


@pytest.mark.parametrize(("name", "may_miss"), ENGINES)
async def test_what_is_said_is_transcribed(children: Children, name: str, may_miss: int):
    pieces, error = await transcribe(make_engine(children, name), HARBOUR.read_bytes())
    assert error is None
    assert isinstance(pieces[0], AudioHead)
    assert len(HARBOUR_WORDS - words_of(pieces)) <= may_miss
    segments = [piece for piece in pieces if isinstance(piece, SpeechSegment)]
    assert all(0 <= segment.start_s < segment.end_s <= 11 for segment in segments)
    assert [segment.start_s for segment in segments] == sorted(s.start_s for s in segments)
    assert all(segment.language == "en" for segment in segments)
    assert all(-3 < (segment.log_probability or 0) <= 0 for segment in segments)
    end = pieces[-1]
    assert isinstance(end, SpeechEnd)
    assert end.duration_s == pytest.approx(10.4, abs=0.2)


@pytest.mark.parametrize(("name", "may_miss"), ENGINES)
@pytest.mark.parametrize("kind", ["silence", "tone", "noise"])
async def test_where_nobody_speaks_there_are_no_words(
    children: Children, name: str, may_miss: int, kind: str
):
    del may_miss
    sounds: dict[str, Sound] = {
        "silence": np.zeros((1, 960_000), np.float32),
        "tone": make_tone(60, rate=16_000, hertz=440),
        "noise": make_noise(60, rate=16_000),
    }
    data = write_sound(sounds[kind], 16_000, container="FLAC")
    pieces, error = await transcribe(make_engine(children, name), data)
    assert error is None
    assert words_of(pieces) == set()
    assert pieces[-1] == SpeechEnd(60.0, is_broken=False)


@needs_whisper
async def test_what_was_transcribed_before_is_not_transcribed_again(children: Children):
    engine = make_engine(children, "whisper")
    pieces, _ = await transcribe(engine, HARBOUR.read_bytes(), from_s=7.5)
    found = words_of(pieces)
    assert "train" in found
    assert "morning" not in found
    segments = [piece for piece in pieces if isinstance(piece, SpeechSegment)]
    assert all(7.5 <= segment.start_s < segment.end_s <= 11 for segment in segments)


@needs_whisper
async def test_a_language_that_the_model_does_not_know_is_refused(children: Children):
    _, error = await transcribe(make_engine(children, "whisper"), HARBOUR.read_bytes(), "de")
    assert error is not None
    assert error.code == "unsupported_language"


@needs_whisper
async def test_what_a_killed_child_had_said_is_there(children: Children):
    engine = make_engine(children, "whisper")
    # A window of the model is 30 s: when the first one is here, others are still to be heard.
    sound, rate = soundfile.read(HARBOUR, dtype="float32")
    spoken = write_sound(np.tile(sound, 12)[np.newaxis], rate)
    await transcribe(engine, HARBOUR.read_bytes())
    (pid,) = children.idle_pids
    found: list[Piece] = []
    with tempfile.TemporaryFile() as file:
        file.write(spoken)
        file.flush()
        fetched = FetchedFile(file.fileno(), len(spoken), "0" * 64, "wav", "a file")
        pieces = engine.transcribe(fetched)
        with pytest.raises(AletheiaError) as died:
            async with aclosing(pieces):
                async for piece in pieces:
                    found.append(piece)
                    if isinstance(piece, SpeechSegment):
                        os.kill(pid, signal.SIGKILL)
    assert died.value.code == "decoder_died"
    assert any(isinstance(piece, SpeechSegment) for piece in found)


@pytest.mark.parametrize(("name", "may_miss"), ENGINES)
async def test_what_is_no_recording_has_its_code(children: Children, name: str, may_miss: int):
    del may_miss
    _, error = await transcribe(make_engine(children, name), b"RIFF" + bytes(100))
    assert error is not None
    assert error.code in ("unreadable_audio", "no_decoder")
