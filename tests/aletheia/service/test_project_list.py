"""The list of projects."""

from tests.aletheia.service.test_projects import read_all
from tests.fakes.projects import begin_run, finish_run
from tests.fakes.service import Client, FakeService


async def test_every_project_is_listed_once_with_its_newest_run(
    service: FakeService, client: Client
):
    for name in ("shop", "another", "zoo"):
        run = await begin_run(service.store, f"{name}-1", name)
        await finish_run(service.store, run)
    await begin_run(service.store, "shop-2", "shop")
    listed = await read_all(client, "/api/v1/projects", "projects")
    assert [(row["project_id"], row["runs"], row["run_id"]) for row in listed] == [
        ("another", 1, "another-1"),
        ("shop", 2, "shop-2"),
        ("zoo", 1, "zoo-1"),
    ]
    assert [(row["status"], row["closed_at"] is None) for row in listed] == [
        ("completed", False),
        ("open", True),
        ("completed", False),
    ]


async def test_before_the_first_run_there_is_no_project(client: Client):
    assert (await client.get("/api/v1/projects"))[1] == {"projects": [], "next_cursor": None}


async def test_a_stranger_hears_of_no_project(service: FakeService, client: Client):
    await begin_run(service.store)
    client.headers = {}
    assert (await client.get("/api/v1/projects"))[0] == 401
