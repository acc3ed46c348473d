"""The task type `pdf_analysis`."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from aletheia.adapters.children.pool import Children
from aletheia.adapters.decoding.reader import ChildReader
from aletheia.analysis.document_text import DocumentCollector
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.pdf_analysis import PdfAnalysis, PdfAnalysisResult
from aletheia.analysis.ports import DocumentHead, Page
from aletheia.analysis.processor import Finished
from aletheia.errors import InvalidTask
from tests.fakes.files import FakeFetcher, ScriptedReader, ScriptedRecogniser
from tests.fakes.samples import encrypt_pdf, make_docx, make_pdf, sentences

FILES = {
    "a.pdf": make_pdf([sentences(10), sentences(10, 10), sentences(10, 20)]),
    "locked.pdf": encrypt_pdf(make_pdf(["a"])),
    "a.docx": make_docx(),
}


@pytest.fixture
async def processor() -> AsyncGenerator[PdfAnalysis]:
    children = Children(1_000_000_000)
    await children.open()
    reader = ChildReader(children, DecoderSettings(), wall_s=30)
    yield PdfAnalysis(FakeFetcher(FILES), DocumentCollector(reader))
    await children.close()


async def compute(processor: PdfAnalysis, *files: str) -> Sequence[Finished]:
    inputs = [{"pdf_file": file} for file in files]
    groups = {processor.admit(task_input) for task_input in inputs}
    async with aclosing(processor.process(groups.pop(), inputs)) as results:
        return [answer async for answers in results for answer in answers]


async def test_a_pdf_is_described(processor: PdfAnalysis):
    (answer,) = await compute(processor, "a.pdf")
    assert answer.error is None
    found: dict[str, Any] = dict(answer.result or {})
    PdfAnalysisResult.model_validate(found)
    assert found["page_count"] == 3
    assert found["text_length"] > 2000
    assert found["metadata"]["title"] == "Harbour report"
    assert found["provider"] == "pdfium"
    assert found["model"].startswith("pypdfium2 ")
    analysis = found["analysis"]
    assert analysis["language"] == "en"
    assert any("grain" in term["term"].lower() for term in analysis["key_terms"])
    assert analysis["reading"]["sentences"] == 30
    assert analysis["excerpt"].startswith("The harbour stores grain")
    assert not analysis["is_scanned"]
    assert (analysis["lost_pages"], analysis["truncated"]) == ({}, False)
    assert answer.record == {
        "pages": 3,
        "chars": found["text_length"],
        "provider": "pdfium",
        "model": found["model"],
    }


async def test_each_input_has_its_own_answer(processor: PdfAnalysis):
    answers = await compute(processor, "locked.pdf", "a.docx", "none.pdf", "a.pdf")
    codes = [answer.error.code if answer.error else None for answer in answers]
    assert codes == ["encrypted", "wrong_type", "file_not_found", None]
    assert [answer.index for answer in answers] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("task_input", "code"),
    [
        ({}, "missing_pdf_file"),
        ({"pdf_file": None}, "missing_pdf_file"),
        ({"pdf_file": 7}, "invalid_pdf_file"),
        ({"pdf_file": "a b.pdf"}, "invalid_file"),
    ],
)
async def test_an_input_without_a_file_is_found_out_before_any_work(
    processor: PdfAnalysis, task_input: dict[str, Any], code: str
):
    with pytest.raises(InvalidTask) as refused:
        processor.admit(task_input)
    assert refused.value.code == code


async def test_pages_that_are_pictures_and_pages_that_are_lost_are_counted():
    pages = [
        *(Page(1, "", is_scanned=True), Page(2, "", is_scanned=True)),
        *(Page(3, "", fault="decoder_died"), Page(4, "text of the page", is_cut=True)),
    ]
    documents = DocumentCollector(
        ScriptedReader(DocumentHead("pdf", 4), pages), recogniser=ScriptedRecogniser({2: "seen"})
    )
    (answer,) = await compute(PdfAnalysis(FakeFetcher(FILES), documents), "a.pdf")
    found: dict[str, Any] = dict(answer.result or {})
    analysis = found["analysis"]
    assert (analysis["scanned_pages"], analysis["recognised_pages"]) == (2, 1)
    assert analysis["is_scanned"]
    assert analysis["lost_pages"] == {"3": "decoder_died"}
    assert analysis["truncated"] is True
    assert "rapidocr" in found["model"]
