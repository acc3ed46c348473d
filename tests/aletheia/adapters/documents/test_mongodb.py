"""What the MongoDB store does beyond the contract: secrets, outages, sizes, the driver's errors."""

import traceback
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from pymongo import AsyncMongoClient, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WriteError,
)

from aletheia.adapters.documents import mongodb
from aletheia.adapters.documents.mongodb import MongoDocuments
from aletheia.documents import Change, Document, Update
from aletheia.errors import Misconfigured, Unavailable
from tests.services.nx import find_nx, free_port, running_nx

PASSWORD = "s3cret-p%40ss"
TASK_TEXT = "what the task says"


class Watched(MongoDocuments):
    """A store whose handling of the driver's errors a test can reach."""

    def meet(self, error: PyMongoError) -> None:
        with self._translating():
            raise error

    async def upsert_into(self, target: Any, updates: Sequence[Update]) -> None:
        await self._upsert_once(target, updates)


class CollidingCollection:
    """Takes bulk writes; in each, the writes to these ids collide as often as is set."""

    def __init__(self, collisions: dict[str, int]) -> None:
        self.collisions = collisions
        self.bulks: list[list[str]] = []

    async def bulk_write(self, writes: Sequence[UpdateOne], *, ordered: bool) -> None:
        assert not ordered
        ids = [str(write._filter["_id"]) for write in writes]  # pyright: ignore[reportPrivateUsage] - there is no public way
        self.bulks.append(ids)
        colliding = [id_ for id_ in ids if self.collisions.get(id_)]
        for id_ in colliding:
            self.collisions[id_] -= 1
        if colliding:
            raise BulkWriteError(
                {
                    "writeErrors": [
                        {"index": ids.index(id_), "code": 11000, "errmsg": "duplicate key"}
                        for id_ in colliding
                    ]
                }
            )


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncGenerator[str]:
    name = f"aletheia_test_{uuid.uuid4().hex}"
    yield name
    async with AsyncMongoClient[Document](mongodb_uri) as client:
        await client.drop_database(name)


@pytest.fixture
async def store(mongodb_uri: str, database: str) -> AsyncGenerator[MongoDocuments]:
    store = MongoDocuments(mongodb_uri, database)
    await store.open()
    yield store
    await store.close()


def unreachable(uri: str = "") -> Watched:
    return Watched(uri or f"mongodb://127.0.0.1:{free_port()}", "x")


@pytest.mark.parametrize(
    "uri",
    [
        f"mongodb://user:{PASSWORD}/x@127.0.0.1",
        f"mongodb://user:{PASSWORD}:x@127.0.0.1",
        f"mongodb://user:{PASSWORD}@127.0.0.1:port",
        f"mongodb://user:{PASSWORD}@",
        f"http://user:{PASSWORD}@127.0.0.1",
        f"mongodb+srv://user:{PASSWORD}@example.org:1",
        "",
    ],
)
async def test_a_uri_that_cannot_be_read_is_not_repeated(uri: str):
    with pytest.raises(Misconfigured, match="MONGODB_URI") as refusal:
        await MongoDocuments(uri, "x").open()
    assert "s3cret" not in "".join(traceback.format_exception(refusal.value))


async def test_a_database_name_that_cannot_be_read_is_named():
    with pytest.raises(Misconfigured, match=r"'a\.b c'"):
        await MongoDocuments("mongodb://127.0.0.1", "a.b c").open()


async def test_a_server_out_of_reach_is_unavailable_and_its_password_unsaid(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(mongodb, "TIMEOUT_S", 0.05)
    uri = f"mongodb://user:{PASSWORD}@127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match="store is unavailable: ServerSelection") as outage:
        await unreachable(uri).open()
    said = "".join(traceback.format_exception(outage.value))
    assert "s3cret" not in said
    assert "Topology" not in str(outage.value)


async def test_a_store_that_is_not_open_is_unavailable():
    with pytest.raises(Unavailable, match="not open"):
        await unreachable().count("things", {})


async def test_a_server_that_goes_away_is_unavailable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mongodb, "TIMEOUT_S", 0.2)
    program = find_nx()
    if program is None:
        pytest.skip("no MongoDB wire server: run `make services`")
    with running_nx(program) as uri:
        store = MongoDocuments(uri, "gone")
        await store.open()
        assert await store.insert("things", [{"_id": "1"}]) == {"1"}
    with pytest.raises(Unavailable):
        await store.insert("things", [{"_id": "2"}])
    with pytest.raises(Unavailable):
        await store.update("things", [Update(str(n), Change(set={"v": 1})) for n in range(3)])
    with pytest.raises(Unavailable):
        await store.find("things", {})
    with pytest.raises(Unavailable):
        await store.clock_skew_s()
    await store.close()


@pytest.mark.parametrize("password", [PASSWORD, "s3cret-p@ss"])
def test_a_password_in_the_drivers_words_is_blotted_out(password: str):
    store = unreachable(f"mongodb://user:{PASSWORD}@127.0.0.1")
    for error in (ConfigurationError(f"bad: {password}"), OperationFailure(f"bad: {password}")):
        with pytest.raises(Unavailable) as outage:
            store.meet(error)
        assert "s3cret" not in "".join(traceback.format_exception(outage.value))


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("connection closed"),
        NotPrimaryError("not primary"),
        ExecutionTimeout("too slow", 50),
        OperationFailure("not authorized", 13, {"errmsg": "not authorized"}),
        OperationFailure("Authentication failed.", 18),
        WriteError("out of disk space", 14031, {"errmsg": "out of disk space"}),
        BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "w"}]}),
    ],
)
def test_trouble_with_the_server_is_unavailable(error: PyMongoError):
    with pytest.raises(Unavailable, match=f"store is unavailable: {type(error).__name__}"):
        unreachable().meet(error)


@pytest.mark.parametrize(
    "error",
    [
        WriteError("", 28, {"errmsg": "Cannot create field"}),
        OperationFailure("", 14, {"errmsg": "Cannot apply $inc"}),
        BulkWriteError(
            {
                "writeErrors": [
                    {"index": 0, "code": 11000, "errmsg": "duplicate"},
                    {"index": 1, "code": 17420, "errmsg": "too large"},
                ]
            }
        ),
    ],
)
def test_a_change_the_server_finds_wrong_is_a_value_error(error: PyMongoError):
    with pytest.raises(ValueError, match=r"Cannot|too large"):
        unreachable().meet(error)


def test_what_tasks_say_stays_out_of_errors():
    details = {
        "writeErrors": [
            {"index": 0, "code": 14031, "errmsg": "disk full", "op": {"text": TASK_TEXT}}
        ]
    }
    with pytest.raises(Unavailable, match="disk full") as outage:
        unreachable().meet(BulkWriteError(details))
    assert TASK_TEXT not in "".join(traceback.format_exception(outage.value))


async def test_upserts_that_collide_are_tried_again():
    target = CollidingCollection({"2": 1, "3": 3})
    updates = [Update(id_, Change(set={"v": 1})) for id_ in "123"]
    await unreachable().upsert_into(target, updates)
    assert target.bulks == [["1", "2", "3"], ["2", "3"], ["3"], ["3"]]


async def test_upserts_that_go_on_colliding_are_unavailable():
    target = CollidingCollection({"1": 99})
    with pytest.raises(Unavailable, match="duplicate key"):
        await unreachable().upsert_into(target, [Update("1", Change(set={"v": 1}))])
    assert len(target.bulks) == 5


async def test_a_document_over_16_mb_is_refused_and_its_neighbours_with_it(store: MongoDocuments):
    big: Document = {"_id": "big", "payload": bytes(16 * 2**20)}
    with pytest.raises(ValueError, match=r"'big' of 167772.. bytes is over the 16 MB"):
        await store.insert("things", [{"_id": "small"}, big])
    assert await store.count("things", {}) == 0
    await store.insert("things", [{"_id": "small"}])
    with pytest.raises(ValueError, match="over the 16 MB"):
        await store.update("things", [Update("small", Change(set={"payload": bytes(17 * 2**20)}))])


async def test_a_payload_is_stored_as_binary_beside_the_values(
    store: MongoDocuments, mongodb_uri: str, database: str
):
    await store.insert("things", [{"_id": "1", "v": {"w": 1}, "payload": b"\x00\xff"}])
    async with AsyncMongoClient[Document](mongodb_uri) as client:
        things: AsyncCollection[Document] = client[database]["things"]
        assert await things.find_one() == {"_id": "1", "v": {"w": 1}, "payload": b"\x00\xff"}


async def test_an_index_is_made_once_under_its_names(
    store: MongoDocuments, mongodb_uri: str, database: str
):
    for _ in range(2):
        await store.ensure_index("things", ["state", "dead.code"])
    async with AsyncMongoClient[Document](mongodb_uri) as client:
        indexes = await client[database]["things"].index_information()
    keys = [index["key"] for name, index in indexes.items() if name != "_id_"]
    assert keys == [[("state", 1), ("dead.code", 1)]]


async def test_the_clock_of_the_server_is_compared_with_ours(store: MongoDocuments):
    skew_s = await store.clock_skew_s()
    assert skew_s is not None
    assert abs(skew_s) < 0.5


class PartlyAnswering:
    """A collection of a service that refuses nested lists, and whose bulk answers lack a number.

    So FerretDB answers: pymongo adds up `nModified` of each part of a bulk, and there is none.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}

    async def bulk_write(self, writes: Sequence[UpdateOne], *, ordered: bool) -> None:
        del writes, ordered
        raise KeyError("nModified")

    async def update_one(self, chosen: Document, change: Document, *, upsert: bool) -> None:
        assert upsert
        if "[[" in str(change):
            raise WriteError("the document has nested arrays", 2, {"errmsg": "nested arrays"})
        self.rows[chosen["_id"]] = change["$set"]


async def test_a_bulk_that_is_answered_without_its_numbers_is_written_one_by_one():
    target = PartlyAnswering()
    updates = [Update(str(n), Change(set={"v": n})) for n in range(3)]
    await Watched("mongodb://127.0.0.1:1", "x").upsert_into(target, updates)
    assert target.rows == {str(n): {"v": n} for n in range(3)}


async def test_what_such_a_service_refuses_in_a_bulk_is_said():
    updates = [Update(id_, Change(set={"v": v})) for id_, v in (("1", [[1]]), ("2", 2))]
    target = PartlyAnswering()
    with pytest.raises(ValueError, match="nested arrays"):
        await Watched("mongodb://127.0.0.1:1", "x").upsert_into(target, updates)
    assert target.rows == {"2": {"v": 2}}


class Unprojecting(MongoDocuments):
    """A store on a service that finds nothing to modify where a projection is asked for."""

    def _collection(self, collection: str) -> Any:
        del collection
        return self

    async def find_one_and_update(self, *_: object, **options: object) -> Document | None:
        if options.get("projection"):
            return None
        return {"_id": "1", "v": 2, "payload": b"x"}


async def test_a_document_is_taken_without_asking_the_server_for_a_part_of_it():
    store = Unprojecting("mongodb://127.0.0.1:1", "x")
    assert await store.take("things", {"v": 1}, Change(set={"v": 2})) == {"_id": "1", "v": 2}
