"""The client of the Prefect API, against a server that is as strict as the real one."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from aletheia.adapters.prefect.client import PrefectApi, Worker
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    InvalidTask,
    Misconfigured,
    Unauthorized,
    Unavailable,
)
from tests.fakes.prefect_api import POLL, FakePrefectApi, serve_fake_prefect

PASSWORD = "aletheia:päss:word"


@asynccontextmanager
async def opened(api: FakePrefectApi, **options: Any) -> AsyncGenerator[PrefectApi]:
    client = PrefectApi(api.url, retry_base_s=0.0, **options)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


async def start(client: PrefectApi, key: str = "k1", **parameters: Any) -> str:
    return await client.start(POLL, parameters, idempotency_key=key)


@pytest.mark.parametrize("auth_string", ["", PASSWORD])
@pytest.mark.parametrize("is_protected", [False, True])
async def test_a_run_is_started_once_a_key(auth_string: str, is_protected: bool):
    async with (
        serve_fake_prefect(auth_string=auth_string, is_protected=is_protected) as api,
        opened(api, auth_string=auth_string) as client,
    ):
        await client.ping()
        first = await start(client, shift_seconds=0)
        assert await start(client, shift_seconds=0) == first
        assert await start(client, "k2") != first
        assert [run["parameters"] for run in api.runs.values()] == [{"shift_seconds": 0}, {}]


async def test_a_token_that_is_no_good_any_more_is_asked_for_again():
    async with serve_fake_prefect(is_protected=True) as api, opened(api) as client:
        await start(client)
        api.tokens.clear()
        await start(client, "k2")
        assert len(api.runs) == 2


@pytest.mark.parametrize("auth_string", ["", "aletheia:wrong"])
async def test_a_sign_in_that_is_refused_is_said_without_it(auth_string: str):
    async with (
        serve_fake_prefect(auth_string=PASSWORD) as api,
        opened(api, auth_string=auth_string) as client,
    ):
        for call in (client.ping, client.workers, lambda: start(client)):
            with pytest.raises(Unauthorized) as refused:
                await call()
            assert "wrong" not in str(refused.value)


async def test_what_is_not_deployed_or_not_taken_is_said():
    async with serve_fake_prefect() as api, opened(api) as client:
        with pytest.raises(Misconfigured, match="is not deployed"):
            await client.start("another/another", {}, idempotency_key="k")
        with pytest.raises(InvalidTask) as refused:
            await start(client, unknown=1)
        assert refused.value.code == "invalid_parameters"
        for name in ("../admin/version", "a", "a/b/c", ""):
            with pytest.raises(AletheiaError):
                await client.start(name, {}, idempotency_key="k")
        assert api.runs == {}


async def test_a_server_that_fails_for_a_moment_is_asked_again():
    async with serve_fake_prefect() as api, opened(api) as client:
        api.fail_next(503, 500)
        await start(client)
        assert len(api.runs) == 1
        api.fail_next(503, 503, 503)
        with pytest.raises(Unavailable):
            await client.ping()


async def test_a_server_that_is_not_there_is_away():
    client = PrefectApi("http://127.0.0.1:9/api", max_retries=0)
    await client.open()
    with pytest.raises(Unavailable):
        await client.ping()
    await client.close()


async def test_workers_are_listed_by_pool_and_name():
    async with serve_fake_prefect() as api, opened(api) as client:
        seen = "2026-11-30T10:00:00Z"
        api.pools = {
            "b": [{"name": "one", "status": "ONLINE", "last_heartbeat_time": seen}],
            "a": [{"name": "two", "status": "OFFLINE"}, {"name": "one", "status": None}],
        }
        assert list(await client.workers()) == [
            Worker("one", "a", is_online=False, seen_at=None),
            Worker("two", "a", is_online=False, seen_at=None),
            Worker("one", "b", is_online=True, seen_at=datetime(2026, 11, 30, 10, tzinfo=UTC)),
        ]


async def test_starts_at_once_are_one_run():
    async with serve_fake_prefect(is_protected=True) as api, opened(api) as client:
        assert len(set(await asyncio.gather(*(start(client) for _ in range(20))))) == 1


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("nonsense", {}),
        ("ftp://here/api", {}),
        ("http://user:password@here/api", {}),
        ("http://here/api", {"auth_string": "a:b\nX-Evil: 1"}),
        ("http://here/api", {"api_key": "a b"}),
    ],
    ids=str,
)
def test_what_cannot_be_right_is_refused(address: str, options: dict[str, Any]):
    with pytest.raises(Misconfigured):
        PrefectApi(address, **options)


async def test_something_else_that_answers_is_no_prefect_server():
    async with serve_fake_prefect() as api, opened(api) as client:
        api.deployment_id = "../../admin"
        with pytest.raises((Misconfigured, BadAnswer)):
            await start(client)
