"""Transcripts, collected segment by segment."""

import math
import tempfile
from collections.abc import Iterator

import pytest

from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import SpeechEnd, SpeechProgress, SpeechSegment
from aletheia.analysis.transcripts import Transcript, TranscriptCollector
from aletheia.errors import ComputeFailed, InvalidTask
from tests.fakes.files import MemoryCache
from tests.fakes.speech import HEAD, ScriptedEngine, say

END = SpeechEnd(60.0, is_broken=False)


@pytest.fixture
def file() -> Iterator[FetchedFile]:
    with tempfile.TemporaryFile() as opened:
        yield FetchedFile(opened.fileno(), 1, "a" * 64, "ogg", "a file")


async def test_segments_become_a_text(file: FetchedFile):
    engine = ScriptedEngine([HEAD, say(0, "Good morning."), say(8, ""), say(20, "Bye."), END])
    found = await TranscriptCollector([engine]).collect(file, engine, None)
    assert found.text == "Good morning. Bye."
    assert found.duration_s == 60.0
    assert found.is_whole


def test_the_confidence_is_the_mean_by_the_length_of_segments():
    long, short = SpeechSegment(0, 9, "a", -0.1, "en"), SpeechSegment(9, 10, "b", -1.1, "en")
    assert Transcript([long, short]).confidence == pytest.approx(math.exp(-0.2))
    assert Transcript([SpeechSegment(0, 9, "a", None, "en"), short]).confidence == pytest.approx(
        math.exp(-1.1)
    )
    assert Transcript([SpeechSegment(0, 9, "a", None, "en")]).confidence is None
    assert Transcript().confidence is None


def test_the_language_is_the_one_that_is_spoken_longest():
    segments = [say(0, "a", language="fr"), say(5, "b", language="en"), say(9, "c", language="en")]
    assert Transcript(segments).language == "en"
    assert Transcript().language is None


async def test_another_attempt_goes_on_behind_what_was_transcribed(file: FetchedFile):
    cache = MemoryCache()
    died = ComputeFailed("decoder_died", "it died")
    engine = ScriptedEngine([HEAD, say(0, "one"), say(10, "two"), died, say(20, "three"), END])
    collector = TranscriptCollector([engine], cache=cache)
    with pytest.raises(ComputeFailed):
        await collector.collect(file, engine, None)
    found = await TranscriptCollector([engine], cache=cache).collect(file, engine, None)
    assert engine.asked == [(None, 0.0), ("en", 15.0)]
    assert found.text == "one two three"


async def test_silence_that_was_heard_is_not_heard_again(file: FetchedFile):
    cache = MemoryCache()
    died = ComputeFailed("too_slow", "it hung")
    engine = ScriptedEngine([HEAD, SpeechProgress(300.0), died, say(310, "late"), END])
    collector = TranscriptCollector([engine], cache=cache)
    with pytest.raises(ComputeFailed):
        await collector.collect(file, engine, None)
    found = await collector.collect(file, engine, None)
    assert engine.asked[-1] == (None, 300.0)
    assert found.text == "late"


async def test_what_is_whole_is_not_transcribed_again(file: FetchedFile):
    cache = MemoryCache()
    engine = ScriptedEngine([HEAD, say(0, "one"), END])
    collector = TranscriptCollector([engine], cache=cache)
    first = await collector.collect(file, engine, None)
    assert await collector.collect(file, engine, None) == first
    assert len(engine.asked) == 1
    await collector.collect(file, engine, "en")
    assert engine.asked[-1] == ("en", 0.0)


async def test_an_engine_that_does_not_end_has_failed(file: FetchedFile):
    engine = ScriptedEngine([HEAD, say(0, "one")])
    with pytest.raises(ComputeFailed):
        await TranscriptCollector([engine]).collect(file, engine, None)


def test_the_first_engine_that_knows_the_language_is_chosen():
    english = ScriptedEngine([], languages=frozenset({"en"}))
    any_language = ScriptedEngine([], languages=None)
    collector = TranscriptCollector([english, any_language])
    assert collector.choose(None) is english
    assert collector.choose("en") is english
    assert collector.choose("sw") is any_language


@pytest.mark.parametrize(
    ("engines", "code"),
    [
        ([], "no_speech_engine"),
        ([ScriptedEngine([], languages=frozenset({"en"}))], "unsupported_language"),
    ],
)
def test_where_no_engine_can_it_is_said(engines: list[ScriptedEngine], code: str):
    with pytest.raises(InvalidTask) as refused:
        TranscriptCollector(engines).choose("de")
    assert refused.value.code == code
