"""Recognises text on scanned pages in child processes of their own."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from importlib.util import find_spec
from typing import Final

from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import Children, Job
from aletheia.adapters.decoding.reader import read_page
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.ports import FetchedFile, Page

PROCESSOR_S_PER_PAGE: Final = 60.0
"""Processor time for a page: those of a book take 2 to 10 s, one full of small print 30."""

JOB: Final = "aletheia.adapters.decoding.ocr:recognise_pages"


def has_ocr() -> bool:
    """Check whether the extra `ocr` is installed, without importing it."""
    return all(find_spec(name) is not None for name in ("rapidocr", "onnxruntime"))


class ChildRecogniser:
    """A `PageRecogniser` over children, which it does not close."""

    def __init__(self, children: Children, settings: DecoderSettings) -> None:
        self._children, self._max_pages = children, settings.ocr_max_pages

    async def recognise(self, file: FetchedFile, numbers: Sequence[int]) -> AsyncGenerator[Page]:
        """See `aletheia.analysis.ports.PageRecogniser.recognise`; `OCR_MAX_PAGES` at most."""
        chosen = list(numbers[: self._max_pages])
        if not chosen:
            return
        limits = JobLimits(
            processor_s=PROCESSOR_S_PER_PAGE * len(chosen),
            wall_s=2 * PROCESSOR_S_PER_PAGE * len(chosen),
            piece_s=2 * PROCESSOR_S_PER_PAGE,
        )
        job = Job(JOB, limits, {"numbers": chosen}, (file.descriptor,))
        async with aclosing(self._children.run(job)) as pieces:
            async for piece in pieces:
                yield read_page(piece)
