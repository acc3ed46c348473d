"""What fetches and reads files is built for a session, and ends with it."""

from pathlib import Path

import pytest

from aletheia.adapters.decoding.recogniser import has_ocr
from aletheia.errors import InvalidTask, Misconfigured
from tasks.clients.files import build_collector, get_decoders, get_fetcher
from tasks.session import open_session
from tests.fakes.files import MemoryCache
from tests.fakes.samples import make_pdf, make_text


async def test_files_are_fetched_from_the_directory_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a.txt").write_bytes(make_text())
    monkeypatch.setenv("FILES_DIR", str(tmp_path))
    async with open_session("run"):
        fetcher = await get_fetcher()
        assert await get_fetcher() is fetcher
        async with fetcher.fetch("a.txt") as file:
            assert file.size_bytes == len(make_text())


async def test_a_host_that_is_none_is_a_fault_of_the_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FILE_ALLOWED_HOSTS", "https://a.example")
    async with open_session("run"):
        with pytest.raises(Misconfigured, match="FILE_ALLOWED_HOSTS"):
            await get_fetcher()


async def test_documents_are_read_by_children_that_end_with_the_session(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("MAX_DOCUMENT_PAGES", "2")
    async with open_session("run"):
        fetcher, documents = await get_fetcher(), await build_collector(MemoryCache())
        data = make_pdf(["hello"]).hex()
        address = "data:application/pdf," + "".join(
            f"%{data[at : at + 2]}" for at in range(0, len(data), 2)
        )
        async with fetcher.fetch(address, types=("pdf",)) as file:
            document = await documents.collect(file, "pdf")
        assert document.text == "hello"
        children = await get_decoders()
        assert len(children.idle_pids) == 1
    assert children.idle_pids == ()


@pytest.mark.skipif(not has_ocr(), reason="the extra `ocr` is not installed")
@pytest.mark.parametrize("max_pages", ["0", "5"])
async def test_text_in_pictures_is_read_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, max_pages: str
):
    monkeypatch.setenv("OCR_MAX_PAGES", max_pages)
    async with open_session("run"):
        documents = await build_collector(MemoryCache())
        assert (documents.recogniser is not None) is (max_pages == "5")


async def test_without_a_directory_no_path_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("FILES_DIR", raising=False)
    async with open_session("run"):
        fetcher = await get_fetcher()
        with pytest.raises(InvalidTask) as refused:
            fetcher.check("a.txt")
    assert refused.value.code == "forbidden_address"
