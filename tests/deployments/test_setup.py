from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import BlockType
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from aletheia.errors import Misconfigured, Unavailable
from blocks import EventCredentials, StoreCredentials, UpstreamCredentials
from deployments.setup import DeployFailed, build_blocks, set_up

PREFECT_YAML = """
definitions:
  work_pools:
    - name: {pool}
      type: process
      queues:
        - {{name: urgent, priority: 1, concurrency_limit: 1}}
        - {{name: default, priority: 5}}
deployments:
  - name: greet
    entrypoint: flows/greet.py:greet
    description: Says hello.
    parameters: {{name: you}}
    schedules: [{{slug: often, interval: 600, anchor_date: "2026-01-01T00:00:00+00:00"}}]
    work_pool: {{name: {pool}, work_queue_name: urgent}}
"""

FLOW = """
from prefect import flow
@flow(name="greet")
def greet(name: str) -> None:
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of its own, with a work pool that no other test has."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "greet.py").write_text(FLOW)
    (tmp_path / "prefect.yaml").write_text(PREFECT_YAML.format(pool=tmp_path.name))
    return tmp_path


def upstream(**values: str) -> UpstreamCredentials:
    (first, *_) = build_blocks({"API_BASE_URL": "http://127.0.0.1:1", **values})
    assert isinstance(first, UpstreamCredentials)
    return first


def test_a_variable_goes_into_its_field():
    block = upstream(UPSTREAM_AUTH="token", API_TOKEN="abc", OAUTH2_SCOPE="tasks")
    assert (block.base_url, block.auth, block.oauth2_scope) == (
        "http://127.0.0.1:1",
        "token",
        "tasks",
    )
    assert block.token == SecretStr("abc")


def test_what_is_missing_is_named():
    with pytest.raises(Misconfigured, match="API_BASE_URL: is not set"):
        build_blocks({})


def test_what_makes_no_sense_is_named_and_not_repeated():
    with pytest.raises(Misconfigured, match="UPSTREAM_AUTH") as refusal:
        upstream(UPSTREAM_AUTH="hunter2")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("name", ["API_BASE_URL", "OPENAI_BASE_URL", "OAUTH2_TOKEN_URL"])
def test_an_address_with_a_password_in_it_is_refused_and_not_repeated(name: str):
    values = {"API_BASE_URL": "http://127.0.0.1:1", name: "https://user:hunter2@127.0.0.1/v1"}
    with pytest.raises(Misconfigured, match=name) as refusal:
        build_blocks(values)
    assert "hunter2" not in str(refusal.value)


def test_a_relative_data_directory_is_below_the_project(tmp_path: Path):
    variables = {"API_BASE_URL": "http://127.0.0.1:1"}
    for given, wanted in {".data": tmp_path / ".data", "/var/data": Path("/var/data")}.items():
        store = build_blocks(variables | {"ALETHEIA_DATA_DIR": given}, tmp_path)[1]
        assert isinstance(store, StoreCredentials)
        assert store.data_dir == wanted


def test_the_data_directory_is_absolute_without_being_set(tmp_path: Path):
    store = build_blocks({"API_BASE_URL": "http://127.0.0.1:1"}, tmp_path)[1]
    assert isinstance(store, StoreCredentials)
    assert store.data_dir == tmp_path / ".aletheia"


@pytest.mark.timeout(180)
async def test_a_second_set_up_changes_nothing(server: str, project: Path):
    del server
    first = await set_up([], project)
    assert {done.outcome for done in first} <= {"created", "updated"}
    assert [done.kind for done in first] == ["work pool", "work queue", "work queue", "deployment"]
    second = await set_up([], project)
    assert [done for done in second if done.outcome != "unchanged"] == []
    async with get_client() as client:
        queue = await client.read_work_queue_by_name("urgent", project.name)
        deployment = await client.read_deployment_by_name("greet/greet")
    assert (queue.priority, queue.concurrency_limit) == (1, 1)
    assert deployment.work_queue_name == "urgent"
    assert deployment.parameters == {"name": "you"}
    assert deployment.pull_steps == [
        {"prefect.deployments.steps.set_working_directory": {"directory": str(project)}}
    ]


@pytest.mark.timeout(180)
async def test_a_queue_is_made_again_what_it_is_declared_as(server: str, project: Path):
    del server
    (project / "prefect.yaml").write_text(
        (project / "prefect.yaml").read_text().partition("deployments:")[0]
    )
    await set_up([], project)
    async with get_client() as client:
        queue = await client.read_work_queue_by_name("urgent", project.name)
        await client.update_work_queue(queue.id, concurrency_limit=7)
        done = {done.name: done for done in await set_up([], project)}
        assert done[f"{project.name}/urgent"].outcome == "updated"
        assert done[f"{project.name}/urgent"].detail == "priority 1, 1 at once"
        assert done[f"{project.name}/default"].detail == "priority 5"
        queue = await client.read_work_queue_by_name("urgent", project.name)
    assert queue.concurrency_limit == 1


@pytest.mark.timeout(180)
async def test_a_queue_that_is_put_before_another_takes_its_place_once(server: str, project: Path):
    del server
    declared = (project / "prefect.yaml").read_text().partition("deployments:")[0]
    (project / "prefect.yaml").write_text(declared)
    await set_up([], project)
    (project / "prefect.yaml").write_text(
        declared.replace(
            "- {name: urgent, priority: 1, concurrency_limit: 1}",
            "- {name: first, priority: 1}\n        - {name: urgent, priority: 2}",
        )
    )
    await set_up([], project)
    second = await set_up([], project)
    assert {done.outcome for done in second} == {"unchanged"}
    async with get_client() as client:
        queues = await client.read_work_queues(project.name)
    assert {queue.name: queue.priority for queue in queues} == {
        "first": 1,
        "urgent": 2,
        "default": 5,
    }


@pytest.mark.timeout(180)
async def test_a_block_is_saved_when_it_has_changed(server: str, project: Path):
    del server
    (project / "prefect.yaml").write_text("deployments: []\n")
    outcomes = [
        (await set_up([upstream(UPSTREAM_AUTH="token", API_TOKEN=token)], project))[0].outcome
        for token in ("first", "second", "second")
    ]
    assert outcomes[1:] == ["updated", "unchanged"]
    saved = await UpstreamCredentials.aload("default")
    assert saved.token == SecretStr("second")


@pytest.mark.timeout(180)
async def test_a_type_of_block_that_somebody_else_registers_meanwhile_is_taken(
    server: str, project: Path, monkeypatch: pytest.MonkeyPatch
):
    """Prefect registers types of blocks itself after its start: the server answers 409 then."""
    del server
    (project / "prefect.yaml").write_text("deployments: []\n")
    read, blind = PrefectClient.read_block_type_by_slug, ["first read", "second read"]

    async def read_too_early(client: PrefectClient, slug: str) -> BlockType:
        found = await read(client, slug)
        if slug == "aletheia-upstream" and blind:
            raise ObjectNotFound(Exception(blind.pop()))
        return found

    await set_up([upstream()], project)
    monkeypatch.setattr(PrefectClient, "read_block_type_by_slug", read_too_early)
    (done,) = await set_up([upstream(UPSTREAM_AUTH="token", API_TOKEN="beside")], project)
    assert (done.outcome, blind) == ("updated", [])


@pytest.mark.timeout(180)
async def test_a_webhook_without_a_secret_is_refused(server: str, project: Path):
    del server
    declared = (project / "prefect.yaml").read_text()
    (project / "prefect.yaml").write_text(
        declared.replace("name: you", "name: you, webhook_url: https://receiver.example")
    )
    with pytest.raises(Misconfigured, match="WEBHOOK_SECRET"):
        await set_up([EventCredentials()], project)


@pytest.mark.timeout(180)
async def test_what_an_operator_has_switched_on_stays_on(server: str, project: Path):
    del server
    declared = (project / "prefect.yaml").read_text()
    (project / "prefect.yaml").write_text(
        declared.replace("interval: 600", "interval: 600, active: false")
    )
    await set_up([], project)
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("greet/greet")
        (schedule,) = deployment.schedules
        await client.update_deployment_schedule(deployment.id, schedule.id, active=True)
        await set_up([], project)
        (schedule,) = (await client.read_deployment_by_name("greet/greet")).schedules
    assert schedule.active


@pytest.mark.timeout(180)
async def test_what_an_operator_has_paused_stays_paused(server: str, project: Path):
    del server
    await set_up([], project)
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("greet/greet")
        (schedule,) = deployment.schedules
        await client.update_deployment_schedule(deployment.id, schedule.id, active=False)
        (*_, done) = await set_up([], project)
        (schedule,) = (await client.read_deployment_by_name("greet/greet")).schedules
    assert not schedule.active
    assert done.detail == "every 600 s, paused"


@pytest.mark.timeout(180)
async def test_a_flow_that_cannot_be_loaded_is_said(server: str, project: Path):
    del server
    (project / "flows" / "greet.py").write_text("import no_such_module\n")
    with pytest.raises(DeployFailed, match="greet"):
        await set_up([], project)


@pytest.mark.timeout(180)
async def test_a_pool_of_another_type_is_not_touched(server: str, project: Path):
    del server
    await set_up([], project)
    declared = (project / "prefect.yaml").read_text()
    other = declared.replace("default, priority", "other, priority").replace(
        project.name, "other-pool", 1
    )
    async with get_client() as client:
        await client.request("POST", "/work_pools/", json={"name": "other-pool", "type": "docker"})
    (project / "prefect.yaml").write_text(other)
    with pytest.raises(Misconfigured, match="docker"):
        await set_up([], project)


async def test_a_server_that_is_not_there_is_said(project: Path):
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"),
    ):
        await set_up([], project)


async def test_without_a_named_server_nothing_is_set_up(project: Path):
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(Misconfigured, match="make up"),
    ):
        await set_up([], project)
