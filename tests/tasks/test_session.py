"""One session a run: its settings are read once, its clients built once and closed with it."""

import asyncio
import base64
import io
import json
import logging
from dataclasses import dataclass, field

import pytest
from prefect.logging.handlers import PrefectConsoleHandler
from pydantic import SecretStr

from blocks.secret_values import value_of
from tasks.session import current_session, once, open_session


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
    built = list[FakeClient]()

    @once
    async def get_client() -> FakeClient:
        built.append(FakeClient("a"))
        return await current_session().clients.open(built[-1])

    async with open_session():
        found = await asyncio.gather(*(get_client() for _ in range(5)))
    assert len(built) == 1
    assert {id(client) for client in found} == {id(built[0])}


async def test_a_client_that_was_built_for_another_run_or_project_is_not_handed_out():
    @once
    async def get_meter(project_id: str, *, is_strict: bool = True) -> str:
        return f"meter of {current_session().run_id}, {project_id}, {is_strict}"

    for run_id in ("gather", "sweep", "gather"):
        async with open_session(run_id):
            assert await get_meter("p1") == f"meter of {run_id}, p1, True"
            assert await get_meter("p2") == f"meter of {run_id}, p2, True"
            assert await get_meter("p1", is_strict=False) == f"meter of {run_id}, p1, False"


async def test_clients_are_closed_in_the_opposite_order_and_what_one_needs_after_it():
    log = list[str]()

    @once
    async def get_store() -> FakeClient:
        return await current_session().clients.open(FakeClient("store", log))

    @once
    async def get_embedder() -> FakeClient:
        await get_store()
        return await current_session().clients.open(FakeClient("embedder", log))

    async with open_session():
        await get_embedder()
        await get_store()
    assert log == ["open store", "open embedder", "close embedder", "close store"]


async def test_a_client_that_cannot_be_opened_is_closed_and_built_anew():
    log = list[str]()
    client = FakeClient("a", log, is_refused=True)

    @once
    async def get_client() -> FakeClient:
        return await current_session().clients.open(client)

    async with open_session():
        with pytest.raises(OSError, match="a"):
            await get_client()
        client.is_refused = False
        assert await get_client() is client
    assert log == ["close a", "open a", "close a"]


async def test_a_client_can_be_closed_before_the_end():
    log = list[str]()

    @once
    async def get_content(project_id: str) -> FakeClient:
        return await current_session().clients.open(FakeClient(project_id, log))

    async with open_session() as session:
        first = await get_content("p1")
        await session.clients.close((get_content, "p1"))
        await session.clients.close((get_content, "p2"))
        assert log == ["open p1", "close p1"]
        assert await get_content("p1") is not first


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
    with pytest.raises(RuntimeError, match="no session"):
        current_session()
    with pytest.raises(KeyError):
        async with open_session("r") as session:
            await session.clients.open(FakeClient("a", log))
            with pytest.raises(RuntimeError, match="is open here"):
                async with open_session("r"):
                    pass
            assert current_session() is session
            raise KeyError
    assert log == ["open a", "close a"]
    with pytest.raises(RuntimeError, match="no session"):
        current_session()


@pytest.mark.parametrize(
    ("line", "is_kept"),
    [
        ("Finished in state Completed()", False),
        ("Finished in state Failed('no')", True),
        ("3 items saved", True),
    ],
)
async def test_a_run_logs_no_line_for_each_step_that_went_well(line: str, is_kept: bool):
    async with open_session("a run"):
        record = logging.makeLogRecord({"msg": line})
        assert bool(logging.getLogger("prefect.task_runs").filter(record)) is is_kept


async def test_what_a_run_logs_goes_to_the_console_as_json_with_its_id(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("LOG_FORMAT", "json")
    written, root = io.StringIO(), logging.getLogger()
    console = PrefectConsoleHandler(written)
    before = list(root.handlers)
    root.addHandler(console)
    try:
        async with open_session("run-1"):
            logging.getLogger("aletheia.test_session").warning("odd :rocket:")
        async with open_session("run-2"):
            logging.getLogger("aletheia.test_session").warning("odd again")
    finally:
        root.handlers[:] = before
    first, second = map(json.loads, written.getvalue().splitlines())
    assert (first["message"], first["run_id"]) == ("odd :rocket:", "run-1")
    assert (second["message"], second["run_id"]) == ("odd again", "run-2")


async def test_the_console_of_a_run_may_stay_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOG_FORMAT", "text")
    written, root = io.StringIO(), logging.getLogger()
    console = PrefectConsoleHandler(written)
    root.addHandler(console)
    try:
        async with open_session("run-1"):
            logging.getLogger("aletheia.test_session").warning("plain")
        assert console in root.handlers
    finally:
        root.removeHandler(console)
    assert written.getvalue() == "plain\n"


async def test_no_line_of_a_run_shows_a_secret_in_any_form_or_controls_a_terminal():
    secret = "made-up-for-this-test"
    handler, stream = logging.StreamHandler(), io.StringIO()
    handler.setStream(stream)
    logger = logging.getLogger("aletheia")
    logger.addHandler(handler)
    try:
        async with open_session():
            assert value_of(SecretStr(f" {secret} ")) == secret
            header = base64.b64encode(f"somebody:{secret}".encode()).decode()
            logger.warning("refused: %s, %s \x1b[2J", secret, header)
    finally:
        logger.removeHandler(handler)
    written = stream.getvalue()
    assert secret not in written
    assert header[12:-4] not in written
    assert written.startswith("refused: ***, ")
    assert written.endswith("␛[2J\n")
