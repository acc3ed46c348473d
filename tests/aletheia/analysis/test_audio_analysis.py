"""The task type `audio_analysis`."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from aletheia.adapters.audio.analyser import ChildAnalyser
from aletheia.adapters.children.pool import Children
from aletheia.analysis.audio_analysis import AudioAnalysis, AudioAnalysisResult
from aletheia.analysis.audio_ports import AudioHead, Measured
from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.processor import Finished
from aletheia.analysis.time_limits import next_within
from aletheia.errors import InvalidTask, TooSlow
from tests.fakes.files import FakeFetcher, MemoryCache
from tests.fakes.recordings import lie_about_flac, make_beats, make_tone, write_sound
from tests.fakes.samples import make_docx

FILES = {
    "beats.ogg": write_sound(make_beats(12, 120), 22_050, container="OGG"),
    "silence.flac": write_sound(np.zeros((2, 8000), np.float32), 8_000, container="FLAC"),
    "day.flac": lie_about_flac(make_tone(1, rate=8_000), 8_000, 86_400),
    "cut.wav": write_sound(make_tone(1, rate=8_000), 8_000)[:43],
    "empty.wav": b"",
    "a.docx": make_docx(),
    "playlist.m3u8": b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n",
}


@pytest.fixture
async def processor() -> AsyncGenerator[AudioAnalysis]:
    children = Children(AudioSettings().audio_memory_max)
    await children.open()
    yield AudioAnalysis(FakeFetcher(FILES), ChildAnalyser(children, AudioSettings()))
    await children.close()


async def compute(processor: AudioAnalysis, *files: str) -> Sequence[Finished]:
    inputs = [{"audio_file": file} for file in files]
    groups = {processor.admit(task_input) for task_input in inputs}
    async with aclosing(processor.process(groups.pop(), inputs)) as results:
        return [answer async for answers in results for answer in answers]


async def test_a_recording_is_described(processor: AudioAnalysis):
    (answer,) = await compute(processor, "beats.ogg")
    assert answer.error is None
    found: dict[str, Any] = dict(answer.result or {})
    AudioAnalysisResult.model_validate(found)
    assert found["duration"] == pytest.approx(12, abs=0.01)
    assert (found["sample_rate"], found["channels"]) == (22_050, 1)
    assert -40 < found["loudness"] < -10
    features = found["spectral_features"]
    assert features["tempo"]["bpm"] == pytest.approx(120, rel=0.02)
    assert 0.5 < features["tempo"]["certainty"] <= 1
    assert features["centroid"]["mean"] == pytest.approx(5500, rel=0.2)
    assert features["flatness"]["mean"] > 0.3
    assert found["provider"] == "libsndfile"
    assert found["model"].startswith("libsndfile 1.")
    assert found["format"] == "ogg/vorbis"
    assert found["truncated"] is False
    assert answer.record == {
        "seconds": round(found["duration"], 3),
        "provider": "libsndfile",
        "model": found["model"],
    }


async def test_what_silence_does_not_have_is_null(processor: AudioAnalysis):
    (answer,) = await compute(processor, "silence.flac")
    found: dict[str, Any] = dict(answer.result or {})
    assert found["duration"] == 1.0
    assert (found["loudness"], found["loudness_range"], found["true_peak"]) == (None, None, None)
    assert found["spectral_features"]["tempo"] is None
    assert found["spectral_features"]["centroid"] is None


async def test_the_same_content_is_measured_once(processor: AudioAnalysis):
    counting = CountingAnalyser(processor)
    cached = AudioAnalysis(FakeFetcher(FILES), counting, MemoryCache())
    (first,) = await compute(cached, "beats.ogg")
    (second,) = await compute(cached, "beats.ogg")
    assert first.result == second.result
    assert counting.times == 1


async def test_each_input_has_its_own_answer(processor: AudioAnalysis):
    names = ("a.docx", "none.wav", "playlist.m3u8", "empty.wav", "day.flac", "cut.wav", "beats.ogg")
    answers = await compute(processor, *names)
    codes = [answer.error.code if answer.error else None for answer in answers]
    assert codes[:5] == ["wrong_type", "file_not_found", "wrong_type", "wrong_type", "too_large"]
    assert codes[5] in ("unreadable_audio", "no_decoder")
    assert codes[6] is None


@pytest.mark.parametrize(
    ("task_input", "code"),
    [
        ({}, "missing_audio_file"),
        ({"audio_file": ""}, "invalid_audio_file"),
        ({"audio_file": "a b.wav"}, "invalid_file"),
    ],
)
def test_an_input_without_a_file_is_found_out_before_any_work(
    task_input: dict[str, Any], code: str
):
    processor = AudioAnalysis(FakeFetcher({}), SlowAnalyser(1, 0))
    with pytest.raises(InvalidTask) as refused:
        processor.admit(task_input)
    assert refused.value.code == code


class CountingAnalyser:
    """Measures as the analyser of a processor does, and counts how often."""

    def __init__(self, processor: AudioAnalysis) -> None:
        self._analyser = processor._recordings  # pyright: ignore[reportPrivateUsage] - the real one
        self.times = 0

    async def analyse(self, file: FetchedFile) -> AsyncGenerator[AudioHead | Measured]:
        """Measure a recording."""
        self.times += 1
        async with aclosing(self._analyser.analyse(file)) as pieces:
            async for piece in pieces:
                yield piece


class SlowAnalyser:
    """Says at once how long a recording plays, and takes a while."""

    def __init__(self, plays_s: float, takes_s: float) -> None:
        self._plays_s, self._takes_s = plays_s, takes_s

    async def analyse(self, file: FetchedFile) -> AsyncGenerator[AudioHead | Measured]:
        """Yield a head, and something much later."""
        assert file.descriptor > 0
        yield AudioHead(8_000, 1, self._plays_s, "wav/pcm_16", "libsndfile", "1")
        await asyncio.sleep(self._takes_s)
        nothing = (None,) * 10
        yield Measured(self._plays_s, False, *nothing)


@pytest.mark.parametrize(("plays_s", "is_enough"), [(0.01, False), (1.0, True)])
async def test_a_long_recording_is_given_four_times_its_playing_time(
    plays_s: float, is_enough: bool
):
    processor = AudioAnalysis(FakeFetcher(FILES), SlowAnalyser(plays_s, 0.5))
    async with aclosing(processor.process("", [{"audio_file": "beats.ogg"}])) as results:
        if is_enough:
            answers = await next_within(results, 0.1, "a recording")
            assert answers is not None
            assert answers[0].error is None
        else:
            with pytest.raises(TooSlow):
                await next_within(results, 0.1, "a recording")
