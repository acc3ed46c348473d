"""One session a run: its settings are read once, its clients built once and closed with it."""

import asyncio
from dataclasses import dataclass, field

import pytest

from tasks.session import Clients, current_session, open_session


@dataclass
class FakeClient:
    """Notes in a log that it was opened and closed."""

    name: str
    log: list[str] = field(default_factory=list[str])
    is_refused: bool = False

    async def open(self) -> None:
        await asyncio.sleep(0)
        if self.is_refused:
            raise OSError(self.name)
        self.log.append(f"open {self.name}")

    async def close(self) -> None:
        self.log.append(f"close {self.name}")


async def test_a_client_is_built_once_however_many_ask_for_it():
    clients, built = Clients(), list[FakeClient]()

    async def build() -> FakeClient:
        await asyncio.sleep(0)
        built.append(FakeClient("a"))
        return built[-1]

    found = await asyncio.gather(*(clients.open(("a",), build) for _ in range(5)))
    assert len(built) == 1
    assert {id(client) for client in found} == {id(built[0])}


async def test_a_client_that_was_built_for_another_run_is_not_handed_out():
    clients = Clients()

    async def build(run_id: str) -> str:
        return f"meter of {run_id}"

    for run_id in ("gather", "sweep", "gather"):
        meter = await clients.build(("meter", run_id), lambda run_id=run_id: build(run_id))
        assert meter == f"meter of {run_id}"


async def test_clients_are_closed_in_the_opposite_order_and_what_one_needs_after_it():
    clients, log = Clients(), list[str]()

    async def build_store() -> FakeClient:
        return FakeClient("store", log)

    async def build_embedder() -> FakeClient:
        await clients.open(("store",), build_store)
        return FakeClient("embedder", log)

    await clients.open(("embedder",), build_embedder)
    await clients.close_all()
    assert log == ["open store", "open embedder", "close embedder", "close store"]


async def test_a_client_that_cannot_be_opened_is_closed_and_built_anew():
    clients, log = Clients(), list[str]()
    client = FakeClient("a", log, is_refused=True)

    async def build() -> FakeClient:
        return client

    with pytest.raises(OSError, match="a"):
        await clients.open(("a",), build)
    client.is_refused = False
    assert await clients.open(("a",), build) is client
    await clients.close_all()
    assert log == ["open a", "close a", "close a"]


async def test_a_client_can_be_closed_before_the_end():
    clients, log = Clients(), list[str]()

    async def build() -> FakeClient:
        return FakeClient(f"{len(log)}", log)

    first = await clients.open(("content", "p1"), build)
    await clients.close(("content", "p1"))
    await clients.close(("content", "p2"))
    assert log == ["open 0", "close 0"]
    assert await clients.open(("content", "p1"), build) is not first


async def test_settings_are_read_once_a_session(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POLL_LIMIT", "7")
    async with open_session() as session:
        assert session.settings.intake.poll_limit == 7
        monkeypatch.setenv("POLL_LIMIT", "8")
        assert current_session().settings.intake.poll_limit == 7
    async with open_session() as session:
        assert session.settings.intake.poll_limit == 8


async def test_what_runs_beside_each_other_has_sessions_of_its_own():
    async def read_run_id(run_id: str) -> str | None:
        async with open_session(run_id):
            await asyncio.sleep(0)
            child = asyncio.create_task(_read_current())
            return await child

    assert await asyncio.gather(*map(read_run_id, "abc")) == ["a", "b", "c"]


async def _read_current() -> str | None:
    return current_session().run_id


async def test_a_session_is_over_at_its_end_and_does_not_nest():
    log = list[str]()

    async def build() -> FakeClient:
        return FakeClient("a", log)

    with pytest.raises(RuntimeError, match="no session"):
        current_session()
    with pytest.raises(KeyError):
        async with open_session("r") as session:
            await session.clients.open(("a",), build)
            with pytest.raises(RuntimeError, match="is open here"):
                async with open_session("r"):
                    pass
            assert current_session() is session
            raise KeyError
    assert log == ["open a", "close a"]
    with pytest.raises(RuntimeError, match="no session"):
        current_session()
