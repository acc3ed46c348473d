"""Gather runs with models that answer in many shapes, or in none that can be read."""

import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from aletheia.gather.errors import AnswersUnreadable
from aletheia.gather.progress import GatherReport
from aletheia.llm.asking import LIMIT_FACTOR
from blocks import StoreCredentials
from flows.gather import automated_gather_creation
from tests.fakes.openai_chat import ChatReply, FakeChatServer
from tests.flows.conftest import artifacts, last_run
from tests.flows.gather_application import serve_application

NAME = "automated_gather_creation"
DRAFT = json.dumps(
    {
        "items": [
            {
                "content": f"This draft number {place} must never be saved, whatever happens.",
                "summary": "A draft.",
                "context": "In thoughts.",
            }
            for place in range(6)
        ]
    }
)


@pytest.fixture
async def chat(
    prefect_server: None,  # noqa: ARG001 - it only has to be there
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[FakeChatServer]:
    async with serve_application(tmp_path, monkeypatch) as chat:
        chat.delay_s = 0.0
        yield chat


async def gather(max_iterations: int) -> GatherReport:
    running = automated_gather_creation("shop", "user-1", max_iterations)
    found = await cast("Awaitable[object]", running)
    assert isinstance(found, GatherReport)
    return found


async def read_contents(data_dir: Path) -> list[str]:
    content = StoreCredentials(data_dir=data_dir).get_content_client("shop")
    await content.open()
    ids = [item_id async for page in content.list_ids() for item_id in page]
    items = await content.read_items(ids)
    await content.close()
    return [item.content for item in items.values()]


def call(arguments: Any) -> dict[str, Any]:
    function = {"name": "generated_items", "arguments": arguments}
    return {"tool_calls": [{"id": "1", "type": "function", "function": function}]}


SHAPES: dict[str, Callable[[str], ChatReply]] = {
    "a closing tag": lambda text: ChatReply(f"Maybe {DRAFT}?</think>{text}"),
    "channels": lambda text: ChatReply(f"<|channel|>analysis{DRAFT}<|channel|>final{text}"),
    "brackets": lambda text: ChatReply(f"[THINK]{DRAFT}[/THINK]{text}"),
    "reasoning": lambda text: ChatReply(None, more={"reasoning": text}),
    "reasoning_content": lambda text: ChatReply("", more={"reasoning_content": text}),
    "a call": lambda text: ChatReply(None, "tool_calls", more=call(text)),
    "below a key": lambda text: ChatReply(json.dumps({"response": json.loads(text)})),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_answer_is_read_in_every_shape(chat: FakeChatServer, tmp_path: Path, shape: str):
    chat.shape = SHAPES[shape]
    report = await gather(1)
    assert report.items_created > 0
    contents = await read_contents(tmp_path)
    assert len(contents) == report.items_created
    assert not any("draft" in content for content in contents)


async def test_a_model_whose_thoughts_spend_its_limit_gets_a_higher_one_once(
    chat: FakeChatServer, tmp_path: Path
):
    limits: list[int] = []

    def write(body: Any) -> str:
        limits.append(body["max_tokens"])
        return write_items(body)

    write_items, chat.write = chat.write, write
    chat.shape = lambda text: ChatReply(text) if limits[-1] > limits[0] else ChatReply("", "length")
    report = await gather(2)
    assert report.items_created == len(await read_contents(tmp_path)) > 0
    assert limits == [limits[0], *[LIMIT_FACTOR * limits[0]] * (len(limits) - 1)]


async def test_drafts_in_thoughts_that_were_cut_off_are_never_saved(
    chat: FakeChatServer, tmp_path: Path
):
    drafts = [f"<think>Maybe {DRAFT}, or", f"Let me think. Maybe {DRAFT}, or rather"]
    chat.shape = lambda _: ChatReply(drafts[len(chat.requests) % 2], "length")
    with pytest.raises(AnswersUnreadable, match="no_room"):
        await gather(1)
    assert await read_contents(tmp_path) == []
    assert len(chat.requests) == 2


async def test_a_run_whose_answers_cannot_be_read_stops_asking_and_says_so(
    chat: FakeChatServer, caplog: pytest.LogCaptureFixture
):
    chat.shape = lambda _: ChatReply("I would rather talk about the weather.")
    with caplog.at_level(logging.INFO), pytest.raises(AnswersUnreadable, match="not_json"):
        await gather(50)
    # Two departments, two iterations each, three rounds each.
    assert len(chat.requests) == 12
    run = await last_run(NAME)
    assert run.run_count == 1, "another attempt would not help"
    assert run.state is not None
    assert run.state.is_failed()
    assert "could be used in 4 of 4 iterations" in str(run.state.message)
    (page,) = await artifacts("gather-report", run.id)
    assert "The run was in vain" in str(page.data)
    assert str(page.data).count("⚠ unreadable answers") == 8
    assert "Nothing generated in iteration 2: not_json" in caplog.text
    assert "No answer of the model can be used for dept Department-1" in caplog.text
