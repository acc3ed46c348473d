"""The task type `document_summarization`."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from aletheia.adapters.children.pool import Children
from aletheia.adapters.decoding.reader import ChildReader
from aletheia.adapters.mock.chat import MockChat
from aletheia.analysis.document_summarization import (
    DocumentSummarization,
    DocumentSummarizationResult,
)
from aletheia.analysis.document_text import DocumentCollector
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.processor import Finished
from aletheia.analysis.tools import WorkerChat
from aletheia.errors import InvalidTask
from tests.fakes.chat import ScriptedChat
from tests.fakes.files import FakeFetcher
from tests.fakes.samples import make_docx, make_html, make_markdown, make_pdf, make_text, sentences

FILES = {
    "pdf": make_pdf([sentences(20), sentences(20, 20)]),
    "docx": make_docx(),
    "html": make_html(),
    "markdown": make_markdown(),
    "text": make_text(),
    "picture": make_pdf(["", ""], pictures=(1, 2)),
    "sound": b"RIFF\0\0\0\0WAVEfmt ",
}


@pytest.fixture
async def documents() -> AsyncGenerator[DocumentCollector]:
    children = Children(1_000_000_000)
    await children.open()
    yield DocumentCollector(ChildReader(children, DecoderSettings(), wall_s=30))
    await children.close()


async def compute(processor: DocumentSummarization, **task_input: Any) -> Finished:
    group = processor.admit(task_input)
    async with aclosing(processor.process(group, [task_input])) as results:
        (answer,) = [answer async for answers in results for answer in answers]
    return answer


def result_of(answer: Finished) -> dict[str, Any]:
    assert answer.error is None
    found = dict(answer.result or {})
    DocumentSummarizationResult.model_validate(found)
    return found


@pytest.mark.parametrize("type_", ["pdf", "docx", "html", "markdown", "text"])
@pytest.mark.parametrize("is_named", [True, False])
async def test_every_type_is_summarised_by_its_own_sentences(
    documents: DocumentCollector, type_: str, is_named: bool
):
    processor = DocumentSummarization(FakeFetcher(FILES), documents)
    named = {"document_type": type_} if is_named else {}
    found = result_of(await compute(processor, document_file=type_, **named))
    assert found["document_type"] == type_
    assert found["extractive"] is True
    assert found["provider"] == "extractive"
    assert found["summary"] == found["summaries"]["medium"]
    assert found["summary_length"] == len(found["summary"])
    assert found["original_length"] > found["summary_length"] or type_ != "pdf"
    assert found["language"] == "en"
    assert found["key_points"]
    for sentence in found["sentences"]:
        assert sentence["end"] - sentence["start"] == len(sentence["text"])
        assert sentence.get("page") in ({1, 2} if type_ == "pdf" else {None})


@pytest.mark.parametrize("length", ["short", "medium", "long"])
async def test_the_length_that_is_asked_for_is_the_summary(
    documents: DocumentCollector, length: str
):
    processor = DocumentSummarization(FakeFetcher(FILES), documents)
    found = result_of(await compute(processor, document_file="pdf", summary_length=length))
    assert found["summary"] == found["summaries"][length]
    short, medium, long = (len(found["summaries"][name]) for name in ("short", "medium", "long"))
    assert short < medium < long


async def test_a_model_that_is_there_writes_it(documents: DocumentCollector):
    reply = {"sentences": [{"text": "Grain.", "level": "short"}], "key_points": ["Nine silos."]}
    chat = WorkerChat(ScriptedChat(json.dumps(reply)), "m")
    processor = DocumentSummarization(FakeFetcher(FILES), documents, chat=chat)
    answer = await compute(processor, document_file="pdf")
    found = result_of(answer)
    assert (found["summary"], found["key_points"]) == ("Grain.", ["Nine silos."])
    assert found["extractive"] is False
    assert (found["provider"], found["model"]) == ("scripted", "m-2026")
    assert {"sentences", "fallback", "mock"}.isdisjoint(found)
    assert answer.usage == {"tokens": 110}


async def test_the_mock_writes_nothing(documents: DocumentCollector):
    chat = WorkerChat(MockChat(), "m")
    processor = DocumentSummarization(FakeFetcher(FILES), documents, chat=chat)
    found = result_of(await compute(processor, document_file="text"))
    assert found["extractive"] is True
    assert "fallback" not in found


async def test_a_model_that_fails_is_named_as_the_reason(documents: DocumentCollector):
    chat = WorkerChat(ScriptedChat("no JSON"), "m")
    processor = DocumentSummarization(FakeFetcher(FILES), documents, chat=chat)
    found = result_of(await compute(processor, document_file="text"))
    assert (found["extractive"], found["fallback"]) == (True, "not_json")


@pytest.mark.parametrize(
    ("file", "asked", "code"),
    [
        ("sound", "auto", "wrong_type"),
        ("pdf", "docx", "wrong_type"),
        ("docx", "pdf", "wrong_type"),
        ("picture", "auto", "no_text"),
        ("nowhere", "auto", "file_not_found"),
    ],
)
async def test_what_cannot_be_summarised_has_its_code(
    documents: DocumentCollector, file: str, asked: str, code: str
):
    fetcher = FakeFetcher(FILES)
    answer = await compute(
        DocumentSummarization(fetcher, documents), document_file=file, document_type=asked
    )
    assert answer.error is not None
    assert answer.error.code == code
    assert fetcher.open_now == 0


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"document_type": "rtf"}, "invalid_document_type"),
        ({"summary_length": "tiny"}, "invalid_summary_length"),
        ({"document_file": ""}, "invalid_document_file"),
        ({"document_file": "a b"}, "invalid_file"),
    ],
)
async def test_an_input_that_makes_no_sense_is_found_out_before_any_work(
    documents: DocumentCollector, more: dict[str, Any], code: str
):
    processor = DocumentSummarization(FakeFetcher(FILES), documents)
    with pytest.raises(InvalidTask) as refused:
        processor.admit({"document_file": "pdf", **more})
    assert refused.value.code == code
