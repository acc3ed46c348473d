"""The task type `speech_to_text`."""

import math
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from aletheia.analysis.processor import Finished
from aletheia.analysis.speech_ports import SpeechEnd
from aletheia.analysis.speech_to_text import SpeechToText, SpeechToTextResult
from aletheia.analysis.transcripts import TranscriptCollector
from aletheia.errors import ComputeFailed, InvalidTask
from tests.fakes.files import FakeFetcher
from tests.fakes.recordings import write_sound
from tests.fakes.samples import make_docx
from tests.fakes.speech import HEAD, ScriptedEngine, say

FILES = {"a.wav": write_sound(np.zeros((1, 800), np.float32), 8_000), "a.docx": make_docx()}
END = SpeechEnd(60.0, is_broken=False)
ENGLISH = frozenset({"en"})


def build(*engines: ScriptedEngine) -> SpeechToText:
    return SpeechToText(FakeFetcher(FILES), TranscriptCollector(engines))


async def compute(processor: SpeechToText, **task_input: Any) -> Finished:
    given = {"audio_file": "a.wav", **task_input}
    async with aclosing(processor.process(processor.admit(given), [given])) as results:
        (found,) = [answer async for answers in results for answer in answers]
    return found


def result_of(answer: Finished) -> dict[str, Any]:
    assert answer.error is None
    found = dict(answer.result or {})
    SpeechToTextResult.model_validate(found)
    return found


async def test_what_is_said_is_reported_with_its_times():
    engine = ScriptedEngine([HEAD, say(0, "Good morning.", -0.2), say(20, "Bye.", -0.4), END])
    answer = await compute(build(engine))
    found = result_of(answer)
    assert found["transcription"] == "Good morning. Bye."
    assert found["segments"] == [
        {"start": 0.0, "end": 5.0, "text": "Good morning."},
        {"start": 20.0, "end": 25.0, "text": "Bye."},
    ]
    assert found["confidence"] == pytest.approx(math.exp(-0.3), abs=1e-4)
    assert (found["language"], found["language_assumed"]) == ("en", False)
    assert (found["provider"], found["model"]) == ("scripted", "words 1")
    assert answer.record == {
        "seconds": 60.0,
        "chars": 18,
        "provider": "scripted",
        "model": "words 1",
    }


async def test_where_nobody_speaks_nothing_is_said():
    found = result_of(await compute(build(ScriptedEngine([HEAD, END]))))
    assert (found["transcription"], found["segments"]) == ("", [])
    assert (found["language"], found["confidence"]) == (None, None)


@pytest.mark.parametrize(("language", "assumed"), [("auto", True), ("en", False), ("EN-us", False)])
async def test_a_language_that_was_not_found_out_is_said_to_be_assumed(
    language: str, assumed: bool
):
    engine = ScriptedEngine([HEAD, say(0, "Hello."), END], languages=ENGLISH)
    found = result_of(await compute(build(engine), language=language))
    assert (found["language"], found["language_assumed"]) == ("en", assumed)
    assert engine.asked == [(None if language == "auto" else "en", 0.0)]


@pytest.mark.parametrize(
    ("engines", "task_input", "code"),
    [
        ((), {}, "no_speech_engine"),
        ((ScriptedEngine([], languages=ENGLISH),), {"language": "de"}, "unsupported_language"),
        ((ScriptedEngine([]),), {"language": "deutsch!"}, "invalid_language"),
        ((ScriptedEngine([]),), {"audio_file": "a b.wav"}, "invalid_file"),
        ((ScriptedEngine([]),), {"audio_file": None}, "missing_audio_file"),
    ],
)
def test_what_cannot_be_done_is_found_out_before_any_work(
    engines: Sequence[ScriptedEngine], task_input: dict[str, Any], code: str
):
    with pytest.raises(InvalidTask) as refused:
        build(*engines).admit({"audio_file": "a.wav", **task_input})
    assert refused.value.code == code


async def test_an_error_is_that_of_its_task():
    died = ComputeFailed("decoder_died", "it died")
    answer = await compute(build(ScriptedEngine([HEAD, died])))
    assert answer.error is died
    answer = await compute(build(ScriptedEngine([])), audio_file="a.docx")
    assert answer.error is not None
    assert answer.error.code == "wrong_type"
