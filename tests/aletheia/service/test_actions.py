"""What operators do: each of it recorded, and by who may."""

import pytest

from aletheia.items.decisions import ProjectDecisions
from aletheia.store.audit import AUDIT
from tests.fakes.projects import PROJECT, decide
from tests.fakes.service import Client, FakeService


@pytest.fixture
def operator(client: Client) -> Client:
    return client.as_role("operator")


async def test_dead_letters_are_replayed_by_a_run(service: FakeService, operator: Client):
    order = {"ids": ["t1", "t2"], "code": "empty_text", "limit": 10}
    status, started = await operator.call("POST", "/api/v1/dead-letters/replay", order)
    assert (status, started["run_id"]) == (202, "run-1")
    assert list(service.orchestrator.runs.values()) == [
        ("replay_dead_letters/replay_dead_letters", order)
    ]
    (record,) = await service.store.find(AUDIT, {})
    assert (record["subject"], record["roles"]) == ("somebody", ["operator"])
    assert record["action"] == "replay_dead_letters/replay_dead_letters"


async def test_a_second_request_with_the_same_key_is_the_same_run(
    service: FakeService, operator: Client
):
    path = "/api/v1/dead-letters/replay"
    for _ in range(3):
        _, started = await operator.call("POST", path, {}, Idempotency_Key="k1")
        assert started["run_id"] == "run-1"
    other = operator.as_role("operator", sub="somebody-else")
    assert (await other.call("POST", path, {}, Idempotency_Key="k1"))[1]["run_id"] == "run-2"
    assert (await operator.call("POST", path, {}))[1]["run_id"] == "run-3"
    assert len(service.orchestrator.runs) == 3


async def test_keys_of_two_callers_never_meet(service: FakeService, operator: Client):
    path = "/api/v1/dead-letters/replay"
    for subject, key in (("a:b", "c"), ("a", "b:c")):
        caller = operator.as_role("operator", sub=subject)
        assert (await caller.call("POST", path, {"ids": [key]}, Idempotency_Key=key))[0] == 202
    assert [wanted["ids"] for _, wanted in service.orchestrator.runs.values()] == [["c"], ["b:c"]]


async def test_a_key_is_for_one_order(service: FakeService, operator: Client):
    path = "/api/v1/dead-letters/replay"
    assert (await operator.call("POST", path, {"ids": ["t1"]}, Idempotency_Key="k1"))[0] == 202
    status, answer = await operator.call("POST", path, {"ids": ["t2"]}, Idempotency_Key="k1")
    assert (status, answer["error"]["code"]) == (409, "idempotency_key_reused")
    assert (await operator.call("POST", path, {"ids": ["t1"]}, Idempotency_Key="k1"))[0] == 202
    assert len(service.orchestrator.runs) == 1


async def test_intake_is_paused_and_resumed(client: Client, operator: Client):
    assert (await client.get("/api/v1/intake"))[1]["is_paused"] is False
    for verb, is_paused in (("pause", True), ("pause", True), ("resume", False)):
        status, state = await operator.call("POST", f"/api/v1/intake/{verb}")
        assert (status, state["is_paused"]) == (200, is_paused)
        assert (await client.get("/api/v1/intake"))[1]["is_paused"] is is_paused


async def test_a_duplicate_is_undone_by_a_run(service: FakeService, operator: Client):
    await decide(service.store, 4)
    dropped = await ProjectDecisions(service.store, PROJECT).list_dropped()
    root = f"/api/v1/projects/{PROJECT}/decisions"
    status, _ = await operator.call("POST", f"{root}/{dropped[0].id}/undo")
    assert status == 202
    ((deployment, parameters),) = service.orchestrator.runs.values()
    assert deployment == "undo_duplicate/undo_duplicate"
    wanted = {"project_id": PROJECT, "decision_id": dropped[0].id, "user_id": "somebody"}
    assert parameters == wanted
    assert (await operator.call("POST", f"{root}/{'0' * 12}/undo"))[0] == 404
    assert (await operator.call("POST", f"{root}/nonsense/undo"))[0] == 422
    other = f"/api/v1/projects/another/decisions/{dropped[0].id}/undo"
    assert (await operator.call("POST", other))[0] == 404


async def test_a_kept_item_cannot_be_undone(service: FakeService, client: Client, operator: Client):
    await decide(service.store, 1)
    _, page = await client.get(f"/api/v1/projects/{PROJECT}/decisions?is_kept=true")
    kept = page["decisions"][0]["id"]
    path = f"/api/v1/projects/{PROJECT}/decisions/{kept}/undo"
    status, answer = await operator.call("POST", path)
    assert (status, answer["error"]["code"]) == (409, "item_was_kept")
    assert service.orchestrator.asked == 0


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/dead-letters/replay",
        "/api/v1/intake/pause",
        "/api/v1/intake/resume",
        f"/api/v1/projects/{PROJECT}/decisions/{'0' * 12}/undo",
    ],
)
async def test_viewers_and_strangers_do_nothing(service: FakeService, client: Client, path: str):
    assert (await client.call("POST", path, {}))[0] == 403
    client.headers = {}
    assert (await client.call("POST", path, {}))[0] == 401
    assert service.orchestrator.asked == 0
    assert await service.store.count(AUDIT, {}) == 0


@pytest.mark.parametrize(
    "order",
    [{"limit": 0}, {"limit": 10**6}, {"ids": "t1"}, {"ids": [""]}, {"ids": ["a"] * 101}],
    ids=lambda order: str(order)[:30],
)
async def test_what_makes_no_sense_starts_nothing(
    service: FakeService, operator: Client, order: dict[str, object]
):
    assert (await operator.call("POST", "/api/v1/dead-letters/replay", order))[0] == 422
    assert service.orchestrator.asked == 0


async def test_what_prefect_does_not_take_is_said(service: FakeService, operator: Client):
    service.orchestrator.is_away = True
    status, answer = await operator.call("POST", "/api/v1/dead-letters/replay", {})
    assert (status, answer["error"]["code"]) == (503, "unavailable")
