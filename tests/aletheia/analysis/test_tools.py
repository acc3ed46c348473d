"""Processors are built with what their constructors name."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.analysis.ports import Fetcher
from aletheia.analysis.processor import Finished, TypeSpec
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.tools import TOOLS, Build, Toolbox, WorkerChat
from aletheia.errors import Misconfigured
from aletheia.llm.messages import AnswerForm, Message


class Base:
    spec: ClassVar[TypeSpec] = TypeSpec(version="7")

    def admit(self, task_input: Mapping[str, Any]) -> str:
        return str(task_input)

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        yield [Finished(index, {group: 1}) for index in range(len(inputs))]


class Wants(Base):
    def __init__(self, settings: WorkerSettings, cache: ResultCache) -> None:
        self.settings, self.cache = settings, cache


class CouldUse(Base):
    def __init__(self, chat: WorkerChat | None = None, depth: int = 3) -> None:
        self.chat, self.depth = chat, depth


class Needs(Base):
    def __init__(self, chat: WorkerChat) -> None:
        self.chat = chat


class Confused(Base):
    def __init__(self, chat: Fetcher) -> None:
        self.chat = chat


class Bursts(Base):
    def __init__(self, settings: WorkerSettings) -> None:
        raise ZeroDivisionError(settings.task_timeout)


def build_on(planet: str) -> Base:
    raise LookupError(planet)


SETTINGS = WorkerSettings(task_timeout=7)


async def give_settings() -> object:
    return SETTINGS


async def refuse() -> object:
    raise Misconfigured("LLM_PROVIDER", "nobody is there")


def toolbox(**builders: Callable[[], Awaitable[object]]) -> Toolbox:
    return Toolbox({"settings": give_settings, **builders})


async def test_a_processor_gets_what_it_names_and_a_cache_of_its_own(tmp_path: Path):
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    cache = ResultCache(documents, scope="", ttl_s=60)

    async def give_cache() -> object:
        return cache

    box = toolbox(cache=give_cache)
    first, second = [await box.build(name, Wants) for name in ("one", "two")]
    assert isinstance(first, Wants)
    assert isinstance(second, Wants)
    assert first.settings is SETTINGS
    await first.cache.put(1, "key")
    assert await second.cache.get("key") is None
    assert await cache.scoped("one 7").get("key") == 1
    await documents.close()


async def test_what_has_a_default_and_cannot_be_had_is_left_out():
    built = await toolbox(chat=refuse).build("t", CouldUse)
    assert isinstance(built, CouldUse)
    assert (built.chat, built.depth) == (None, 3)


async def test_a_tool_is_built_for_nobody_who_does_not_name_it():
    await toolbox(chat=refuse).build("t", Base)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (Needs, "needs 'chat': LLM_PROVIDER: nobody is there"),
        (Wants, "needs 'cache': .*there is no 'cache' here"),
        (Confused, "'chat' of its constructor is annotated as 'fetcher' is"),
        (Bursts, "cannot be built: ZeroDivisionError: 7"),
        (build_on, "names 'planet', which is none of: chat"),
    ],
)
async def test_what_cannot_be_built_says_why(build: Build, reason: str):
    with pytest.raises(Misconfigured, match=reason):
        await toolbox(chat=refuse).build("t", build)


async def test_a_chat_asks_the_workers_model_unless_another_one_is_named():
    chat = MockChat(writers={"answer": lambda quoted: quoted})
    worker, form = WorkerChat(chat, "small"), AnswerForm("answer", {"type": "object"})
    assert (await worker.ask(Message("user", "Hello"), form=form)).asked == "small"
    assert (await worker.ask(Message("user", "Hello"), form=form, model="m")).asked == "m"


def test_every_tool_says_what_it_is():
    assert all(tool.sentence.endswith(".") for tool in TOOLS.values())
