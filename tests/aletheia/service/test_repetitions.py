"""What repeats what, and dropping it."""

import pytest

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.items.decisions import DECISIONS, DISTINCT
from aletheia.store.audit import AUDIT
from tests.aletheia.service.test_projects import read_all
from tests.fakes.pages import DROPPED_TEXT, HOSTILE, MATCH_TEXT, fill_project
from tests.fakes.projects import PROJECT
from tests.fakes.service import Client, FakeService

ROOT = f"/api/v1/projects/{PROJECT}"
POSSIBLE = f"{ROOT}/repetitions?is_possible=true"


async def test_what_was_dropped_is_listed_with_both_texts(service: FakeService, client: Client):
    await fill_project(service)
    listed = await read_all(client, f"{ROOT}/repetitions", "repetitions", limit=1)
    assert [(row["content"], row["match_content"]) for row in listed] == [
        (HOSTILE, MATCH_TEXT),
        (DROPPED_TEXT, MATCH_TEXT),
    ]
    assert (listed[0]["score"], listed[0]["tier"], listed[0]["undone_by"]) == (
        0.93,
        "embedding",
        None,
    )


async def test_a_possible_repetition_is_listed_until_it_is_decided(
    service: FakeService, client: Client
):
    await fill_project(service)
    (row,) = (await client.get(POSSIBLE))[1]["repetitions"]
    assert (row["content"], row["match_content"]) == ("Keep a list of all contracts.", MATCH_TEXT)
    pair = {"pair": sorted([row["item_id"], row["match_id"]]), "project_id": PROJECT}
    await service.store.insert(DISTINCT, [{"_id": "shop:pair", **pair}])
    assert (await client.get(POSSIBLE))[1]["repetitions"] == []


async def test_a_pair_of_which_one_is_gone_is_not_listed(service: FakeService, client: Client):
    await fill_project(service)
    (row,) = (await client.get(POSSIBLE))[1]["repetitions"]
    content = EmbeddedContent(service.directory, PROJECT)
    await content.open()
    items = await content.read_items([row["item_id"]])
    assert await content.delete_item(items[row["item_id"]])
    await content.close()
    assert (await client.get(POSSIBLE))[1]["repetitions"] == []


async def test_a_project_without_decisions_has_no_repetitions_and_is_not_made(
    service: FakeService, client: Client
):
    before = sorted(service.directory.rglob("*"))
    for path in ("repetitions", "repetitions?is_possible=true"):
        _, page = await client.get(f"/api/v1/projects/made-up/{path}")
        assert page == {"repetitions": [], "next_cursor": None}
    assert sorted(service.directory.rglob("*")) == before


async def test_a_possible_repetition_is_dropped_by_a_run(service: FakeService, client: Client):
    await fill_project(service)
    operator = client.as_role("operator", sub="anna")
    (row,) = (await client.get(POSSIBLE))[1]["repetitions"]
    path = f"{ROOT}/decisions/{row['id']}/drop"
    for _ in range(2):
        status, started = await operator.call("POST", path, Idempotency_Key="k")
        assert (status, started["run_id"]) == (202, "run-1")
    wanted = {"project_id": PROJECT, "pair_id": row["id"], "user_id": "anna"}
    assert list(service.orchestrator.runs.values()) == [("drop_repetition/drop_repetition", wanted)]
    records = await service.store.find(AUDIT, {})
    assert {(record["subject"], record["action"]) for record in records} == {
        ("anna", "drop_repetition/drop_repetition")
    }


async def test_what_is_no_possible_repetition_is_not_dropped(service: FakeService, client: Client):
    await fill_project(service)
    operator = client.as_role("operator")
    (dropped, _) = (await client.get(f"{ROOT}/repetitions"))[1]["repetitions"]
    status, answer = await operator.call("POST", f"{ROOT}/decisions/{dropped['id']}/drop")
    assert (status, answer["error"]["code"]) == (409, "not_possible")
    assert (await operator.call("POST", f"{ROOT}/decisions/{'0' * 12}/drop"))[0] == 404
    assert (await operator.call("POST", f"{ROOT}/decisions/nonsense/drop"))[0] == 422
    assert service.orchestrator.asked == 0


@pytest.mark.parametrize("role", ["viewer", None])
async def test_viewers_and_strangers_drop_nothing(
    service: FakeService, client: Client, role: str | None
):
    await fill_project(service)
    (row,) = await service.store.find(DECISIONS, {"is_possible": True})
    if role is None:
        client.headers = {}
    status, _ = await client.call("POST", f"{ROOT}/decisions/{row['short']}/drop")
    assert status == (401 if role is None else 403)
    assert service.orchestrator.asked == 0
