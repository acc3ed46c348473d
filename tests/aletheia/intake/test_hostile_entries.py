"""No entry, however odd, costs more than itself (SPEC §1)."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.upstream.pages import read_page
from aletheia.documents import Change, Document, Update
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import NewTask
from aletheia.intake.parsing import parse_entry, parse_page
from aletheia.intake.pipeline import drain
from aletheia.intake.poller import Poller
from aletheia.intake.rows import ROWS, Rows
from aletheia.settings import IntakeSettings
from tests.aletheia.intake.conftest import Bench
from tests.aletheia.intake.hostile import SURROGATE, Hostility, nested
from tests.fakes.processors import FakeProcessors

ENTRIES = 12_000
DONE = ["processing", "succeeded"]
SPOILERS = (
    *(b"\\ud800", b'"', b"{", b"]", b"\x00", b"\xff", b"\\", b"NaN", b"1e999", b"9" * 5000),
    *(b"[" * 2000, b'{"":' * 300, b"null", b"-", b","),
)
"""What is put into a page."""


class ListedUpstream:
    """An upstream in memory that hands out a page at a time and takes every report.

    Attributes:
        reports: bodies by task id.
    """

    def __init__(self, entries: list[object]) -> None:
        self._entries = entries
        self.reports: dict[str, list[dict[str, Any]]] = {}

    def list_again(self, entries: list[object]) -> None:
        """Hand these out once more."""
        self._entries = entries

    async def pending(self, limit: int) -> list[object]:
        """Hand out what was not handed out before."""
        page, self._entries = self._entries[:limit], self._entries[limit:]
        return page

    async def report(self, task_id: str, body: bytes) -> None:
        """Take any report that is JSON."""
        self.reports.setdefault(task_id, []).append(orjson.loads(body))


def good(number: int) -> dict[str, Any]:
    return {"id": f"good {number}", "type": "echo", "data": {"text": f"good {number}"}}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(2))
async def test_no_entry_stops_a_shift_or_costs_its_neighbours_anything(tmp_path: Path, seed: int):
    hostility = Hostility(seed)
    per_seed = ENTRIES // 2
    entries = [hostility.entry(number) for number in range(per_seed)]
    for number in range(0, per_seed, 100):
        entries.insert(number, good(number))
    upstream = ListedUpstream(list(entries))
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    settings = IntakeSettings(
        _env_file=None,  # pyright: ignore[reportCallIssue] - pydantic's own
        poll_limit=1000,
        retry_base_seconds=0,
    ).model_copy(update={"batch_max_tasks": 2 * per_seed})
    # What is left of a page for the next batch would be listed again; here all fits into one.
    ledger = Ledger(documents, settings, owner="a test")
    poller = Poller(upstream, ledger, FakeProcessors())
    await ledger.prepare()
    if seed:
        # Another poller claims some of it, and lets go of it.
        killed = Poller(upstream, Ledger(documents, settings, owner="killed"), FakeProcessors())
        await killed.collector.collect()
        await killed.held.release_all()
    async with poller.holding():
        await drain(poller.collector.collect, poller.process)
        if not seed:
            upstream.list_again(list(entries))
            await drain(poller.collector.collect, poller.process)
    rows = await documents.find(ROWS, {})
    await documents.close()

    for number in range(0, per_seed, 100):
        assert [r["state"] for r in upstream.reports[f"good {number}"]][:2] == DONE
    # Some ids are drawn more than once: what came first is given up for what comes later.
    assert {row["state"] for row in rows} <= {"reported", "rejected", "superseded"}
    assert {row["task_id"] for row in rows if row["state"] == "reported"} == set(upstream.reports)
    for reports in upstream.reports.values():
        assert reports[-1]["state"].lower() in {"succeeded", "failed"}


def test_what_is_kept_of_an_entry_can_be_read_back():
    hostility = Hostility(7)
    for number in range(2000):
        page = parse_page([hostility.entry(number)], max_entry_bytes=100_000)
        for entry in page.entries:
            entry.json.encode()
            assert parse_entry(entry.json).id == entry.id
        for rejected in page.rejected:
            rejected.json.encode()


@pytest.mark.parametrize("number", [2**64, -(2**70), 10**200, 10**300])
def test_numbers_are_read_back_as_they_came(number: int):
    entry = {"id": abs(number), "type": "echo", "data": {"text": "x", "number": number}}
    for listed in parse_page([entry], max_entry_bytes=10_000).entries:
        again = parse_entry(listed.json)
        assert (again.row_id, again.task) == (listed.row_id, listed.task)


def test_an_integer_that_cannot_be_written_costs_its_own_entry():
    page = parse_page([{"id": 10**5000}, {"id": "t1", "n": 10**5000}], max_entry_bytes=10_000)
    assert (len(page.rejected), [entry.id for entry in page.entries]) == (1, ["t1"])


async def test_an_entry_that_work_fails_on_unexpectedly_is_left_out_and_recorded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    new = Rows.new
    asked: list[str] = []

    def fail(self: Rows, new_task: NewTask) -> Document:
        asked.append(new_task.entry.id)
        if new_task.entry.id in {"t3", "t4", "t17"}:
            raise RecursionError("made to fail")
        return new(self, new_task)

    monkeypatch.setattr(Rows, "new", fail)
    for number in range(25):
        bench.add(f"t{number}")
    await bench.drain()
    assert bench.upstream.states == {f"t{n}": DONE for n in range(25) if n not in (3, 4, 17)}
    rows = await bench.rows()
    assert {rows[f"t{n}"]["state"] for n in (3, 4, 17)} == {"rejected"}
    assert rows["t3"]["error"]["code"] == "internal_error"
    asked.clear()
    await bench.drain()
    assert asked == [], "what was recorded is not tried again"


async def test_an_input_that_cannot_be_checked_fails_its_own_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    admit = bench.processors.admit

    def fail(task_type: str, task_input: dict[str, Any]) -> str:
        if task_input["text"] == "poison":
            raise RecursionError("made to fail")
        return admit(task_type, task_input)

    for number in range(5):
        bench.add(f"t{number}", "poison" if number == 2 else "good")
    taken = bench.poller()
    await taken.held.ledger.prepare()
    await taken.collector.collect()
    await taken.held.release_all()
    monkeypatch.setattr(bench.processors, "admit", fail)
    await bench.drain()
    assert {key: states[-1] for key, states in bench.upstream.states.items()} == {
        f"t{n}": "failed" if n == 2 else "succeeded" for n in range(5)
    }


async def test_a_row_that_cannot_be_read_is_left_out_and_recorded(bench: Bench):
    bench.add("t1")
    bench.add("t2")
    killed = bench.poller()
    await killed.held.ledger.prepare()
    await killed.collector.collect()
    (row,) = await bench.documents.find(ROWS, {"task_id": "t1"})
    spoilt = Change(set={"task_json": "[" * 5000})
    await bench.documents.update(ROWS, [Update(row["_id"], spoilt)])
    bench.clock.now += 100
    await bench.drain()
    assert await bench.states() == {"t1": "rejected", "t2": "reported"}
    assert (await bench.drain()).held.tally.taken_over == 0


async def test_a_dead_letter_that_cannot_be_read_stops_no_replay(bench: Bench):
    bench.upstream.reopen_failed()
    for number in range(3):
        bench.add(f"t{number}", type="no_such_type")
    await bench.drain()
    (row,) = await bench.documents.find(ROWS, {"task_id": "t1"})
    spoilt = Change(set={"task_json": "[" * 5000})
    await bench.documents.update(ROWS, [Update(row["_id"], spoilt)])
    poller = bench.poller()
    found = await poller.held.ledger.dead_letters.find(limit=9)
    await poller.replayer.recall([row["_id"] for row in found])
    assert poller.held.tally.refused_replays == 3
    assert len(await poller.held.ledger.dead_letters.find(limit=9)) == 2
    assert (await bench.states())["t1"] == "rejected"


async def test_a_result_that_cannot_be_written_down_fails_its_own_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    update = EmbeddedDocuments.update

    async def refuse(self: EmbeddedDocuments, collection: str, updates: list[Update]) -> list[bool]:
        good = [
            update for update in updates if b"POISON" not in update.change.set.get("payload", b"")
        ]
        done = await update(self, collection, good)
        if len(good) < len(updates):
            raise ValueError("a document is over the 16 MB that MongoDB holds")
        return done

    monkeypatch.setattr(EmbeddedDocuments, "update", refuse)
    for number in range(6):
        bench.add(f"t{number}", "poison" if number == 2 else "good")
    await bench.drain()
    failed = ["processing", "failed"]
    assert bench.upstream.states == {f"t{n}": failed if n == 2 else DONE for n in range(6)}
    assert (await bench.rows())["t2"]["dead_code"] == "unstorable_result"


def spoil(page: bytes, draw: random.Random) -> bytes:
    """Change a page here and there, as a broken sender, or an evil one, would."""
    spoilt = bytearray(page)
    for _ in range(draw.choice([0, 1, 3, 20])):
        at = draw.randrange(len(spoilt) + 1)
        spoilt[at : at + draw.choice([0, 0, 1, 30])] = draw.choice(SPOILERS)
    return bytes(spoilt[: draw.choice([len(spoilt), draw.randrange(len(spoilt) + 1)])])


def test_a_spoilt_page_is_no_page_or_costs_only_what_is_spoilt():
    draw, hostility = random.Random(3), Hostility(3)
    pages = 0
    for number in range(3000):
        entries = [hostility.entry(number), good(number)]
        try:
            text = json.dumps({"data": entries} if number % 2 else entries)
        except RecursionError:
            text = json.dumps([good(number)])
        try:
            listed = read_page(spoil(text.encode(), draw))
        except ValueError:
            continue
        pages += 1
        page = parse_page(listed, max_entry_bytes=100_000)
        for kept in (*page.entries, *page.rejected):
            kept.json.encode()
        for entry in page.entries:
            parse_entry(entry.json)
    assert pages > 500


async def test_routing_data_with_half_a_character_is_carried_along(bench: Bench):
    bench.upstream.add_raw(
        {"id": "t1"},
        b'{"id": "t1", "type": "echo", "data": {"text": "x"}, "callbackRoute": "a\\ud800",'
        b' "callbackParams": {"to": "\\udfff"}}',
    )
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    row = (await bench.rows())["t1"]
    assert orjson.loads(row["callback_json"].replace("\\ud800", "?").replace("\\udfff", "?")) == {
        "route": "a?",
        "params": {"to": "?"},
    }


@pytest.mark.parametrize("depth", [150, 1000, 5000])
def test_a_type_nested_deep_fails_its_own_task(depth: int):
    page = parse_page(
        [{"id": "deep", "type": nested(depth, SURROGATE), "data": {"text": "x"}}, good(1)],
        max_entry_bytes=10_000,
    )
    assert [entry.id for entry in page.entries] == ["deep", "good 1"]


async def test_what_the_store_cannot_take_fails_its_own_row(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    insert = EmbeddedDocuments.insert

    async def refuse(
        self: EmbeddedDocuments, collection: str, documents: list[Document], **counts: Any
    ) -> set[str]:
        if any("poison" in row.get("task_json", "") for row in documents):
            raise OverflowError("made not to fit")
        return await insert(self, collection, documents, **counts)

    monkeypatch.setattr(EmbeddedDocuments, "insert", refuse)
    bench.add("t1")
    bench.add("t2", "poison")
    bench.add("t3", data="poison")
    bench.add("t4")
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE, "t2": ["failed"], "t3": ["failed"], "t4": DONE}
    codes = {row["task_id"]: row.get("dead_code") for row in (await bench.rows()).values()}
    assert codes["t2"] == "unstorable_task"
    assert len(list(itertools.chain(*bench.upstream.bodies.values()))) == 6
