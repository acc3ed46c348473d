"""The tasks of workers that the example upstream lists."""

import pytest

from aletheia.analysis.built_in import BUILT_IN
from aletheia.analysis.inputs import read_input
from aletheia.analysis.processor import spec_of
from aletheia.intake.parsing import parse_page
from deployments.examples.worker_tasks import WorkerExample, read_media, worker_examples

EXAMPLES = worker_examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.task.entry["task_type"])
def test_an_example_is_a_task_of_its_lane(example: WorkerExample):
    entry = example.task.entry
    spec = spec_of(BUILT_IN[entry["task_type"]])
    assert spec.lane == example.lane
    read_input(spec.input, entry["input_data"])
    page = parse_page([entry], max_entry_bytes=2_000_000)
    assert len(page.entries) == 1


def test_no_two_have_one_id():
    assert len({example.task.id for example in EXAMPLES}) == len(EXAMPLES)


def test_media_stands_in_the_task():
    assert read_media("harbour.ogg", "audio/ogg").startswith("data:audio/ogg;base64,T2dnUw")


def test_what_is_not_in_the_recording_is_not_true():
    speech = next(e for e in EXAMPLES if e.task.entry["task_type"] == "speech_to_text")
    assert speech.is_true({"transcription": "The harbor stores grain."})
    assert not speech.is_true({"transcription": ""})


def test_a_summary_must_stand_in_the_text_and_be_as_short_as_asked():
    of_text = next(e for e in EXAMPLES if e.task.entry["task_type"] == "text_summarization")
    text = of_text.task.entry["input_data"]["text"]
    place = {"text": text[:30], "start": 0, "end": 30}
    assert of_text.is_true({"sentences": [place], "summary_length": 30})
    assert not of_text.is_true({"sentences": [{**place, "end": 20}], "summary_length": 20})
    assert not of_text.is_true({"sentences": [place], "summary_length": 300})


def test_another_sentiment_or_translation_is_not_true():
    by_type = {example.task.entry["task_type"]: example for example in EXAMPLES}
    assert not by_type["sentiment_analysis"].is_true({"sentiment": "neutral"})
    assert not by_type["translation"].is_true({"translation": "Nothing."})
    assert by_type["translation"].is_true({"translation": "It has nine silos."})
