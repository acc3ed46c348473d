"""What fetches the files that tasks name, and what reads documents, in processes with limits."""

from typing import Final

from aletheia.adapters.children.pool import Children
from aletheia.adapters.decoding.reader import ChildReader
from aletheia.adapters.decoding.recogniser import ChildRecogniser, has_ocr
from aletheia.adapters.files.fetcher import FileFetcher
from aletheia.analysis.document_text import DocumentCollector, PageCache
from aletheia.analysis.ports import Fetcher
from tasks.session import current_session, once

PAGES: Final = "pages 1"
"""Scope of pages in the cache of results; the number changes when they are read otherwise."""


@once
async def get_fetcher() -> Fetcher:
    """Return what fetches files. Raises `Misconfigured`: of hosts that are allowed."""
    session = current_session()
    return await session.clients.open(FileFetcher(session.settings.files))


@once
async def get_decoders() -> Children:
    """Return the processes that decode documents; each is started when it is needed."""
    session, settings = current_session(), current_session().settings.decoders
    children = Children(settings.decoder_memory_max, count=settings.decoder_processes)
    return await session.clients.open(children)


async def build_collector(cache: PageCache) -> DocumentCollector:
    """Build what reads documents whole, with OCR where it is installed."""
    settings = current_session().settings
    reader = ChildReader(
        await get_decoders(), settings.decoders, wall_s=settings.workers.task_timeout
    )
    recogniser = None
    if has_ocr() and settings.decoders.ocr_max_pages:
        recogniser = ChildRecogniser(await _get_recognising_children(), settings.decoders)
    return DocumentCollector(reader, recogniser=recogniser, cache=cache)


@once
async def _get_recognising_children() -> Children:
    session = current_session()
    return await session.clients.open(Children(session.settings.decoders.ocr_memory_max))
