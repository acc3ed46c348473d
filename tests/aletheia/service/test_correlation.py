"""The id of a request is in its answer, in the lines about it and in its span; a ticket is not."""

import io
import json
import logging
import re
from collections.abc import Generator

import pytest

from aletheia.logs import use_json
from aletheia.service.correlation import HEADER
from tests.fakes.service import Client
from tests.fakes.tracing import RecordingProvider, recording


@pytest.fixture
def written() -> Generator[io.StringIO]:
    stream, logger = io.StringIO(), logging.getLogger("aletheia")
    handler, level = logging.StreamHandler(stream), logger.level
    use_json(handler)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


async def id_of(client: Client, path: str = "/api/v1/workers", **headers: str) -> str:
    async with client.session.get(path, headers=headers) as response:
        return response.headers[HEADER]


async def test_each_request_gets_an_id_and_may_bring_its_own(client: Client):
    assert await id_of(client, **{HEADER: "from-the/proxy=1"}) == "from-the/proxy=1"
    ids = [await id_of(client) for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32}", found) for found in ids)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, '"}{"', "\u00fc", "a\tb"])
async def test_an_id_that_would_spoil_lines_is_replaced(client: Client, given: str):
    assert re.fullmatch(r"[0-9a-f]{32}", await id_of(client, **{HEADER: given}))


async def test_lines_about_a_request_are_found_by_its_id(client: Client, written: io.StringIO):
    await id_of(client, **{HEADER: "r-1"})
    await id_of(client, "/api/v1/usage", **{HEADER: "r-2"})
    found = [json.loads(line) for line in written.getvalue().splitlines()]
    said = {line["request_id"]: line["message"] for line in found}
    assert set(said) == {"r-1", "r-2"}
    assert "/api/v1/workers" in said["r-1"]
    assert "missing_token" in said["r-1"]


@pytest.fixture
def traced() -> RecordingProvider:
    """What is there before the service is, as in production."""
    return recording()


async def test_a_request_is_a_span_without_its_query(traced: RecordingProvider, client: Client):
    secret = "a-ticket-that-nobody-else-should-see"
    found = await id_of(client, f"/events/automated-gather/p?ticket={secret}")
    await id_of(client, "/health")
    (span,) = traced.requests
    assert span.is_ended
    assert span.name == "GET /events/automated-gather/{project_id}"
    assert span.attributes["http.request.header.x-request-id"] == [found]
    assert secret not in repr(span.attributes)
