"""Documents read whole, and gone on with where an attempt ended."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import orjson
import pytest

from aletheia.analysis.document_text import SAVE_EVERY_S, DocumentCollector, DocumentText
from aletheia.analysis.ports import DocumentHead, FetchedFile, Page
from aletheia.analysis.time_limits import next_within
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask
from tests.fakes.files import FakeFetcher, MemoryCache, ScriptedReader, ScriptedRecogniser
from tests.fakes.samples import make_pdf

HEAD = DocumentHead("pdf", 4, {"title": "T"})
PAGES = (Page(1, "one"), Page(2, "two", is_scanned=True), Page(3, ""), Page(4, "four"))
SLOW = ComputeFailed("too_slow", "it took too long")


@pytest.fixture
async def file() -> AsyncGenerator[FetchedFile]:
    async with FakeFetcher({"a": make_pdf(["x"])}).fetch("a") as opened:
        yield opened


async def test_pages_become_one_text_in_which_each_can_be_found_again(file: FetchedFile):
    document = await DocumentCollector(ScriptedReader(HEAD, PAGES)).collect(file, "pdf")
    assert document.text == "one\n\ntwo\n\n\n\nfour"
    for page in document.pages:
        start = document.starts[page.number - 1]
        assert document.text[start:].startswith(page.text)
    assert [document.page_at(place) for place in (0, 4, 5, 8, 10, 13)] == [1, 1, 2, 2, 3, 4]
    assert document.head == HEAD
    assert not document.is_cut
    assert not document.is_scanned
    assert document.lost_pages == {}


async def test_another_attempt_goes_on_behind_the_last_page_that_was_read(file: FetchedFile):
    reader, cache = ScriptedReader(HEAD, [*PAGES[:2], SLOW, *PAGES[2:]]), MemoryCache()
    collector = DocumentCollector(reader, cache=cache)
    with pytest.raises(ComputeFailed):
        await collector.collect(file, "pdf")
    (saved,) = cache.saved.values()
    assert orjson.loads(orjson.dumps(saved)) is not None
    document = await collector.collect(file, "pdf")
    assert reader.first_pages == [1, 3]
    assert document.pages == PAGES
    assert document.head == HEAD


async def test_pages_are_saved_now_and_then_as_a_process_may_end(file: FetchedFile):
    now = iter(range(0, 1000, int(SAVE_EVERY_S) // 2))
    cache = MemoryCache()
    collector = DocumentCollector(
        ScriptedReader(HEAD, PAGES), cache=cache, steady_s=lambda: next(now)
    )
    await collector.collect(file, "pdf")
    assert len(cache.saved) == 1


async def test_nothing_is_saved_of_what_was_not_read(file: FetchedFile):
    cache = MemoryCache()
    refused = ScriptedReader(HEAD, [InvalidTask("encrypted", "locked")])
    with pytest.raises(InvalidTask):
        await DocumentCollector(refused, cache=cache).collect(file, "pdf")
    assert cache.saved == {}


@pytest.mark.parametrize("error", [None, ComputeFailed("decoder_died", "gone")])
async def test_text_is_recognised_on_scanned_pages_as_far_as_that_goes(
    file: FetchedFile, error: AletheiaError | None
):
    pages = [Page(n, "" if n < 4 else "text", is_scanned=n < 4) for n in range(1, 5)]
    recogniser = ScriptedRecogniser({1: "first", 2: "second"}, error)
    collector = DocumentCollector(ScriptedReader(HEAD, pages), recogniser=recogniser)
    document = await collector.collect(file, "pdf")
    assert recogniser.asked == [1, 2, 3]
    assert document.text == "first\n\nsecond\n\n\n\ntext"
    assert [page.is_recognised for page in document.pages] == [True, True, False, False]
    assert document.is_scanned, "what was recognised is still scanned"


async def test_where_time_is_short_the_rest_is_not_recognised_and_the_document_is_there(
    file: FetchedFile,
):
    class Slow(ScriptedRecogniser):
        async def recognise(
            self, file: FetchedFile, numbers: Sequence[int]
        ) -> AsyncGenerator[Page]:
            async for page in super().recognise(file, numbers):
                await asyncio.sleep(0.2)
                yield page

    pages = [Page(n, "", is_scanned=True) for n in range(1, 11)]
    recogniser = Slow({number: f"page {number}" for number in range(1, 11)})
    collector = DocumentCollector(ScriptedReader(HEAD, pages), recogniser=recogniser)

    async def compute() -> AsyncGenerator[DocumentText]:
        yield await collector.collect(file, "pdf")

    document = await next_within(compute(), 1.0, "it")
    assert document is not None
    assert 1 <= sum(page.is_recognised for page in document.pages) < 5


async def test_no_page_is_recognised_that_has_its_text(file: FetchedFile):
    recogniser = ScriptedRecogniser({})
    reader = ScriptedReader(HEAD, [page for page in PAGES if not page.is_scanned])
    await DocumentCollector(reader, recogniser=recogniser).collect(file, "pdf")
    assert recogniser.asked == []


@pytest.mark.parametrize(
    ("pages", "is_cut"),
    [(PAGES, False), (PAGES[:3], True), ([*PAGES[:3], Page(4, "fo", is_cut=True)], True)],
)
async def test_a_document_whose_end_was_left_out_says_so(
    file: FetchedFile, pages: Sequence[Page], is_cut: bool
):
    document = await DocumentCollector(ScriptedReader(HEAD, pages)).collect(file, "pdf")
    assert document.is_cut is is_cut


async def test_pages_that_were_lost_are_named_with_why(file: FetchedFile):
    pages = [PAGES[0], Page(2, "", fault="decoder_died"), *PAGES[2:]]
    document = await DocumentCollector(ScriptedReader(HEAD, pages)).collect(file, "pdf")
    assert document.lost_pages == {2: "decoder_died"}
