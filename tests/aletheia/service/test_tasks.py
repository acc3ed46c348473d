"""Tasks that are pushed to the service, and what is read of tasks."""

from typing import Any

import pytest

from aletheia.documents import Documents
from aletheia.intake.ledger import Ledger
from aletheia.intake.pipeline import drain
from aletheia.intake.poller import Poller
from aletheia.intake.rows import ROWS
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.usage import Call, Spending
from aletheia.logs import about_tasks
from aletheia.settings import BudgetSettings, IntakeSettings
from tests.aletheia.service.test_operations import dead_row
from tests.fakes.processors import FakeProcessors
from tests.fakes.service import TASKS_KEY, Client, FakeService

TASKS = "/api/v1/tasks"


class Nobody:
    """An upstream that has nothing, and is sent nothing."""

    async def pending(self, limit: int) -> list[object]:
        assert limit
        return []

    async def report(self, task_id: str, body: bytes) -> None:
        raise AssertionError((task_id, body))


@pytest.fixture
def pusher(client: Client) -> Client:
    other = client.as_role("viewer")
    other.headers = {"Authorization": f"Bearer {TASKS_KEY}"}
    return other


def task(task_id: str = "p1", text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"id": task_id, "type": "echo", "data": {"text": text}, **more}


async def work(documents: Documents) -> None:
    ledger = Ledger(documents, IntakeSettings(), owner="a test")
    poller = Poller(Nobody(), ledger, FakeProcessors())
    await ledger.prepare()
    async with poller.holding():
        await drain(poller.collector.collect, poller.process)


async def test_a_task_is_traced_whatever_its_id_is(service: FakeService, client: Client):
    await service.store.insert(ROWS, [dead_row(1)])
    status, found = await client.get("/api/v1/tasks/task%201%2F%C3%BC")
    assert (status, found["traces"][0]["state"]) == (200, "dead")
    assert found["pushed"] is None
    assert [event["what"] for event in found["traces"][0]["events"]][-1] == "became a dead letter"
    assert (await client.get("/api/v1/tasks/unknown"))[0] == 404
    assert (await client.get(f"/api/v1/tasks/{'a' * 501}"))[0] == 422


async def test_a_trace_says_nothing_of_what_is_sent_along_with_a_callback(
    service: FakeService, client: Client
):
    sent = '{"route": "/hooks/1", "params": {"token": "s3cret"}}'
    await service.store.insert(ROWS, [dead_row(1) | {"task_id": "t1", "callback_json": sent}])
    status, found = await client.get("/api/v1/tasks/t1")
    assert (status, "s3cret" in str(found)) == (200, False)
    facts = found["traces"][0]["facts"]
    assert facts["callback"] == {"route": "/hooks/1", "params": ["token"]}


async def test_a_trace_shows_the_calls_to_models_that_were_made_for_the_task(
    service: FakeService, client: Client
):
    budgets = BudgetSettings()
    spending = Spending(service.store, PriceTable.from_settings(budgets), budgets)
    with about_tasks(["t1", "t2"]) as computation:
        call = Call("key", "openai", "text-embedding-3-small", "embedding")
    await spending.settle(await spending.reserve(call, Tokens(90)), Tokens(70))
    await spending.reserve(
        Call("other", "openai", "text-embedding-3-small", "embedding"), Tokens(9)
    )
    row = dead_row(1) | {"task_id": "t1", "computations": f"gone {computation.id}"}
    await service.store.insert(ROWS, [row])
    status, found = await client.get("/api/v1/tasks/t1")
    (shown,) = found["traces"][0]["calls"]
    assert (status, shown.pop("at")[:2]) == (200, "20")
    assert float(shown.pop("usd")) > 0
    assert shown == {
        "provider": "openai",
        "model": "text-embedding-3-small",
        "kind": "embedding",
        "state": "settled",
        "tokens_in": 70,
        "tokens_out": 0,
        "tasks": 2,
    }


async def test_a_pushed_task_is_computed_and_read_by_its_id(service: FakeService, pusher: Client):
    assert await pusher.call("POST", TASKS, task()) == (
        202,
        {"tasks": [{"id": "p1", "is_new": True}]},
    )
    _, found = await pusher.get(f"{TASKS}/p1")
    assert (found["pushed"]["state"], found["pushed"]["result"]) == ("pending", None)
    await work(service.store)
    _, found = await pusher.get(f"{TASKS}/p1")
    assert found["pushed"]["state"] == "succeeded"
    assert found["pushed"]["result"]["echo"] == "HELLO"
    assert found["pushed"]["usage"] == {"tokens": 5}
    assert found["traces"][0]["state"] == "reported"


async def test_a_task_that_fails_says_why(service: FakeService, pusher: Client):
    await pusher.call("POST", TASKS, {"_id": "p1", "type": "nothing", "content": {"text": "a"}})
    await work(service.store)
    _, found = await pusher.get(f"{TASKS}/p1")
    assert found["pushed"]["state"] == "failed"
    assert found["pushed"]["error"]["code"] == "unknown_type"


async def test_an_id_that_is_pushed_again_is_the_same_task(service: FakeService, pusher: Client):
    body = {"tasks": [task(), task("p2")]}
    _, first = await pusher.call("POST", TASKS, body)
    await work(service.store)
    _, again = await pusher.call("POST", TASKS, [task("p2"), task(), task("p3")])
    assert [found["is_new"] for found in first["tasks"]] == [True, True]
    assert again["tasks"] == [
        {"id": "p2", "is_new": False},
        {"id": "p1", "is_new": False},
        {"id": "p3", "is_new": True},
    ]
    assert await service.store.count(ROWS, {}) == 3


async def test_an_id_with_other_content_is_refused_and_nothing_is_taken(
    service: FakeService, pusher: Client
):
    await pusher.call("POST", TASKS, task())
    status, found = await pusher.call("POST", TASKS, [task("p2"), task(text="other")])
    assert (status, found["error"]["code"]) == (409, "id_reused")
    assert await service.store.count(ROWS, {}) == 1


async def test_a_task_without_an_id_gets_one(pusher: Client):
    status, found = await pusher.call("POST", TASKS, {"type": "echo", "data": {"text": "a"}})
    assert status == 202
    assert len(found["tasks"][0]["id"]) == 32


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "no_tasks"),
        ({"tasks": []}, "no_tasks"),
        ([task(), task()], "duplicate_id"),
        (task("."), "invalid_id"),
        (task("a" * 300), "invalid_id"),
        (task(callback_url=7), "invalid_callback_url"),
        (task(callback_url="http://example.com/x"), "invalid_webhook_url"),
        (task(callback_url="https://10.0.0.1/x"), "invalid_webhook_url"),
        (task(callback_url="https://169.254.169.254/latest"), "invalid_webhook_url"),
        (task(callback_url="ftp://example.com"), "invalid_webhook_url"),
        ("text", "invalid_request"),
        ([1], "invalid_request"),
    ],
)
async def test_what_cannot_be_taken_says_why(
    service: FakeService, pusher: Client, body: Any, code: str
):
    status, found = await pusher.call("POST", TASKS, body)
    assert (status, found["error"]["code"]) == (422, code)
    assert await service.store.count(ROWS, {}) == 0


async def test_a_request_has_a_bound(pusher: Client):
    body = [task(str(number)) for number in range(1001)]
    status, found = await pusher.call("POST", TASKS, body)
    assert (status, found["error"]["code"]) == (422, "too_many_tasks")


async def test_only_the_key_pushes_and_it_reads_only_what_was_pushed(
    service: FakeService, client: Client, pusher: Client
):
    assert (await client.as_role("admin").call("POST", TASKS, task()))[0] == 401
    await service.store.insert(ROWS, [dead_row(1) | {"task_id": "theirs"}])
    assert (await client.get(f"{TASKS}/theirs"))[0] == 200
    assert (await pusher.get(f"{TASKS}/theirs"))[0] == 404
    await pusher.call("POST", TASKS, task("theirs"))
    _, found = await pusher.get(f"{TASKS}/theirs")
    assert len(found["traces"]) == 1
    _, found = await client.get(f"{TASKS}/theirs")
    assert (len(found["traces"]), found["pushed"]["state"]) == (2, "pending")
    pusher.headers = {"Authorization": "Bearer another"}
    assert (await pusher.get(f"{TASKS}/theirs"))[0] == 401
    pusher.headers = {}
    assert (await pusher.get(f"{TASKS}/theirs"))[0] == 401
