"""Everything that can be computed is built with the tools of the session."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.analysis.built_in import BUILT_IN
from aletheia.analysis.ports import Embedder
from aletheia.analysis.registry import Processors
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.tools import TOOLS, WorkerChat
from tasks.clients.embedding import get_embedder
from tasks.clients.processors import BUILDERS, get_processors, get_result_cache, get_worker_chat
from tasks.session import open_session
from tests.fakes.samples import make_pdf, sentences


async def make_embedder() -> Embedder:
    return MockEmbedder(default_model="m")


async def make_chat() -> WorkerChat:
    return WorkerChat(MockChat(), "m")


@asynccontextmanager
async def processors_in(directory: Path) -> AsyncGenerator[Processors]:
    """All processors of a session, with a mock of every model."""

    async def make_cache() -> ResultCache:
        return ResultCache(EmbeddedDocuments(directory), scope="", ttl_s=0)

    async with open_session("run") as session:
        await session.clients.build((get_embedder,), make_embedder)
        await session.clients.build((get_worker_chat,), make_chat)
        await session.clients.build((get_result_cache,), make_cache)
        yield await get_processors()


async def test_every_built_in_type_is_served(tmp_path: Path):
    async with processors_in(tmp_path) as processors:
        assert processors.admit("text_embedding", {"text": "a", "model": "m"}) == "m"
    assert set(BUILT_IN) <= set(processors.types)


@pytest.mark.parametrize("address", ["data:application/pdf;base64,", "report.pdf"])
async def test_a_document_goes_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
):
    pdf = make_pdf([sentences(9), sentences(9, 9)])
    (tmp_path / "report.pdf").write_bytes(pdf)
    monkeypatch.setenv("FILES_DIR", str(tmp_path))
    if address.startswith("data:"):
        address += base64.b64encode(pdf).decode()
    async with processors_in(tmp_path) as processors:
        for task_type, field, wanted in (
            ("pdf_analysis", "pdf_file", {"page_count": 2}),
            ("document_summarization", "document_file", {"document_type": "pdf", "language": "en"}),
        ):
            task_input = {field: address}
            group = processors.admit(task_type, task_input)
            async with aclosing(processors.process(task_type, group, [task_input])) as results:
                (answer,) = [found async for answers in results for found in answers]
            assert answer.error is None
            assert wanted.items() <= dict(answer.result or {}).items()


def test_what_is_built_are_tools():
    assert set(BUILDERS) <= set(TOOLS)


async def test_a_multi_modal_analysis_reaches_the_other_types(tmp_path: Path):
    said = b"The new plant in Dresden will employ 210 people."
    task_input = {
        "text": "The new plant in Dresden will employ 120 people.",
        "document": "data:text/plain;base64," + base64.b64encode(said).decode(),
        "audio": "data:audio/wav;base64,AAAA",
    }
    async with processors_in(tmp_path) as processors:
        group = processors.admit("multimodal_analysis", task_input)
        answers = processors.process("multimodal_analysis", group, [task_input])
        async with aclosing(answers) as results:
            (answer,) = [answer async for finished in results for answer in finished]
    assert answer.error is None
    result = answer.result or {}
    assert result["modalities"]["audio"]["error"]["code"]
    (conflict,) = result["fused_analysis"]["conflicts"]
    assert conflict["difference"] == "number"
