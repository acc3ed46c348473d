import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.brain.index import IndexedBrain
from aletheia.brain.ports import BrainDepartment, BrainItem, ModelChanged, Upserted
from aletheia.errors import (
    AletheiaError,
    BreakerOpen,
    ComputeFailed,
    Misconfigured,
    ModelUnavailable,
    RateLimited,
    Refused,
    Unavailable,
)
from aletheia.service import guarding
from tests.fakes.brain import (
    DIMENSIONS,
    MODEL,
    PROJECT,
    FakeEmbed,
    find_department,
)
from tests.fakes.brain_app import make_brain_app
from tests.fakes.serving import serving

KEY = "a-key-of-the-service-that-is-long-enough"
AXIS = [1.0, *[0.0] * 7]
BATCH: dict[str, Any] = {
    "project_id": PROJECT,
    "department": {"slug": "legal", "name": "Legal", "codeDepNumber": 1},
    "items": [
        {"id": "a", "content": "First.", "summary": "1", "context": "x", "embedding": AXIS},
        {"id": "b", "content": "Second."},
    ],
}
BATCH_PATH = "/api/v1/nodes/batch"
SEARCH_PATH = "/api/v1/search/duplicates"
CONTEXT_PATH = f"/api/v1/context/department?project_id={PROJECT}&department=legal"
COVERAGE_PATH = "/api/v1/analyze/coverage"
GUARDED = [
    ("POST", BATCH_PATH),
    ("POST", SEARCH_PATH),
    ("GET", CONTEXT_PATH),
    ("POST", COVERAGE_PATH),
]


class ShakyBrain(IndexedBrain):
    """A Brain that fails on demand.

    Attributes:
        failures: what its next calls, or attempts to open it, end with.
        opened: how often it was opened.
        is_closed: whether it was closed.
    """

    failures: list[Exception]
    opened = 0
    is_closed = False

    async def open(self) -> None:
        """Open, unless it is to fail."""
        self.opened += 1
        self._fail()
        await super().open()

    async def close(self) -> None:
        """Close."""
        self.is_closed = True
        await super().close()

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[BrainItem]
    ) -> Upserted:
        """Upsert, unless it is to fail."""
        self._fail()
        return await super().upsert(project_id, department, items)

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


class Caller:
    """Calls the service as a program in any language would."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url
        self.headers: dict[str, str] = {"Authorization": f"Bearer {KEY}"}
        self.answered: dict[str, str] = {}

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Make a call; give status and answer."""
        sent = {"Content-Type": "application/json"} | self.headers | (headers or {})
        raw = data if body is None else orjson.dumps(body)
        async with self.session.request(
            method, self.url + path, data=raw, headers=sent
        ) as response:
            self.answered = {name.lower(): value for name, value in response.headers.items()}
            return response.status, orjson.loads(await response.read())

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Post JSON."""
        return await self.call("POST", path, body)

    async def refused(self, path: str, body: Any) -> tuple[int, str, str]:
        """Post what is refused; give status, code and message."""
        status, answer = await self.post(path, body)
        assert set(answer) == {"error"}
        assert {"code", "message"} <= set(answer["error"])
        return status, answer["error"]["code"], answer["error"]["message"]


@pytest.fixture
def graph(tmp_path: Path) -> EmbeddedGraph:
    return EmbeddedGraph(tmp_path)


@pytest.fixture
def brain(graph: EmbeddedGraph) -> ShakyBrain:
    brain = ShakyBrain(graph, FakeEmbed(), MODEL, DIMENSIONS, catalogue=find_department)
    brain.failures = []
    return brain


@pytest.fixture
async def caller(brain: ShakyBrain, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Caller]:
    monkeypatch.setattr(guarding, "MAX_BODY_BYTES", 300_000)
    monkeypatch.setattr(guarding, "BODY_TIMEOUT_S", 0.3)
    async with (
        serving(make_brain_app(brain, KEY)) as url,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
    ):
        yield Caller(session, url)
    assert brain.is_closed


async def test_the_four_endpoints_answer_as_the_specification_says(caller: Caller):
    assert await caller.post(BATCH_PATH, BATCH) == (200, {"created": 2, "updated": 0, "failed": []})
    assert await caller.post(
        SEARCH_PATH, {"project_id": PROJECT, "embedding": AXIS, "threshold": 0.9}
    ) == (200, {"duplicates": [{"id": "a", "score": 1.0, "content": "First."}]})
    assert await caller.post(SEARCH_PATH, {"project_id": PROJECT, "content": "Second."}) == (
        200,
        {"duplicates": [{"id": "b", "score": 1.0, "content": "Second."}]},
    )
    status, context = await caller.call("GET", CONTEXT_PATH + "&previous=legal,hr&max_tokens=500")
    first = {"id": "a", "content": "First.", "summary": "1", "context": "x"}
    second = {"id": "b", "content": "Second.", "summary": "", "context": ""}
    assert status == 200
    assert set(context) == {"department", "items", "previous", "gaps"}
    assert (context["department"], context["items"]) == ("legal", [second, first])
    (earlier,) = context["previous"]
    assert set(earlier) == {"department", "summary", "items"}
    assert "contracts" in context["gaps"]
    asked: dict[str, Any] = {}
    for department in ("legal", {"slug": "legal"}, {"slug": "legal", "name": None, "x": 1}):
        asked = {"project_id": PROJECT, "department": department}
        status, coverage = await caller.post(COVERAGE_PATH, asked)
        assert (status, coverage["score"]) == (200, 0)
        assert coverage["aspects"][0] == {"name": "contracts", "covered": 0, "evidence": []}
    content = "Review supplier contracts every quarter and file all changes with the board."
    asked["items"] = [{"id": "z", "content": content}]
    _, better = await caller.post(COVERAGE_PATH, asked)
    assert better["score"] > 0
    assert better["aspects"][0]["evidence"] == ["z"]
    asked["items"][0]["id"] = ""
    status, unnamed = await caller.post(COVERAGE_PATH, asked)
    assert (status, unnamed["score"]) == (200, better["score"])
    assert unnamed["aspects"][0]["evidence"] == []


# Another embedding model


@pytest.mark.parametrize(
    ("path", "body"), [(BATCH_PATH, BATCH), (SEARCH_PATH, {"project_id": PROJECT, "content": "x"})]
)
async def test_vectors_of_another_model_than_its_own_are_refused(
    caller: Caller, path: str, body: dict[str, Any]
):
    header = "X-Aletheia-Model"
    for named, asked in (("tests/another", "tests/another"), ("kl%C3%A4r%20384", "klär 384")):
        status, answer = await caller.call("POST", path, body, headers={header: named})
        assert (status, answer["error"]["code"]) == (409, "other_embedding_model")
        assert answer["error"]["details"] == {"own": MODEL, "asked": asked}
    assert (await caller.call("GET", CONTEXT_PATH))[1]["items"] == []
    for named in ("", MODEL, MODEL.replace("-", "%2D")):
        assert (await caller.call("POST", path, body, headers={header: named}))[0] == 200


# Who may call


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_nobody_gets_in_without_the_key(caller: Caller, method: str, path: str):
    headers = {
        "": "missing_key",
        "Bearer": "missing_key",
        "Bearer  ": "missing_key",
        "Basic YTpi": "missing_key",
        KEY: "missing_key",
        "Bearer another": "wrong_key",
        f"Bearer {KEY}x": "wrong_key",
        f"Bearer {KEY[:-1]}": "wrong_key",
        "Bearer k\u00e4se": "wrong_key",
    }
    body = BATCH if method == "POST" else None
    caller.headers = {}
    status, answer = await caller.call(method, path, body)
    assert (status, answer["error"]["code"]) == (401, "missing_key")
    for header, code in headers.items():
        caller.headers = {"Authorization": header}
        status, answer = await caller.call(method, path, body)
        assert (status, answer["error"]["code"]) == (401, code), header
        assert caller.answered["www-authenticate"].startswith("Bearer")
        assert KEY not in str(answer)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_key_is_taken_in_any_usual_form(caller: Caller, scheme: str):
    caller.headers = {"authorization": f"{scheme} {KEY}"}
    assert (await caller.call("GET", CONTEXT_PATH))[0] == 200


async def test_nothing_is_read_of_a_caller_without_the_key(caller: Caller):
    caller.headers = {}
    status, answer = await caller.call("POST", BATCH_PATH, data=b"[" * 200_000)
    assert (status, answer["error"]["code"]) == (401, "missing_key")


async def test_a_service_without_a_key_lets_nobody_in(brain: ShakyBrain):
    async with (
        serving(make_brain_app(brain, "")) as url,
        aiohttp.ClientSession() as session,
    ):
        caller = Caller(session, url)
        for header in ("Bearer ", "Bearer None", f"Bearer {KEY}"):
            caller.headers = {"Authorization": header}
            status, answer = await caller.call("GET", CONTEXT_PATH)
            assert (status, answer["error"]["code"]) == (503, "no_key_configured")


# Bad input


@pytest.mark.parametrize("path", [BATCH_PATH, SEARCH_PATH])
async def test_what_is_not_json_is_said_to_be_that(caller: Caller, path: str):
    for body in (
        b"{",
        b"not JSON",
        b"\xff\xfe",
        b'{"project_id": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b'{"project_id": "p", "embedding": [NaN]}',
        b'{"project_id": "p", "embedding": [Infinity]}',
        b'{"project_id": "\\ud800"}',
    ):
        status, answer = await caller.call("POST", path, data=body)
        assert (status, answer["error"]["code"]) == (400, "invalid_json"), body[:40]
    status, answer = await caller.call("POST", path, data=b"")
    assert (status, answer["error"]["code"]) == (422, "invalid_request")


def changed(**values: Any) -> dict[str, Any]:
    return {**BATCH, **values}


def with_item(**values: Any) -> dict[str, Any]:
    return changed(items=[{"id": "a", "content": "x", **values}])


NONSENSE: list[tuple[str, Any, str]] = [
    (BATCH_PATH, [], "body"),
    (BATCH_PATH, "text", "body"),
    (BATCH_PATH, {}, "project_id"),
    (BATCH_PATH, changed(department=None), "department"),
    (BATCH_PATH, changed(department={}), "department.slug"),
    (BATCH_PATH, changed(department={"slug": ""}), "department.slug"),
    (BATCH_PATH, changed(department={"slug": "x" * 301}), "department.slug"),
    (
        BATCH_PATH,
        changed(department={"slug": "x", "codeDepNumber": 10**10}),
        "department.codeDepNumber",
    ),
    (BATCH_PATH, changed(items=None), "items"),
    (BATCH_PATH, changed(items={}), "items"),
    (BATCH_PATH, changed(items=[{"id": str(n)} for n in range(10_000)]), "items"),
    (BATCH_PATH, changed(items=[{"content": "x"}]), "items.0.id"),
    (BATCH_PATH, with_item(id=7), "items.0.id"),
    (BATCH_PATH, with_item(content=None), "items.0.content"),
    (BATCH_PATH, with_item(content=["x"]), "items.0.content"),
    (BATCH_PATH, with_item(embedding="x"), "items.0.embedding"),
    (BATCH_PATH, with_item(embedding=["1"]), "items.0.embedding.0"),
    (BATCH_PATH, with_item(embedding=[True]), "items.0.embedding.0"),
    (BATCH_PATH, with_item(embedding=[None]), "items.0.embedding.0"),
    (BATCH_PATH, with_item(embedding=[[1.0]]), "items.0.embedding.0"),
    (BATCH_PATH, with_item(embedding=[0] * 16_385), "items.0.embedding"),
    (SEARCH_PATH, {"project_id": "p", "content": "x", "threshold": 1.1}, "threshold"),
    (SEARCH_PATH, {"project_id": "p", "content": "x", "threshold": -1.1}, "threshold"),
    (SEARCH_PATH, {"project_id": "p", "content": "x", "threshold": "0.9"}, "threshold"),
    (SEARCH_PATH, {"project_id": "p", "content": "x", "limit": 0}, "limit"),
    (SEARCH_PATH, {"project_id": "p", "content": "x", "limit": 2001}, "limit"),
    (SEARCH_PATH, {"project_id": "p", "content": "x", "limit": True}, "limit"),
    (SEARCH_PATH, {"project_id": "p", "content": 7}, "content"),
    (COVERAGE_PATH, {"project_id": "p"}, "department"),
    (COVERAGE_PATH, {"project_id": "p", "department": ""}, "department.slug"),
    (COVERAGE_PATH, {"project_id": "p", "department": "x", "items": [{}]}, "items.0.id"),
]
"""What makes no sense, with the place where."""


@pytest.mark.parametrize("path", sorted({path for path, _, _ in NONSENSE}))
async def test_a_request_that_makes_no_sense_is_refused_with_its_place(caller: Caller, path: str):
    cases = [(body, place) for to, body, place in NONSENSE if to == path]
    assert cases
    for body, place in cases:
        status, code, message = await caller.refused(path, body)
        assert (status, code) == (422, "invalid_request"), place
        assert message.startswith((f"{place}: ", f"{place}.")), message
        assert len(message) <= 500


async def test_a_context_that_makes_no_sense_is_refused(caller: Caller):
    for query in (
        "project_id=p",
        "project_id=p&department=",
        "project_id=p&department=x&max_tokens=-1",
        "project_id=p&department=x&max_tokens=many",
        "project_id=p&department=x&max_tokens=1000001",
        "project_id=p&department=x&previous=" + ",".join(map(str, range(101))),
    ):
        status, answer = await caller.call("GET", f"/api/v1/context/department?{query}")
        assert (status, answer["error"]["code"]) == (422, "invalid_request"), query


async def test_as_many_earlier_departments_may_be_named_as_count(caller: Caller):
    slugs = ",".join(["sales", *map(str, range(99)), "sales", ""])
    assert (await caller.call("GET", f"{CONTEXT_PATH}&previous={slugs}"))[0] == 200


async def test_a_project_that_is_none_is_refused(caller: Caller):
    for project in ("", "a/b", "x" * 49, "a b", "\u00e4", "a\n", "p\x00", 7):
        status, code, message = await caller.refused(BATCH_PATH, changed(project_id=project))
        assert (status, code) == (422, "invalid_project_id"), project
        assert message.startswith("project_id: ")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "missing_query"),
        ({"content": " "}, "missing_query"),
        ({"embedding": [1.0, 2.0]}, "wrong_dimensions"),
        ({"embedding": []}, "invalid_vector"),
        ({"embedding": [0] * 8}, "invalid_vector"),
        ({"embedding": [1e300] * 8}, "invalid_vector"),
        ({"content": "NOT EMBEDDABLE"}, "input_too_long"),
    ],
)
async def test_a_question_that_cannot_be_answered_says_why(caller: Caller, query: Any, code: str):
    await caller.post(BATCH_PATH, BATCH)
    status, said, _ = await caller.refused(SEARCH_PATH, {"project_id": PROJECT, **query})
    assert (status, said) == (422, code)


async def test_what_is_empty_gives_way_to_what_is_filled_beside_it(caller: Caller):
    items: list[dict[str, Any]] = [
        {"id": "", "_id": "mongo", "content": "First.", "embedding": []},
        {"id": "own", "_id": "other", "content": "Second.", "embedding": AXIS},
    ]
    status, answer = await caller.post(BATCH_PATH, changed(items=items))
    assert (status, answer["failed"]) == (200, [])
    query: dict[str, Any] = {"project_id": PROJECT, "content": "First.", "embedding": []}
    _, found = await caller.post(SEARCH_PATH, query)
    assert [hit["id"] for hit in found["duplicates"]] == ["mongo"]
    _, found = await caller.post(SEARCH_PATH, {**query, "content": "", "embedding": AXIS})
    assert [hit["id"] for hit in found["duplicates"]] == ["own"]


async def test_items_that_cannot_be_indexed_fail_alone_and_in_order(caller: Caller):
    bad: list[dict[str, Any]] = [
        {"id": "short", "content": "x", "embedding": [1.0]},
        {"id": "zero", "content": "x", "embedding": [0.0] * 8},
        {"id": "huge", "content": "x", "embedding": [1e300] * 8},
        {"id": "", "content": "x"},
        {"id": "blank", "content": " \n"},
        {"id": "empty", "content": "", "embedding": AXIS},
    ]
    good = {"id": "good", "content": "x", "summary": None, "unknown": {"deep": [1]}}
    status, answer = await caller.post(BATCH_PATH, changed(items=[*bad[:2], good, *bad[2:]]))
    assert (status, answer["created"], answer["updated"]) == (200, 1, 0)
    assert answer["failed"] == [
        {"id": "short", "code": "wrong_dimensions"},
        {"id": "zero", "code": "invalid_vector"},
        {"id": "huge", "code": "invalid_vector"},
        {"id": "", "code": "invalid_id"},
        {"id": "blank", "code": "empty_text"},
        {"id": "empty", "code": "empty_text"},
    ]


async def test_an_item_that_is_too_long_fails_alone(brain: ShakyBrain):
    long = {"id": "long", "content": "x" * 1_000_001}
    first_long, last_long = (
        [{**long, "id": "a"}, *BATCH["items"]],
        [*BATCH["items"], {**long, "id": "b"}],
    )
    async with (
        serving(make_brain_app(brain, KEY)) as url,
        aiohttp.ClientSession() as session,
    ):
        caller = Caller(session, url)
        _, answer = await caller.post(BATCH_PATH, changed(items=[long, *BATCH["items"]]))
        _, listed = await caller.call("GET", CONTEXT_PATH)
        # Of two items with one id the last counts, whichever of them is too long.
        _, taken = await caller.post(BATCH_PATH, changed(project_id="p1", items=first_long))
        _, refused = await caller.post(BATCH_PATH, changed(project_id="p2", items=last_long))
    assert answer["failed"] == [{"id": "long", "code": "input_too_long"}]
    assert [item["id"] for item in listed["items"]] == ["b", "a"]
    assert taken == {"created": 2, "updated": 0, "failed": []}
    too_long = [{"id": "b", "code": "input_too_long"}]
    assert refused == {"created": 1, "updated": 0, "failed": too_long}


async def test_a_body_that_is_too_large_is_refused(caller: Caller):
    async def drip() -> AsyncGenerator[bytes]:
        for _ in range(40):
            yield b" " * 10_000

    for data in (b" " * 300_001, drip()):
        status, answer = await caller.call("POST", BATCH_PATH, data=data)
        assert (status, answer["error"]["code"]) == (413, "body_too_large")
        assert "300,000" in answer["error"]["message"]
    assert (await caller.call("POST", BATCH_PATH, data=b" " * 300_000))[0] == 400


async def test_a_body_that_does_not_come_is_not_waited_for(caller: Caller):
    async def stall() -> AsyncGenerator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    status, answer = await caller.call("POST", BATCH_PATH, data=stall())
    assert (status, answer["error"]["code"]) == (408, "body_too_slow")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Encoding": "gzip"},
    ],
)
async def test_only_plain_json_is_read(caller: Caller, headers: dict[str, str]):
    status, answer = await caller.call("POST", BATCH_PATH, data=b"{}", headers=headers)
    assert (status, answer["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/ld+json"])
async def test_json_is_read_under_its_other_names(caller: Caller, kind: str):
    status, _ = await caller.call("POST", BATCH_PATH, BATCH, headers={"Content-Type": kind})
    assert status == 200


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", (404, "not_found")),
        ("GET", "/api/v1/nodes/batch/x", (404, "not_found")),
        ("GET", BATCH_PATH, (405, "method_not_allowed")),
        ("DELETE", CONTEXT_PATH, (405, "method_not_allowed")),
        ("GET", "/redoc", (404, "not_found")),
        ("GET", f"/api/v1/nodes?project_id={PROJECT}", (404, "not_found")),
        ("POST", "/api/v1/nodes/delete", (404, "not_found")),
        ("POST", "/api/v1/evaluations", (404, "not_found")),
        ("POST", "/api/v1/model/adopt", (404, "not_found")),
        ("POST", "/api/v1/context/department", (405, "method_not_allowed")),
    ],
)
async def test_what_is_not_there_is_said_in_the_same_form(
    caller: Caller, method: str, path: str, expected: tuple[int, str]
):
    status, answer = await caller.call(method, path)
    assert (status, answer["error"]["code"]) == expected


# Faults behind the service


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unavailable("neo4j", "no route"), (503, "unavailable", "1")),
        (Unavailable("neo4j", "busy", 6.5), (503, "unavailable", "7")),
        (ModelUnavailable("m", "not found"), (503, "model_unavailable", "1")),
        (ComputeFailed("model_crashed", "out of memory"), (503, "model_crashed", "1")),
        (BreakerOpen("openai", datetime(2020, 1, 1, tzinfo=UTC)), (503, "breaker_open", "1")),
        (Refused("neo4j", 403, "read only"), (502, "backend_refused", None)),
        (Misconfigured("NEO4J_URI", "is not an address"), (502, "backend_refused", None)),
        (ModelChanged("small", "large"), (409, "embedding_model_changed", None)),
        (KeyError("a secret"), (500, "internal_error", None)),
    ],
)
async def test_what_goes_wrong_behind_it_is_said_in_the_same_form(
    caller: Caller, brain: ShakyBrain, error: Exception, expected: tuple[int, str, str | None]
):
    status, code, wait = expected
    brain.failures = [error]
    said, answer = await caller.post(BATCH_PATH, BATCH)
    assert (said, answer["error"]["code"]) == (status, code)
    assert caller.answered.get("retry-after") == wait
    assert "a secret" not in str(answer)
    if isinstance(error, Unavailable | Refused | Misconfigured):
        assert str(error) not in answer["error"]["message"], "it may name hosts"
    elif isinstance(error, AletheiaError):
        assert str(error) in answer["error"]["message"]
    assert (await caller.post(BATCH_PATH, BATCH))[0] == 200


async def test_another_model_is_named(caller: Caller, brain: ShakyBrain):
    brain.failures = [ModelChanged("small", "large")]
    _, answer = await caller.post(BATCH_PATH, BATCH)
    assert answer["error"]["details"] == {"kept": "small", "asked": "large"}


async def test_a_limit_says_how_long_it_holds(caller: Caller, brain: ShakyBrain):
    brain.failures = [RateLimited("openai", datetime.now(UTC) + timedelta(seconds=40))]
    status, answer = await caller.post(BATCH_PATH, BATCH)
    assert (status, answer["error"]["code"]) == (503, "rate_limited")
    assert 30 < int(caller.answered["retry-after"]) <= 40


class HangingBrain(ShakyBrain):
    """Takes a while to find out that it is down."""

    async def open(self) -> None:
        """Wait, and fail."""
        self.opened += 1
        await asyncio.sleep(0.2)
        raise Unavailable("neo4j", "no answer")


async def test_callers_of_a_brain_that_hangs_wait_together(graph: EmbeddedGraph):
    brain = HangingBrain(graph, FakeEmbed(), MODEL, DIMENSIONS)
    brain.failures = []
    async with (
        serving(make_brain_app(brain, KEY)) as url,
        aiohttp.ClientSession() as session,
    ):
        caller = Caller(session, url)
        answers = await asyncio.gather(*(caller.call("GET", CONTEXT_PATH) for _ in range(10)))
    assert [status for status, _ in answers] == [503] * 10
    assert brain.opened <= 4


async def test_a_brain_that_is_down_at_the_start_is_opened_once_it_is_there(
    brain: ShakyBrain, caplog: pytest.LogCaptureFixture
):
    brain.failures = [Unavailable("neo4j", "no route"), Unavailable("neo4j", "no route")]
    with caplog.at_level(logging.WARNING):
        async with (
            serving(make_brain_app(brain, KEY)) as url,
            aiohttp.ClientSession() as session,
        ):
            caller = Caller(session, url)
            assert (await caller.call("GET", "/health"))[0] == 200
            assert (await caller.call("GET", CONTEXT_PATH))[0] == 503
            answers = await asyncio.gather(*(caller.call("GET", CONTEXT_PATH) for _ in range(5)))
    assert [status for status, _ in answers] == [200] * 5
    assert brain.opened == 3
    assert "no route" in caplog.text
    assert KEY not in caplog.text
