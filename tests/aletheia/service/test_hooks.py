"""Webhooks as senders, strangers and repeaters make them."""

import asyncio
import time
from typing import Any

import aiohttp
import orjson
import pytest

from aletheia.events.signatures import sign
from aletheia.service import guarding
from aletheia.service.deliveries import DELIVERIES
from aletheia.service.hooks import DEPLOYMENTS
from tests.fakes.orchestrator import PARAMETERS, FakeOrchestrator
from tests.fakes.service import HOOK_SECRET, Client, FakeService, calling

GATHER = {"project_id": "shop", "user_id": "user-1", "max_iterations": 5}


def signed(
    body: bytes, *, secret: str = HOOK_SECRET, at: float | None = None, **headers: Any
) -> dict[str, str]:
    timestamp = str(int(time.time() if at is None else at))
    return {
        "Content-Type": "application/json",
        "X-Aletheia-Timestamp": timestamp,
        "X-Aletheia-Signature": sign(secret, timestamp, body),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }


async def post(
    client: Client, hook: str, body: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    async with client.session.post(f"/hooks/{hook}", data=body, headers=headers) as response:
        return response.status, orjson.loads(await response.read())


async def send(client: Client, hook: str, order: Any, **headers: Any) -> tuple[int, dict[str, Any]]:
    body = orjson.dumps(order)
    return await post(client, hook, body, signed(body, **headers))


@pytest.fixture
def orchestrator(service: FakeService) -> FakeOrchestrator:
    return service.orchestrator


@pytest.mark.parametrize(
    ("hook", "order", "deployment"),
    [
        ("poll", {"shift_seconds": 0}, "poll_tasks/poll_tasks"),
        ("poll", {}, "poll_tasks/poll_tasks"),
        ("gather", GATHER, "automated_gather_creation/automated_gather_creation"),
        (
            "evaluate",
            {"project_id": "shop", "user_id": "u", "department_number": 2},
            "evaluate_department/evaluate_department",
        ),
        ("reason", {"shift_seconds": 60}, "system_reasoning/system_reasoning"),
    ],
)
async def test_a_signed_request_starts_its_run(
    client: Client, orchestrator: FakeOrchestrator, hook: str, order: Any, deployment: str
):
    status, answer = await send(client, hook, order, Idempotency_Key="k1")
    assert (status, answer["run_id"], answer["is_copy"]) == (202, "run-1", False)
    ((started, parameters),) = orchestrator.runs.values()
    assert started == deployment
    assert order.items() <= parameters.items()


async def test_a_webhook_reasons_once_and_not_for_a_shift(
    client: Client, orchestrator: FakeOrchestrator
):
    assert (await send(client, "reason", {}))[0] == 202
    assert [wanted for _, wanted in orchestrator.runs.values()] == [{"shift_seconds": 0}]


async def test_a_thousand_copies_start_one_run(client: Client, orchestrator: FakeOrchestrator):
    orchestrator.delay_s = 0.2
    answers = await asyncio.gather(
        *(send(client, "gather", GATHER, Idempotency_Key="k1") for _ in range(1_000))
    )
    assert {status for status, _ in answers} == {202}
    assert {answer["run_id"] for _, answer in answers} == {"run-1"}
    assert sum(not answer["is_copy"] for _, answer in answers) == 1
    assert (len(orchestrator.runs), orchestrator.asked) == (1, 1)
    _, listed = await client.get("/api/v1/hooks/deliveries")
    assert [(row["copies"], row["state"]) for row in listed["deliveries"]] == [(999, "started")]


async def test_the_senders_event_id_serves_as_a_key(client: Client, orchestrator: FakeOrchestrator):
    for at in (-2, -1):
        body = orjson.dumps(GATHER)
        headers = signed(body, at=time.time() + at, X_Aletheia_Event_Id="shop:7")
        assert (await post(client, "gather", body, headers))[0] == 202
    assert len(orchestrator.runs) == 1


async def test_without_any_key_what_was_signed_is_one(
    client: Client, orchestrator: FakeOrchestrator
):
    body = orjson.dumps(GATHER)
    headers = signed(body)
    for _ in range(3):
        assert (await post(client, "gather", body, headers))[0] == 202
    assert len(orchestrator.runs) == 1


async def test_what_was_signed_cannot_be_sent_under_another_key_or_to_another_hook(
    client: Client, orchestrator: FakeOrchestrator
):
    body = b"{}"
    headers = signed(body, Idempotency_Key="k1")
    assert (await post(client, "poll", body, headers))[0] == 202
    upper = headers["X-Aletheia-Signature"].upper().replace("SHA256", "sha256")
    for hook, changed in (
        ("poll", {"Idempotency-Key": "k2"}),
        ("reason", {}),
        ("poll", {"Idempotency-Key": "k3", "X-Aletheia-Signature": upper}),
    ):
        status, answer = await post(client, hook, body, headers | changed)
        assert (status, answer["error"]["code"]) == (409, "replayed_signature")
    assert len(orchestrator.runs) == 1


async def test_a_key_is_for_one_content(client: Client, orchestrator: FakeOrchestrator):
    assert (await send(client, "gather", GATHER, Idempotency_Key="k1"))[0] == 202
    other = GATHER | {"max_iterations": 6}
    status, answer = await send(client, "gather", other, Idempotency_Key="k1")
    assert (status, answer["error"]["code"]) == (409, "idempotency_key_reused")
    assert len(orchestrator.runs) == 1


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"X-Aletheia-Signature": ""}, "missing_signature"),
        ({"X-Aletheia-Signature": "sha256="}, "wrong_signature"),
        ({"X-Aletheia-Signature": "sha256=" + "0" * 64}, "wrong_signature"),
        ({"X-Aletheia-Signature": "sha1=" + "0" * 40}, "wrong_signature"),
        ({"X-Aletheia-Signature": "0" * 64}, "wrong_signature"),
        ({"X-Aletheia-Timestamp": ""}, "missing_signature"),
        ({"X-Aletheia-Timestamp": "0"}, "stale_signature"),
        ({"X-Aletheia-Timestamp": "-1"}, "stale_signature"),
        ({"X-Aletheia-Timestamp": "1e9"}, "stale_signature"),
        ({"X-Aletheia-Timestamp": "9" * 40}, "stale_signature"),
        ({"X-Aletheia-Timestamp": "now"}, "stale_signature"),
        ({"X-Aletheia-Timestamp": "a second later"}, "wrong_signature"),
    ],
    ids=str,
)
async def test_what_is_not_signed_starts_nothing(
    client: Client, orchestrator: FakeOrchestrator, changed: dict[str, str], code: str
):
    body = orjson.dumps(GATHER)
    headers = signed(body) | changed
    if headers["X-Aletheia-Timestamp"] == "a second later":
        headers["X-Aletheia-Timestamp"] = str(int(time.time()) + 1)
    status, answer = await post(client, "gather", body, headers)
    assert (status, answer["error"]["code"]) == (401, code)
    assert orchestrator.asked == 0


@pytest.mark.parametrize("at", [-301, 330])
async def test_a_signature_is_good_within_its_window_only(client: Client, at: float):
    body = orjson.dumps(GATHER)
    status, answer = await post(client, "gather", body, signed(body, at=time.time() + at))
    assert (status, answer["error"]["code"]) == (401, "stale_signature")


async def test_a_body_that_was_changed_or_signed_by_another_starts_nothing(client: Client):
    body = orjson.dumps(GATHER)
    for sent, headers in (
        (body + b" ", signed(body)),
        (body, signed(body, secret="guessed")),
        (body, signed(body, secret="")),
    ):
        status, answer = await post(client, "gather", sent, headers)
        assert (status, answer["error"]["code"]) == (401, "wrong_signature")


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"project_id": "shop"},
        {"project_id": "../etc", "user_id": "u"},
        {"project_id": "shop", "user_id": ""},
        {"project_id": "shop", "user_id": "a\nb"},
        {"project_id": "shop", "user_id": "u", "max_iterations": -1},
        {"project_id": "shop", "user_id": "u", "max_iterations": 10**9},
        {"project_id": "shop", "user_id": "u", "webhook_url": "x" * 3_000},
        [],
        "a string",
        None,
    ],
    ids=lambda order: str(order)[:40],
)
async def test_what_makes_no_sense_starts_nothing(
    client: Client, orchestrator: FakeOrchestrator, order: Any
):
    status, _ = await send(client, "gather", order)
    assert status == 422
    assert orchestrator.asked == 0


async def test_a_body_that_is_too_long_or_too_slow_starts_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    body = orjson.dumps(GATHER | {"more": "x" * 70_000})
    assert (await post(client, "gather", body, signed(body)))[0] == 413
    monkeypatch.setattr(guarding, "BODY_TIMEOUT_S", 0.2)

    async def drip() -> Any:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.02)

    headers = signed(b"")
    async with client.session.post("/hooks/gather", data=drip(), headers=headers) as response:
        assert response.status == 408


async def test_what_cannot_be_a_signature_is_refused_before_the_body_comes(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(guarding, "BODY_TIMEOUT_S", 0.2)

    async def drip() -> Any:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.02)

    headers = signed(b"") | {"X-Aletheia-Signature": "x"}
    async with client.session.post("/hooks/gather", data=drip(), headers=headers) as response:
        assert response.status == 401


async def test_a_sender_that_goes_away_within_its_body_is_no_fault_of_ours(
    service: FakeService, caplog: pytest.LogCaptureFixture
):
    async with calling(service) as client:

        async def break_off() -> Any:
            yield b"{"
            await asyncio.sleep(0.1)
            raise ConnectionError

        with pytest.raises((ConnectionError, aiohttp.ClientError)):
            await client.session.post("/hooks/poll", data=break_off(), headers=signed(b""))
        await asyncio.sleep(0.3)
    assert "Traceback" not in caplog.text


async def test_a_delivery_that_could_not_start_is_kept_and_started_when_it_comes_again(
    client: Client, orchestrator: FakeOrchestrator
):
    orchestrator.is_away = True
    status, answer = await send(client, "gather", GATHER, Idempotency_Key="k1")
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    _, listed = await client.get("/api/v1/hooks/deliveries")
    (row,) = listed["deliveries"]
    assert (row["state"], row["code"], row["run_id"]) == ("failed", "unavailable", None)
    orchestrator.is_away = False
    body = orjson.dumps(GATHER)
    headers = signed(body, at=time.time() - 1, Idempotency_Key="k1")
    assert (await post(client, "gather", body, headers))[1]["run_id"] == "run-1"


async def test_what_is_not_deployed_is_our_fault(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(PARAMETERS, DEPLOYMENTS["reason"])
    status, answer = await send(client, "reason", {})
    assert (status, answer["error"]["code"]) == (502, "backend_refused")


async def test_a_delivery_is_replayed_by_who_may(client: Client, orchestrator: FakeOrchestrator):
    _, answer = await send(client, "gather", GATHER, Idempotency_Key="k1")
    path = f"/api/v1/hooks/deliveries/{answer['delivery_id']}/replay"
    assert (await client.call("POST", path))[0] == 403
    operator = client.as_role("operator")
    status, row = await operator.call("POST", path)
    assert (status, row["replays"], row["replayed_run_id"]) == (202, 1, "run-2")
    for _ in range(2):
        _, row = await operator.call("POST", path, Idempotency_Key="again")
        assert (row["replays"], row["replayed_run_id"]) == (2, "run-3")
    first, *others = orchestrator.runs.values()
    assert others == [first, first]
    unknown = f"/api/v1/hooks/deliveries/gather-{'0' * 24}/replay"
    assert (await operator.call("POST", unknown))[0] == 404


async def test_deliveries_are_listed_page_by_page_without_what_was_sent(
    client: Client, service: FakeService
):
    for number in range(5):
        url = "https://hooks.example/token-of-somebody"
        order = GATHER | {"webhook_url": url, "max_iterations": number}
        await send(client, "gather", order, Idempotency_Key=f"k{number}")
    keys: list[str] = []
    cursor = ""
    while cursor is not None:
        query = f"?limit=2&cursor={cursor}" if cursor else "?limit=2"
        status, page = await client.get(f"/api/v1/hooks/deliveries{query}")
        assert status == 200
        assert "token-of-somebody" not in str(page)
        keys += [row["key"] for row in page["deliveries"]]
        cursor = page["next_cursor"]
    assert keys == ["k4", "k3", "k2", "k1", "k0"]
    assert await service.store.count(DELIVERIES, {}) == 5
