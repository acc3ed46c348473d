"""What reading a PDF in a child costs beside pypdfium2 in this process."""

import tempfile
import time
from contextlib import aclosing
from importlib import import_module
from statistics import median
from typing import Any, Final

from aletheia.adapters.children.pool import Children
from aletheia.adapters.decoding.reader import ChildReader
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.ports import FetchedFile, Page
from bench.programs import BenchFailed

PAGES: Final = 500
ROUNDS: Final = 5
WALL_S: Final = 300.0


def read_bare(data: bytes) -> list[str]:
    """Return the text of all pages, by pypdfium2 alone."""
    pdfium: Any = import_module("pypdfium2")
    document = pdfium.PdfDocument(data)
    texts: list[str] = []
    for page in document:
        text_page = page.get_textpage()
        texts.append(text_page.get_text_range())
        text_page.close()
        page.close()
    document.close()
    return texts


async def measure_pdf(data: bytes, rounds: int = ROUNDS) -> dict[str, float]:
    """Return seconds, bare and by a child that is there already, in turns, and their ratio."""
    children = Children(DecoderSettings().decoder_memory_max)
    await children.open()
    reader = ChildReader(children, DecoderSettings(), wall_s=WALL_S)
    bare: list[float] = []
    ours: list[float] = []
    try:
        for _ in range(1 + rounds):  # the first one imports and starts
            began = time.perf_counter()
            expected = read_bare(data)
            between = time.perf_counter()
            found = await _read(reader, data)
            ended = time.perf_counter()
            bare.append(between - began)
            ours.append(ended - between)
            if found != len(expected):
                raise BenchFailed(f"{found} of {len(expected)} pages were read")
    finally:
        await children.close()
    best_bare, best_ours = median(bare[1:]), median(ours[1:])
    return {
        "pdf_bare_s": best_bare,
        "pdf_ours_s": best_ours,
        "pdf_ratio": best_ours / best_bare,
        "pdf_first_s": ours[0],
    }


async def _read(reader: ChildReader, data: bytes) -> int:
    with tempfile.TemporaryFile() as opened:
        opened.write(data)
        opened.flush()
        file = FetchedFile(opened.fileno(), len(data), "", "pdf", "a report")
        async with aclosing(reader.read(file, "pdf")) as pieces:
            return sum([isinstance(piece, Page) async for piece in pieces])
