"""The bundled example application, read by the client that gather runs use."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
import pytest

from aletheia.adapters.payload_cms import PayloadDepartments
from deployments.examples.departments import EXAMPLE_DEPARTMENTS
from deployments.examples.payload import ExamplePayload

DOCUMENTS = [example.document for example in EXAMPLE_DEPARTMENTS]
GOOD = [example.slug for example in EXAMPLE_DEPARTMENTS if example.is_listed and example.is_good]


@pytest.fixture
async def payload() -> AsyncGenerator[ExamplePayload]:
    example = ExamplePayload(DOCUMENTS)
    await example.start()
    yield example
    await example.stop()


async def read(url: str, **query: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/api/departments", params=query) as response,
    ):
        return response.status, await response.json()


async def slugs(payload: ExamplePayload, **query: str) -> list[str]:
    status, page = await read(payload.url, **query)
    assert status == 200
    return [document["slug"] for document in page["docs"]]


async def test_the_client_reads_the_good_departments_and_reports_the_faulty_one(
    payload: ExamplePayload,
) -> None:
    source = PayloadDepartments(payload.url)
    await source.open()
    listed = await source.list_departments()
    await source.close()
    assert [department.slug for department in listed.departments] == GOOD
    (fault,) = listed.faults
    (faulty,) = [
        example for example in EXAMPLE_DEPARTMENTS if example.is_listed and not example.is_good
    ]
    assert fault.startswith(f"{faulty.document['id']}: ")
    assert "minQualityThreshold" in fault
    assert listed.warnings == ()


async def test_the_client_asks_for_what_is_active_and_gets_nothing_else(
    payload: ExamplePayload,
) -> None:
    (closed,) = [example.slug for example in EXAMPLE_DEPARTMENTS if not example.is_listed]
    assert closed in await slugs(payload)
    assert closed not in await slugs(payload, **{"where[isActive][equals]": "true"})
    assert await slugs(payload, **{"where[isActive][equals]": "false"}) == [closed]


async def test_conditions_hold_together_and_numbers_and_texts_are_compared_as_written(
    payload: ExamplePayload,
) -> None:
    number, slug = {"where[codeDepNumber][equals]": "31"}, {"where[slug][equals]": "safety"}
    assert await slugs(payload, **number) == await slugs(payload, **slug) == ["safety"]
    assert await slugs(payload, **{**number, "where[slug][equals]": "support"}) == []
    assert await slugs(payload, **{"where[nothing][equals]": "x"}) == []


async def test_documents_are_sorted_and_what_lacks_the_field_comes_first() -> None:
    payload = ExamplePayload([{"slug": "b", "n": 2}, {"slug": "a", "n": 10}, {"slug": "c"}])
    await payload.start()
    assert await slugs(payload, sort="n") == ["c", "b", "a"]
    assert await slugs(payload, sort="-n") == ["a", "b", "c"]
    assert await slugs(payload, sort="slug") == ["a", "b", "c"]
    assert await slugs(payload) == ["b", "a", "c"]
    await payload.stop()


async def test_pages_are_as_long_as_asked_and_say_whether_another_one_follows(
    payload: ExamplePayload,
) -> None:
    _, first = await read(payload.url, limit="4")
    _, last = await read(payload.url, limit="4", page="2")
    assert first["docs"] + last["docs"] == DOCUMENTS
    about = ("page", "totalDocs", "totalPages", "limit", "pagingCounter", "nextPage", "prevPage")
    assert [first[name] for name in about] == [1, 6, 2, 4, 1, 2, None]
    assert [last[name] for name in about] == [2, 6, 2, 4, 5, None, 1]
    assert (first["hasNextPage"], first["hasPrevPage"]) == (True, False)
    assert (last["hasNextPage"], last["hasPrevPage"]) == (False, True)


async def test_a_page_is_never_longer_than_the_most_it_may_have() -> None:
    payload = ExamplePayload([{"slug": f"d{number}"} for number in range(150)])
    await payload.start()
    for limit, length in {"0": 100, "1000": 100, "99": 99}.items():
        assert len(await slugs(payload, limit=limit)) == length
    assert len(await slugs(payload)) == 10
    await payload.stop()


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"where[name][like]": "x"}, "where[name][like]"),
        ({"colour": "red"}, "colour"),
        ({"limit": "many"}, "limit must be a number"),
        ({"page": "0"}, "page must be a number"),
        ({"page": "\N{SUPERSCRIPT TWO}"}, "page must be a number"),
    ],
)
async def test_what_it_does_not_understand_is_a_400(
    payload: ExamplePayload, query: Mapping[str, str], problem: str
) -> None:
    status, said = await read(payload.url, **query)
    assert status == 400
    assert problem in said["errors"][0]["message"]


async def test_there_is_nothing_else(payload: ExamplePayload) -> None:
    async with aiohttp.ClientSession() as session:
        for method, path in (("GET", "/api/users"), ("POST", "/api/departments")):
            async with session.request(method, payload.url + path) as response:
                assert response.status == 404


async def start_process(*arguments: str, **options: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deployments.examples.payload", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_says_where_it_listens_and_ends_when_told_to(
    signum: signal.Signals,
) -> None:
    process = await start_process()
    assert process.stdout is not None
    ready = json.loads(await process.stdout.readline())
    assert ready["url"] == f"http://127.0.0.1:{ready['port']}"
    assert (await read(ready["url"]))[0] == 200
    process.send_signal(signum)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 0
