"""The task type `multimodal_analysis`."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from aletheia.analysis.document_text import DocumentCollector
from aletheia.analysis.fused_result import MultimodalAnalysisResult
from aletheia.analysis.multimodal_analysis import MultimodalAnalysis
from aletheia.analysis.other_types import OtherTypes
from aletheia.analysis.ports import DocumentHead, Page
from aletheia.analysis.processor import Finished, Processor
from aletheia.analysis.registry import Processors
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.tools import WorkerChat
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask, Unavailable
from tests.fakes.chat import ScriptedChat
from tests.fakes.files import FakeFetcher, ScriptedReader
from tests.fakes.samples import make_pdf

TEXT = (
    "The new plant will employ 120 people in Dresden. We are delighted with how fast it grows. "
    "The mayor opens the plant on Monday."
)
PAGES = (
    Page(1, "Annual report of the works council. Staff numbers are on the next page."),
    Page(2, "The new plant will employ 210 people in Dresden. The plant is a sad affair."),
)
SPOKEN = {
    "transcription": "The mayor opens the plant on Friday. Thank you for listening to us today.",
    "language": "en",
    "confidence": 0.5,
    "segments": [
        {"start": 0.0, "end": 3.0, "text": "The mayor opens the plant on Friday."},
        {"start": 3.0, "end": 6.0, "text": "Thank you for listening to us today."},
    ],
    "provider": "whisper",
    "model": "tiny",
}
FILES = {"report": make_pdf(["one", "two"]), "picture": b"\x89PNG\r\n\x1a\n"}


class Scripted:
    """A processor that answers with what it was given, after a while."""

    def __init__(self, answer: Mapping[str, Any] | AletheiaError, *, after_s: float = 0) -> None:
        self._answer, self._after_s = answer, after_s
        self.inputs: list[Mapping[str, Any]] = []

    def admit(self, task_input: Mapping[str, Any]) -> str:
        del task_input
        return ""

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        del group
        self.inputs += inputs
        await asyncio.sleep(self._after_s)
        if isinstance(self._answer, AletheiaError):
            yield [Finished(0, error=self._answer)]
        else:
            yield [Finished(0, self._answer, usage={"tokens": 5})]


class Mood(Scripted):
    """Finds a text sad that says so, and happy otherwise."""

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        del group
        self.inputs += inputs
        mood = "negative" if "sad" in inputs[0]["text"] else "positive"
        yield [Finished(0, {"sentiment": mood, "confidence": 0.9, "emotions": {"joy": 0.1}})]


def build(
    *,
    chat: ScriptedChat | None = None,
    pages: Sequence[Page | AletheiaError] = PAGES,
    **types: Processor,
) -> MultimodalAnalysis:
    async def find() -> Processors:
        return Processors(types)

    return MultimodalAnalysis(
        FakeFetcher(FILES),
        DocumentCollector(ScriptedReader(DocumentHead("pdf", 2), pages)),
        OtherTypes(find),
        WorkerSettings(),
        chat=None if chat is None else WorkerChat(chat, "m"),
    )


async def compute(processor: MultimodalAnalysis, **task_input: Any) -> Finished:
    group = processor.admit(task_input)
    async with aclosing(processor.process(group, [task_input])) as results:
        (answer,) = [answer async for answers in results for answer in answers]
    return answer


async def result_of(processor: MultimodalAnalysis, **task_input: Any) -> dict[str, Any]:
    answer = await compute(processor, **task_input)
    assert answer.error is None, answer.error
    found = dict(answer.result or {})
    MultimodalAnalysisResult.model_validate(found)
    return found


def conflicts_of(found: Mapping[str, Any]) -> list[tuple[str, str, str, str | None]]:
    return [
        (claim["kind"], *(place["modality"] for place in claim["places"]), claim["difference"])
        for claim in found["fused_analysis"]["conflicts"]
    ]


async def test_what_modalities_conflict_in_is_named_with_where_each_stands():
    found = await result_of(
        build(speech_to_text=Scripted(SPOKEN), sentiment_analysis=Mood({})),
        text=TEXT,
        audio="call.wav",
        document="report",
    )
    assert conflicts_of(found) == [
        ("statement", "text", "audio", "date"),
        ("statement", "text", "document", "number"),
        ("polarity", "text", "document", None),
        ("polarity", "audio", "document", None),
    ]
    date, number = found["fused_analysis"]["conflicts"][:2]
    assert (date["places"][1]["start_s"], date["places"][1]["end_s"]) == (0.0, 3.0)
    assert number["places"][1]["page"] == 2
    start, end = number["places"][0]["start"], number["places"][0]["end"]
    assert TEXT[start:end] == number["places"][0]["quote"]
    document = found["modalities"]["document"]
    assert (document["page_count"], document["confidence"]) == (2, 1.0)
    assert found["modalities"]["audio"]["transcription"].startswith("The mayor")


async def test_confidence_is_weighted_by_what_each_contributed():
    found = await result_of(
        build(speech_to_text=Scripted(SPOKEN), sentiment_analysis=Mood({})),
        text=TEXT,
        audio="call.wav",
    )
    text, audio = found["modalities"]["text"], found["modalities"]["audio"]
    assert text["contribution"] + audio["contribution"] == pytest.approx(1)
    expected = 0.9 * text["contribution"] + 0.5 * audio["contribution"]
    assert found["confidence"] == pytest.approx(expected)
    assert 0.5 < found["confidence"] < 0.9


async def test_without_a_confidence_there_is_none():
    found = await result_of(build(), text=TEXT)
    assert found["confidence"] is None
    assert found["modalities"]["text"]["lacking"] == {"sentiment_analysis": "unknown_type"}
    assert found["modalities"]["audio"] is None


async def test_a_modality_whose_type_is_not_there_fails_alone():
    found = await result_of(build(), text=TEXT, audio="call.wav", document="report")
    assert found["modalities"]["audio"]["error"]["code"] == "unknown_type"
    assert conflicts_of(found) == [("statement", "text", "document", "number")]


async def test_a_recording_without_words_has_its_sound():
    processor = build(
        speech_to_text=Scripted(ComputeFailed("decoder_died", "it died")),
        audio_analysis=Scripted({"duration": 6.0, "loudness": -23.0}),
    )
    found = await result_of(processor, text=TEXT, audio="call.wav")
    audio = found["modalities"]["audio"]
    assert audio["error"] is None
    assert audio["sound"] == {"duration": 6.0, "loudness": -23.0}
    assert audio["lacking"] == {"speech_to_text": "decoder_died"}


@pytest.mark.parametrize("address", ["nowhere", "picture"])
async def test_a_document_that_cannot_be_read_leaves_the_text(address: str):
    found = await result_of(build(), text=TEXT, document=address)
    error = found["modalities"]["document"]["error"]
    assert error["code"] == {"nowhere": "file_not_found", "picture": "wrong_type"}[address]
    assert found["modalities"]["document"]["contribution"] == 0
    assert found["fused_analysis"]["summary"]


async def test_pages_that_were_lost_lower_the_confidence():
    pages = [PAGES[0], Page(2, "", fault="decoder_died")]
    found = await result_of(build(pages=pages), document="report")
    assert found["modalities"]["document"]["lost_pages"] == {"2": "decoder_died"}
    assert found["confidence"] == 0.5


@pytest.mark.parametrize(
    ("speech", "code", "retryable"),
    [
        (InvalidTask("wrong_type", "no sound"), "all_modalities_failed", False),
        (ComputeFailed("decoder_died", "it died"), "all_modalities_failed", True),
    ],
)
async def test_where_all_fail_the_task_does(speech: AletheiaError, code: str, retryable: bool):
    processor = build(speech_to_text=Scripted(speech))
    answer = await compute(processor, audio="call.wav", document="nowhere")
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable) == (code, retryable)


async def test_the_only_modality_fails_with_its_own_code():
    answer = await compute(build(), document="nowhere")
    assert answer.error is not None
    assert answer.error.code == "file_not_found"


async def test_an_outage_lets_the_whole_task_wait():
    processor = build(speech_to_text=Scripted(Unavailable("openai", "it is down")))
    with pytest.raises(Unavailable):
        await compute(processor, text=TEXT, audio="call.wav")


async def test_modalities_are_read_at_once():
    slow = Scripted(SPOKEN, after_s=0.3)
    processor = build(
        speech_to_text=slow,
        audio_analysis=Scripted({}, after_s=0.3),
        sentiment_analysis=Scripted({"sentiment": "neutral", "confidence": 0.8}, after_s=0.3),
    )
    began = asyncio.get_running_loop().time()
    await result_of(processor, text=TEXT, audio="call.wav", document="report")
    # The sentiment of what is said can only follow its transcription.
    assert asyncio.get_running_loop().time() - began < 0.85


async def test_the_language_of_the_recording_is_passed_on():
    speech = Scripted(SPOKEN)
    await result_of(build(speech_to_text=speech), audio="call.wav", language="de")
    assert speech.inputs == [{"audio_file": "call.wav", "language": "de"}]


async def test_a_model_writes_the_account_as_far_as_it_can_be_checked():
    answer = {
        "summary": [
            {"text": "A plant opens in Dresden.", "refs": ["T1", "D1"]},
            {"text": "It costs 3 million.", "refs": ["T1"]},
        ],
        "agreements": [{"text": "There is a plant.", "refs": ["T3", "D3"]}],
        "conflicts": [{"text": "All is well.", "refs": ["T1", "T9"]}],
    }
    chat = ScriptedChat(json.dumps(answer))
    found = await result_of(build(chat=chat), text=TEXT, document="report")
    fused = found["fused_analysis"]
    assert fused["summary"] == "A plant opens in Dresden."
    assert (fused["extractive"], fused["dropped"]) == (False, 2)
    assert [claim["kind"] for claim in fused["agreements"]][-1] == "model"
    assert conflicts_of(found) == [("statement", "text", "document", "number")]
    assert (found["provider"], found["model"]) == ("scripted", "m-2026")


async def test_a_model_that_fails_leaves_what_rules_find():
    found = await result_of(build(chat=ScriptedChat("no")), text=TEXT, document="report")
    assert found["fused_analysis"]["fallback"] == "not_json"
    assert found["fused_analysis"]["extractive"] is True
    assert conflicts_of(found)


async def test_every_sentence_of_the_account_stands_where_it_says():
    found = await result_of(build(), text=TEXT, document="report")
    texts = {"text": TEXT, "document": "\n\n".join(page.text for page in PAGES)}
    for part in found["fused_analysis"]["sentences"]:
        (place,) = part["places"]
        assert texts[place["modality"]][place["start"] : place["end"]] == place["quote"]


@pytest.mark.parametrize(
    ("task_input", "code"),
    [
        ({}, "invalid_input"),
        ({"text": "  "}, "empty_text"),
        ({"text": 7}, "invalid_text"),
        ({"audio": ""}, "invalid_audio"),
        ({"document": "a b"}, "invalid_file"),
        ({"text": "x" * 1_000_001}, "input_too_long"),
    ],
)
async def test_an_input_that_makes_no_sense_is_found_out_before_any_work(
    task_input: dict[str, Any], code: str
):
    with pytest.raises(InvalidTask) as raised:
        build().admit(task_input)
    assert raised.value.code == code


@pytest.mark.parametrize("text", ["🙂🙂🙂", "שלום עולם, מה שלומך היום?", "a" * 100_000])
async def test_any_text_has_an_analysis(text: str):
    found = await result_of(build(), text=text, document="report")
    assert found["modalities"]["text"]["length"] == len(text)


async def test_a_text_without_a_word_has_an_analysis_without_an_account():
    found = await result_of(build(), text="🙂🙂🙂")
    assert found["fused_analysis"]["summary"] == ""
    assert found["confidence"] is None
