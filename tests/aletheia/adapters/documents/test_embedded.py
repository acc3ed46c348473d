"""What the embedded store does beyond the contract: files, processes, crashes, indexes."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import TypeVar

import pytest

from aletheia.adapters.documents import worker
from aletheia.adapters.documents.embedded import FILE, EmbeddedDocuments
from aletheia.documents import Change, Document, Update, Where
from aletheia.errors import Misconfigured, Unavailable

T = TypeVar("T")

PROGRAM = Path(__file__).with_name("store_process.py")
ROOT = Path(__file__).parents[4]


class Watched(EmbeddedDocuments):
    """A store whose connections a test can reach."""

    async def ask_writer(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return await self.writer.ask(job)

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return await self.reader.ask(job)

    async def explain(self, statement: str) -> str:
        rows = await self.read(
            lambda connection: connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        )
        return "\n".join(row[-1] for row in rows)


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncGenerator[Watched]:
    store = Watched(directory)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store"


@pytest.fixture
async def store(directory: Path) -> AsyncGenerator[Watched]:
    async with opened(directory) as store:
        yield store


@contextlib.contextmanager
def locked(directory: Path) -> Generator[None]:
    """Hold the write lock, as another process in the middle of a transaction would."""
    with contextlib.closing(sqlite3.connect(directory / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def start(directory: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(PROGRAM), str(directory), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def modes_in(directory: Path) -> dict[str, int]:
    paths = [directory, *directory.iterdir()]
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}


def empty(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


# Files.


async def test_only_the_owner_can_read_the_files(store: Watched, directory: Path):
    await store.insert("things", [{"_id": "1"}])
    files = {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600}
    assert modes_in(directory) == {directory.name: 0o700, **files}


async def test_what_was_written_is_there_when_opened_again(directory: Path):
    document: Document = {"_id": "1", "v": "x", "payload": b"bytes"}
    async with opened(directory) as store:
        await store.insert("things", [document])
    async with opened(directory) as store:
        assert await store.find("things", {}, with_payload=True) == [document]


@pytest.mark.parametrize(("is_durable", "level"), [(True, 2), (False, 1)])
async def test_a_store_may_do_without_a_flush_to_the_disk_per_commit(
    directory: Path, *, is_durable: bool, level: int
):
    pragma = "PRAGMA synchronous"
    for _ in range(2):
        store = Watched(directory, is_durable=is_durable)
        await store.open()
        assert await store.ask_writer(lambda writing: writing.execute(pragma).fetchone()) == (
            level,
        )
        await store.insert("things", [{"_id": "1"}])
        assert await store.count("things", {}) == 1
        await store.close()


async def test_an_update_does_not_rewrite_the_payload(store: Watched, directory: Path):
    await store.insert("things", [{"_id": "1", "v": 1, "payload": bytes(2_000_000)}])
    log = directory / f"{FILE}-wal"
    before = log.stat().st_size
    for n in range(5):
        await store.update("things", [Update("1", Change(set={"v": n}))])
    assert log.stat().st_size - before < 100_000


async def test_a_file_that_is_no_store_is_unavailable(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(Unavailable, match="store is unavailable: file is not a database"):
        await EmbeddedDocuments(tmp_path).open()


async def test_damaged_pages_are_unavailable(directory: Path):
    async with opened(directory) as store:
        await store.insert("things", [{"_id": str(n), "v": "x" * 500} for n in range(200)])
    with (directory / FILE).open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * (20 * 4096))
    async with opened(directory) as store:
        with pytest.raises(Unavailable, match="malformed"):
            await store.find("things", {})


async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match=r"NotADirectoryError|FileExistsError"):
        await EmbeddedDocuments(tmp_path / "file" / "store").open()


async def test_a_deleted_file_takes_no_more_writes(store: Watched, directory: Path):
    await store.insert("things", [{"_id": "1"}])
    empty(directory)
    with pytest.raises(Unavailable, match="No such file"):
        await store.insert("things", [{"_id": "2"}])
    with pytest.raises(Unavailable, match="No such file"):
        await store.find("things", {})
    async with opened(directory):
        with pytest.raises(Unavailable, match="not the file that was opened"):
            await store.insert("things", [{"_id": "3"}])


async def test_a_full_disk_is_unavailable_until_space_is_free(store: Watched):
    await store.insert("things", [{"_id": "1"}])

    def limit(connection: sqlite3.Connection, pages: int) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    await store.ask_writer(lambda connection: limit(connection, 40))
    big: Document = {"_id": "2", "payload": bytes(1_000_000)}
    answers = await asyncio.gather(
        store.insert("things", [{"_id": "3"}]),
        store.insert("things", [{"_id": "4"}, big]),
        store.insert("things", [{"_id": "5"}]),
        return_exceptions=True,
    )
    assert answers[0] == {"3"}
    assert isinstance(answers[1], Unavailable)
    assert "full" in str(answers[1])
    assert answers[2] == {"5"}
    await store.ask_writer(lambda connection: limit(connection, 100_000))
    assert await store.insert("things", [big]) == {"2"}
    assert await store.count("things", {}) == 4


async def test_the_store_of_a_newer_version_is_left_alone(directory: Path):
    async with opened(directory):
        pass
    with contextlib.closing(sqlite3.connect(directory / FILE)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(Misconfigured, match="format 99"):
        await EmbeddedDocuments(directory).open()


async def test_a_store_that_is_not_open_is_unavailable(directory: Path):
    store = EmbeddedDocuments(directory)
    with pytest.raises(Unavailable, match="not open"):
        await store.count("things", {})
    await store.open()
    await store.close()
    with pytest.raises(Unavailable, match="not open"):
        await store.insert("things", [{"_id": "1"}])


# Several at once.


async def test_calls_at_once_share_a_few_commits(store: Watched):
    await store.insert("things", [{"_id": "first"}])
    seen: list[str] = []
    await store.ask_writer(lambda connection: connection.set_trace_callback(seen.append))
    await asyncio.gather(*(store.insert("things", [{"_id": str(n)}]) for n in range(200)))
    assert seen.count("COMMIT") < 20
    assert await store.count("things", {}) == 201


async def test_a_call_that_fails_spares_those_in_its_commit(store: Watched):
    await store.insert("things", [{"_id": "text", "v": "x"}, {"_id": "number", "v": 1}])
    increase = Change(increase={"v": 1})
    answers = await asyncio.gather(
        *(store.insert("things", [{"_id": str(n)}]) for n in range(20)),
        store.take("things", {"_id": "text"}, increase),
        store.update("things", [Update("number", increase)]),
        *(store.insert("things", [{"_id": str(n)}]) for n in range(20, 40)),
        return_exceptions=True,
    )
    assert [answer for answer in answers if isinstance(answer, Exception)] == [answers[20]]
    assert isinstance(answers[20], ValueError)
    assert await store.count("things", {}) == 42
    assert (await store.get("things", ["number"]))["number"]["v"] == 2


async def test_a_call_that_fails_half_way_leaves_nothing(store: Watched):
    await store.insert("things", [{"_id": "1"}])
    await store.ask_writer(
        lambda connection: connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000)
    )
    answers = await asyncio.gather(
        store.insert("things", [{"_id": "2"}]),
        store.insert("things", [{"_id": "3"}, {"_id": "4", "payload": bytes(60_000)}]),
        store.insert("things", [{"_id": "5"}]),
        return_exceptions=True,
    )
    assert isinstance(answers[1], ValueError)
    assert [document["_id"] for document in await store.find("things", {})] == ["1", "2", "5"]


async def test_a_cancelled_call_happens_completely_or_not_at_all(store: Watched):
    ids = [str(n) for n in range(50)]
    await store.insert("things", [{"_id": id_, "n": 0, "payload": b"0"} for id_ in ids])
    change = Change(set={"payload": b"1"}, increase={"n": 1})
    calls = [
        asyncio.create_task(store.update("things", [Update(id_, change), Update(id_, change)]))
        for id_ in ids
    ]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(answer == [True, True] for answer in answers[1::2])
    found = await store.get("things", ids, with_payload=True)
    states = [(found[id_]["n"], found[id_]["payload"]) for id_ in ids]
    assert set(states[1::2]) == {(2, b"1")}
    assert set(states[::2]) <= {(0, b"0"), (2, b"1")}


async def test_a_write_waits_for_another_process_and_reads_do_not(store: Watched, directory: Path):
    await store.insert("things", [{"_id": "1"}])
    with locked(directory):
        writing = asyncio.create_task(store.insert("things", [{"_id": "2"}]))
        assert await store.count("things", {}) == 1
        await asyncio.sleep(0.05)
        assert not writing.done()
    assert await writing == {"2"}


async def test_a_lock_that_is_never_released_is_unavailable(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker, "LOCK_TIMEOUT_S", 0.05)
    store = EmbeddedDocuments(directory)
    await store.open()
    await store.insert("things", [{"_id": "1"}])
    with locked(directory):
        answers = await asyncio.gather(
            *(store.insert("things", [{"_id": str(n)}]) for n in range(2, 20)),
            return_exceptions=True,
        )
    assert {str(answer) for answer in answers} == {
        "store is unavailable: database is locked (SQLITE_BUSY)"
    }
    assert await store.insert("things", [{"_id": "2"}]) == {"2"}
    await store.close()


async def test_closing_finishes_what_is_under_way(directory: Path):
    store = EmbeddedDocuments(directory)
    await store.open()
    await store.insert("things", [{"_id": "first"}])
    writing = [asyncio.create_task(store.insert("things", [{"_id": str(n)}])) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*writing) == [{str(n)} for n in range(50)]


async def test_event_loops_of_several_threads_share_a_store(store: Watched):
    async def insert(thread: int) -> None:
        for n in range(20):
            assert await store.insert("things", [{"_id": f"{thread}-{n}"}]) == {f"{thread}-{n}"}

    threads = [threading.Thread(target=asyncio.run, args=(insert(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    await insert(4)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert await store.count("things", {}) == 100


async def test_a_loop_that_went_away_does_not_stop_the_writer(store: Watched, directory: Path):
    await store.insert("things", [{"_id": "1"}])

    async def leave() -> None:
        call = asyncio.create_task(store.insert("things", [{"_id": "2"}]))
        await asyncio.sleep(0)
        call.cancel()

    with locked(directory):
        await asyncio.to_thread(asyncio.run, leave())
    assert await store.insert("things", [{"_id": "3"}]) == {"3"}


async def test_processes_never_take_the_same_document(directory: Path, store: Watched):
    await store.ensure_index("things", ["state", "rank"])
    wanted = [f"{n:03}" for n in range(300)]
    await store.insert(
        "things", [{"_id": id_, "state": "free", "rank": n} for n, id_ in enumerate(wanted)]
    )
    processes = [await start(directory, "take", f"taker-{n}") for n in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    done = [process.communicate(b"go\n") for process in processes]
    outputs = [output.decode().split() for output, _ in await asyncio.gather(*done)]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(id_ for output in outputs for id_ in output) == wanted
    assert sum(map(bool, outputs)) > 1
    found = await store.find("things", {"state": "held"})
    owners = {document["_id"]: document["owner"] for document in found}
    assert owners == {id_: f"taker-{n}" for n, output in enumerate(outputs) for id_ in output}


async def test_a_kill_loses_nothing_that_was_acknowledged(directory: Path):
    process = await start(directory, "write")
    assert process.stdout is not None
    acknowledged = [int(await process.stdout.readline()) for _ in range(40)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in (await process.communicate())[0].split()]
    async with opened(directory) as store:
        found = await store.find("things", {}, with_payload=True)
        done = {document["_id"] for document in found if document["n"] == 1}
        assert {f"{n}-{part}" for n in acknowledged for part in range(5)} <= done
        assert len(found) % 5 == 0
        assert all(("payload" in document) == (document["n"] == 1) for document in found)
        assert await store.insert("things", [{"_id": "after"}]) == {"after"}


# Indexes.


@pytest.mark.parametrize(
    ("where", "sort", "index", "searched"),
    [
        ({"state": "held", "until": {"$lt": 5}}, "until", "state,until", 2),
        ({"state": "held", "until": {"$gte": 1, "$lt": 5.5}}, None, "state,until", 3),
        ({"state": "held"}, "until", "state,until", 1),
        ({"state": {"$in": ["held", "free"]}}, None, "state,until", 1),
        ({"state": None}, None, "state,until", 1),
        ({"dead.code": "x"}, None, "dead.code", 1),
        ({"dead.code": {"$gt": "x"}}, "dead.code", "dead.code", 1),
        ({"dead.code": 7}, None, "dead.code", 1),
        ({"dead.code": True}, None, "dead.code", 1),
    ],
)
async def test_conditions_and_sorts_use_the_index(
    store: Watched, where: Where, sort: str | None, index: str, searched: int
):
    await store.ensure_index("things", ["state", "until"])
    await store.ensure_index("things", ["dead.code"])
    seen: list[str] = []
    await store.read(lambda connection: connection.set_trace_callback(seen.append))
    await store.find("things", where, sort=sort, limit=10)
    plan = await store.explain(seen[-1])
    assert f"USING INDEX index:things({index})" in plan
    assert plan.count("<expr>") == searched
    assert "TEMP B-TREE" not in plan or sort is None


async def test_a_take_reads_one_entry_of_its_index(store: Watched):
    await store.ensure_index("things", ["state", "rank"])
    seen: list[str] = []
    await store.ask_writer(lambda connection: connection.set_trace_callback(seen.append))
    await store.take("things", {"state": "free"}, Change(set={"state": "held"}), sort="rank")
    (chosen,) = [statement for statement in seen if statement.startswith("SELECT")]
    plan = await store.explain(chosen)
    assert "USING INDEX index:things(state,rank)" in plan
    assert "TEMP B-TREE" not in plan


async def test_documents_are_found_by_id_without_a_scan(store: Watched):
    seen: list[str] = []
    await store.read(lambda connection: connection.set_trace_callback(seen.append))
    await store.get("things", ["1", "2"], with_payload=True)
    plan = await store.explain(seen[-1])
    assert "(id=?)" in plan
    assert "SCAN documents" not in plan
    assert "SCAN payloads" not in plan
