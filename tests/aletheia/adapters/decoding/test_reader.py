"""Documents read in children, and pages that children die of."""

import io
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.children.pool import NOT_STARTED, Children
from aletheia.adapters.children.process import COMMAND
from aletheia.adapters.decoding import reader as reader_module
from aletheia.adapters.decoding.reader import MAX_LOST_PAGES, ChildReader
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.file_types import FileType
from aletheia.analysis.ports import DocumentHead, FetchedFile, Page
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask
from tests.fakes.samples import (
    encrypt_pdf,
    make_docx,
    make_html,
    make_markdown,
    make_pdf,
    make_text,
    sentences,
)


@pytest.fixture
async def children() -> AsyncGenerator[Children]:
    opened = Children(1_000_000_000)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def files() -> Iterator[Any]:
    opened: list[io.IOBase] = []

    def make(data: bytes, type_: FileType) -> FetchedFile:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        opened.append(file)
        file.write(data)
        file.flush()
        return FetchedFile(file.fileno(), len(data), "0" * 64, type_, "a file")

    yield make
    for file in opened:
        file.close()


async def read(
    children: Children, file: FetchedFile, type_: FileType, first_page: int = 1, **settings: Any
) -> tuple[list[DocumentHead | Page], AletheiaError | None]:
    reader = ChildReader(children, DecoderSettings(**settings), wall_s=30)
    pieces: list[DocumentHead | Page] = []
    try:
        async with aclosing(reader.read(file, type_, first_page=first_page)) as read_pieces:
            async for piece in read_pieces:
                pieces.append(piece)  # noqa: PERF401 - what came before an error is the point
    except AletheiaError as error:
        return pieces, error
    return pieces, None


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("pdf", make_pdf([sentences(3), sentences(3, 3)])),
        ("docx", make_docx()),
        ("html", make_html()),
        ("markdown", make_markdown()),
        ("text", make_text()),
    ],
)
async def test_every_type_is_read_with_its_head_and_pages(
    children: Children, files: Any, type_: FileType, data: bytes
):
    (head, *pages), error = await read(children, files(data, type_), type_)
    assert error is None
    assert isinstance(head, DocumentHead)
    assert (head.type, head.page_count) == (type_, 2 if type_ == "pdf" else None)
    text = " ".join(page.text for page in pages if isinstance(page, Page))
    assert "harbour stores grain" in text
    assert "(5)." in text


async def test_what_a_child_says_is_wrong_is_the_tasks_error(children: Children, files: Any):
    pdf = encrypt_pdf(make_pdf(["a"]))
    pieces, error = await read(children, files(pdf, "pdf"), "pdf")
    assert pieces == []
    assert isinstance(error, InvalidTask)
    assert error.code == "encrypted"
    _, error = await read(children, files(make_pdf(["a"] * 3), "pdf"), "pdf", max_document_pages=2)
    assert error is not None
    assert error.code == "too_large"


async def test_ten_thousand_pages_are_read_and_one_more_is_too_much(children: Children, files: Any):
    (head, *pages), error = await read(children, files(make_pdf(["x"] * 10_000), "pdf"), "pdf")
    assert error is None
    assert isinstance(head, DocumentHead)
    assert head.page_count == len(pages) == 10_000
    _, error = await read(children, files(make_pdf(["x"] * 10_001), "pdf"), "pdf")
    assert error is not None
    assert error.code == "too_large"


async def test_what_is_no_document_is_refused_without_a_child(children: Children, files: Any):
    _, error = await read(children, files(b"RIFF", "wav"), "wav")
    assert error is not None
    assert error.code == "wrong_type"
    assert children.idle_pids == ()


def use(monkeypatch: pytest.MonkeyPatch, job: str) -> None:
    decoders = {**reader_module.DECODERS, "pdf": f"tests.fakes.jobs:{job}"}
    monkeypatch.setattr(reader_module, "DECODERS", decoders)


async def test_a_page_that_a_child_dies_of_is_lost_alone(
    children: Children, files: Any, monkeypatch: pytest.MonkeyPatch
):
    use(monkeypatch, "read_pages_and_die_at_three")
    (head, *pages), error = await read(children, files(b"x", "pdf"), "pdf")
    assert error is None
    assert isinstance(head, DocumentHead)
    shown = [(page.number, page.text, page.fault) for page in pages if isinstance(page, Page)]
    assert shown == [
        *((1, "page 1", ""), (2, "page 2", ""), (3, "", "decoder_died")),
        *((4, "page 4", ""), (5, "page 5", "")),
    ]


async def test_a_document_that_uses_up_the_time_of_several_children_loses_no_page(
    children: Children, files: Any, monkeypatch: pytest.MonkeyPatch
):
    use(monkeypatch, "read_three_pages_a_life")
    (_, *pages), error = await read(children, files(b"x", "pdf"), "pdf")
    assert error is None
    shown = [(page.number, page.fault) for page in pages if isinstance(page, Page)]
    assert shown == [(number, "") for number in range(1, 9)]


async def test_no_page_is_lost_where_no_process_can_be_started(
    files: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    once = f'test -e {tmp_path}/begun && exit 1; touch {tmp_path}/begun; exec "$@"'
    children = Children(1_000_000_000, command=("sh", "-c", once, "sh", *COMMAND))
    await children.open()
    use(monkeypatch, "read_pages_and_die_at_three")
    (_, *pages), error = await read(children, files(b"x", "pdf"), "pdf")
    await children.close()
    assert isinstance(error, ComputeFailed)
    assert error.code == NOT_STARTED
    assert not any(page.fault for page in pages if isinstance(page, Page))


async def test_a_document_that_kills_child_after_child_is_given_up(
    children: Children, files: Any, monkeypatch: pytest.MonkeyPatch
):
    use(monkeypatch, "read_a_head_and_die")
    (_, *pages), error = await read(children, files(b"x", "pdf"), "pdf")
    assert isinstance(error, ComputeFailed)
    assert error.code == "decoder_died"
    assert len(pages) == MAX_LOST_PAGES


async def test_a_document_that_dies_before_its_head_is_given_up_at_once(
    children: Children, files: Any, monkeypatch: pytest.MonkeyPatch
):
    use(monkeypatch, "be_killed_at_once")
    pieces, error = await read(children, files(b"x", "pdf"), "pdf")
    assert pieces == []
    assert isinstance(error, ComputeFailed)


async def test_a_page_that_hangs_is_lost_alone(
    children: Children, files: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reader_module, "MAX_PAGE_S", 0.7)
    use(monkeypatch, "read_pages_and_hang_at_two")
    (_, *pages), error = await read(children, files(b"x", "pdf"), "pdf")
    assert error is None
    assert [page.fault for page in pages if isinstance(page, Page)] == ["", "too_slow", ""]


async def test_all_pages_of_a_document_share_its_characters(children: Children, files: Any):
    pdf = make_pdf([sentences(20, n) for n in range(0, 100, 20)])
    (_, *pages), error = await read(children, files(pdf, "pdf"), "pdf", max_document_chars=3000)
    assert error is None
    assert 1 < len(pages) < 5
    assert sum(len(page.text) for page in pages if isinstance(page, Page)) <= 3000
    last = pages[-1]
    assert isinstance(last, Page)
    assert last.is_cut
