import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest

from deployments.examples.upstream import (
    ExampleUpstream,
    read_report,
)

PROCESSING = {"state": "processing"}
RESULT = {"embedding": [0.5, -1.0], "model": "m", "provider": "local", "dimensions": 2}
SUCCEEDED = {"state": "succeeded", "result": RESULT, "usage": {"tokens": 3}}
ERROR = {"code": "empty_text", "message": "the text is empty", "retryable": False}
FAILED = {"state": "failed", "error": ERROR}


@pytest.fixture
async def upstream() -> AsyncGenerator[ExampleUpstream]:
    text = {"type": "text_embedding", "data": {"text": "hello"}}
    example = ExampleUpstream(
        [{"id": "t1", **text}, {"_id": "t2", **text}, {"id": "a/b", **text}, {"data": "nameless"}]
    )
    await example.start()
    yield example
    await example.stop()


@pytest.fixture
async def session() -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Api:
    """The upstream as a client sees it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.session.get(self.url + path) as response:
            return response.status, await response.json()

    async def pending(self, limit: object = 100) -> list[Any]:
        status, page = await self.get(f"/api/ai-tasks/pending?limit={limit}")
        assert status == 200
        return page["data"]

    async def report(self, task_id: str, body: object) -> int:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        url = f"{self.url}/api/ai-tasks/{quote(task_id, safe='')}"
        async with self.session.patch(url, data=data) as response:
            await response.read()
            return response.status


@pytest.fixture
def api(upstream: ExampleUpstream, session: aiohttp.ClientSession) -> Api:
    return Api(session, upstream.url)


async def test_pending_tasks_come_oldest_first_in_an_envelope(api: Api) -> None:
    assert [entry.get("id", entry.get("_id")) for entry in await api.pending()] == [
        "t1",
        "t2",
        "a/b",
        None,
    ]
    assert len(await api.pending(2)) == 2


@pytest.mark.parametrize("limit", ["0", "-1", "101", "ten", "", "1.5", "9" * 5000])
async def test_a_limit_out_of_bounds_is_a_400(api: Api, limit: str) -> None:
    status, said = await api.get(f"/api/ai-tasks/pending?limit={limit}")
    assert status == 400
    assert said["message"] == ["limit must be an integer from 1 to 100"]


async def test_a_task_goes_from_pending_to_processing_to_succeeded(api: Api) -> None:
    assert await api.report("t1", PROCESSING) == 200
    assert [entry.get("id") for entry in await api.pending(1)] != ["t1"]
    assert await api.report("t1", SUCCEEDED) == 200
    assert await api.get("/api/ai-tasks/t1") == (
        200,
        {"id": "t1", "states": ["processing", "succeeded"], **SUCCEEDED},
    )


async def test_a_task_may_fail_without_being_processed(api: Api) -> None:
    assert await api.report("t2", FAILED) == 200
    assert (await api.get("/api/ai-tasks/t2"))[1]["error"] == ERROR


async def test_an_id_with_a_slash_is_one_path_segment(api: Api) -> None:
    assert await api.report("a/b", PROCESSING) == 200
    assert (await api.get("/api/ai-tasks/a%2Fb"))[1]["state"] == "processing"
    assert (await api.get("/api/ai-tasks/a/b"))[0] == 404


async def test_a_repetition_is_accepted_and_not_counted(api: Api) -> None:
    for body in (PROCESSING, PROCESSING, SUCCEEDED, SUCCEEDED):
        assert await api.report("t1", body) == 200
    assert (await api.get("/api/ai-tasks/t1"))[1]["states"] == ["processing", "succeeded"]


@pytest.mark.parametrize(
    ("done", "then"),
    [
        ([], SUCCEEDED),
        ([PROCESSING, SUCCEEDED], PROCESSING),
        ([PROCESSING, SUCCEEDED], FAILED),
        ([PROCESSING, SUCCEEDED], {**SUCCEEDED, "usage": {"tokens": 4}}),
        ([FAILED], PROCESSING),
        ([FAILED], {"state": "failed", "error": {**ERROR, "code": "another"}}),
    ],
)
async def test_a_state_that_may_not_follow_is_a_conflict(
    api: Api, done: list[object], then: object
) -> None:
    for body in done:
        assert await api.report("t1", body) == 200
    assert await api.report("t1", then) == 409


async def test_an_unknown_id_is_a_404(api: Api) -> None:
    assert await api.report("t9", PROCESSING) == 404
    assert (await api.get("/api/ai-tasks/t9"))[0] == 404
    assert (await api.get("/api/elsewhere"))[0] == 404


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in RESULT.items() if key != name}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        ([], "the body must be an object"),
        ({}, "state must be one of"),
        ({"state": "pending"}, "state must be one of"),
        ({"state": ["failed"]}, "state must be one of"),
        ({**PROCESSING, "id": "t1"}, "id: Extra"),
        ({**PROCESSING, "result": RESULT}, "result: Extra"),
        ({**SUCCEEDED, "error": ERROR}, "error: Extra"),
        ({**FAILED, "usage": {}}, "usage: Extra"),
        ({"state": "succeeded"}, "result: Field required"),
        ({**SUCCEEDED, "result": {**RESULT, "norm": 1}}, "result.norm: Extra"),
        ({**SUCCEEDED, "result": without("embedding")}, "result.embedding"),
        ({**SUCCEEDED, "result": {**RESULT, "embedding": []}}, "result.embedding"),
        ({**SUCCEEDED, "result": {**RESULT, "embedding": [1, "2"]}}, "result.embedding"),
        ({**SUCCEEDED, "result": {**RESULT, "embedding": [1, True]}}, "result.embedding"),
        ({**SUCCEEDED, "result": {**RESULT, "dimensions": 3}}, "result: Value error, dim"),
        ({**SUCCEEDED, "result": {**RESULT, "dimensions": 2.0}}, "result.dimensions"),
        ({**SUCCEEDED, "result": without("model")}, "result.model: Field required"),
        (
            {**SUCCEEDED, "result": {**RESULT, "provider": 1}},
            "result.provider: Input should be a valid string",
        ),
        (
            {**SUCCEEDED, "result": {**RESULT, "mock": "yes"}},
            "result.mock: Input should be a valid boolean",
        ),
        ({**SUCCEEDED, "usage": None}, "usage: Input should be a valid dictionary"),
        ({**SUCCEEDED, "usage": {"tokens": "3"}}, "usage.tokens: Input should be a valid number"),
        ({"state": "failed"}, "error: Field required"),
        ({"state": "failed", "error": {**ERROR, "at": 1}}, "error.at: Extra"),
        ({"state": "failed", "error": {**ERROR, "code": ""}}, "error.code: String should have"),
        (
            {"state": "failed", "error": {**ERROR, "message": None}},
            "error.message: Input should be a valid string",
        ),
        (
            {"state": "failed", "error": {**ERROR, "retryable": 1}},
            "error.retryable: Input should be a valid boolean",
        ),
    ],
)
async def test_a_report_with_a_stranger_or_a_wrong_type_is_a_400(
    api: Api, body: object, problem: str
) -> None:
    await api.report("t1", PROCESSING)
    assert await api.report("t1", body) == 400
    _, problems = read_report(
        body if isinstance(body, bytes) else orjson.dumps(body), "text_embedding"
    )
    assert [said for said in problems if said.startswith(problem)]
    assert (await api.get("/api/ai-tasks/t1"))[1]["state"] == "processing"


async def test_the_stats_say_what_became_of_the_tasks(api: Api) -> None:
    await api.pending()
    await api.report("t1", PROCESSING)
    await api.report("t1", SUCCEEDED)
    await api.report("t2", FAILED)
    await api.report("t2", PROCESSING)
    _, stats = await api.get("/stats")
    assert 0 <= stats["elapsed_s"] < 10
    assert {key: stats[key] for key in ("tasks", "without_id", "by_state", "by_error_code")} == {
        "tasks": 3,
        "without_id": 1,
        "by_state": {"succeeded": 1, "failed": 1, "pending": 1},
        "by_error_code": {"empty_text": 1},
    }


async def test_results_need_not_be_kept(session: aiohttp.ClientSession) -> None:
    upstream = ExampleUpstream([{"id": "t1", "type": "text_embedding"}], keeps_results=False)
    api = Api(session, await upstream.start())
    for body in (PROCESSING, SUCCEEDED, SUCCEEDED):
        assert await api.report("t1", body) == 200
    shown = await api.get("/api/ai-tasks/t1")
    assert shown == (200, {"id": "t1", "state": "succeeded", "states": ["processing", "succeeded"]})
    await upstream.stop()


async def start_process(*arguments: str, **options: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deployments.examples.upstream",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_says_where_it_listens_and_ends_when_told_to(
    session: aiohttp.ClientSession, signum: signal.Signals
) -> None:
    process = await start_process("--tasks", "5", "--no-faults")
    assert process.stdout is not None
    ready = json.loads(await process.stdout.readline())
    assert ready["url"] == f"http://127.0.0.1:{ready['port']}"
    api = Api(session, ready["url"])
    assert len(await api.pending(10)) == 5
    process.send_signal(signum)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 0
