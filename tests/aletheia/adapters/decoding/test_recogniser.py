"""Text that is recognised in pictures, in children of their own."""

import io
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from importlib import import_module
from typing import Any

import pytest

from aletheia.adapters.children.pool import Children
from aletheia.adapters.decoding import recogniser as recogniser_module
from aletheia.adapters.decoding.recogniser import ChildRecogniser, has_ocr
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.ports import FetchedFile, Page
from aletheia.errors import AletheiaError, ComputeFailed
from tests.fakes.samples import make_pdf

pdfium: Any = import_module("pypdfium2")

LINES = ("The harbour stores grain", "in nine large silos", "near the river bank 2024")


def make_scan() -> bytes:
    """A PDF of one page that is a picture of three lines of text."""
    pdf = make_pdf(["\n".join(LINES)], size=24)
    with closing(pdfium.PdfDocument(pdf)) as written, closing(pdfium.PdfDocument.new()) as scanned:
        picture = pdfium.PdfImage.new(scanned)
        picture.set_bitmap(written[0].render(scale=2))
        picture.set_matrix(pdfium.PdfMatrix().scale(595, 842))
        page = scanned.new_page(595, 842)
        page.insert_obj(picture)
        page.gen_content()
        out = io.BytesIO()
        scanned.save(out)
    return out.getvalue()


@pytest.fixture
async def children() -> AsyncGenerator[Children]:
    opened = Children(DecoderSettings().ocr_memory_max)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def scan() -> Iterator[FetchedFile]:
    with tempfile.TemporaryFile() as file:
        file.write(make_scan())
        file.flush()
        yield FetchedFile(file.fileno(), 1, "0" * 64, "pdf", "a file")


async def recognise(
    children: Children, file: FetchedFile, numbers: list[int], *, max_pages: int = 50
) -> list[Page]:
    reader = ChildRecogniser(children, DecoderSettings(ocr_max_pages=max_pages))
    async with aclosing(reader.recognise(file, numbers)) as pages:
        return [page async for page in pages]


@pytest.mark.skipif(not has_ocr(), reason="the extra `ocr` is not installed")
@pytest.mark.timeout(180)
async def test_text_in_a_picture_is_read(children: Children, scan: FetchedFile):
    (page,) = await recognise(children, scan, [1])
    assert (page.number, page.is_scanned) == (1, True)
    wanted = "".join(LINES).replace(" ", "").lower()
    read = "".join(page.text.split()).lower()
    wrong = sum(a != b for a, b in zip(wanted, read, strict=False)) + abs(len(wanted) - len(read))
    assert wrong <= 0.05 * len(wanted), page.text


@pytest.mark.parametrize(("numbers", "max_pages"), [([], 50), ([1], 0)])
async def test_where_there_is_nothing_to_do_no_child_is_started(
    children: Children, scan: FetchedFile, numbers: list[int], max_pages: int
):
    assert await recognise(children, scan, numbers, max_pages=max_pages) == []
    assert children.idle_pids == ()


async def test_what_a_child_dies_of_is_an_error(
    children: Children, scan: FetchedFile, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recogniser_module, "JOB", "tests.fakes.jobs:be_killed_at_once")
    with pytest.raises(AletheiaError) as failed:
        await recognise(children, scan, [1])
    assert isinstance(failed.value, ComputeFailed)
    assert failed.value.code == "decoder_died"
