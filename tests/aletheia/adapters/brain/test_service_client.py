import asyncio
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from email.utils import formatdate
from typing import Any, TypeAlias

import numpy as np
import orjson
import pytest
from yarl import URL

from aletheia.adapters.brain import service as service_client
from aletheia.adapters.brain.service import BrainService
from aletheia.adapters.http import HttpClient
from aletheia.brain.ports import (
    AspectCoverage,
    Brain,
    BrainItem,
    Coverage,
    DepartmentContext,
    Duplicate,
    EarlierDepartment,
    FailedItem,
    KnownItem,
    ModelChanged,
    OtherModel,
    Upserted,
)
from aletheia.brain.wire import COVERAGE_PATH
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    Conflict,
    InvalidTask,
    Misconfigured,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from tests.fakes.brain import FIRST_AXIS, LEGAL, PROJECT, SALES, item_of, vector_at
from tests.fakes.brain_service import FakeBrainService, serve_fake_brain
from tests.fakes.faults import Misbehaviour

Connect: TypeAlias = Callable[..., Awaitable[BrainService]]
Ask: TypeAlias = Callable[[BrainService], Awaitable[Any]]


@pytest.fixture
async def service() -> AsyncGenerator[FakeBrainService]:
    async with serve_fake_brain() as fake:
        yield fake


@pytest.fixture
async def connect(
    service: FakeBrainService, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Connect]:
    async with AsyncExitStack() as closing:

        async def make(base_url: str | None = None, **options: Any) -> BrainService:
            defaults: dict[str, Any] = {
                "api_key": service.key,
                "timeout_s": 5,
                "retry_base_s": 0,
                "max_retries": 2,
            }
            for bound in {"batch_items", "batch_bytes", "max_answer_bytes"} & set(options):
                monkeypatch.setattr(service_client, bound.upper(), options.pop(bound))
            client = BrainService(base_url or service.url, **{**defaults, **options})
            await client.open()
            closing.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def brain(connect: Connect) -> BrainService:
    return await connect()


async def failure(client: BrainService, ask: Ask | None = None) -> AletheiaError:
    with pytest.raises(AletheiaError) as raised:
        await (ask or search)(client)
    return raised.value


async def search(client: BrainService) -> list[Duplicate]:
    return await client.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.5)


async def index(client: BrainService) -> Upserted:
    return await client.upsert(PROJECT, LEGAL, [item_of("a")])


async def read_context(client: BrainService) -> DepartmentContext:
    return await client.read_context(PROJECT, LEGAL, ["sales"], max_tokens=100)


async def measure(client: BrainService) -> Coverage:
    return await client.measure_coverage(PROJECT, LEGAL)


CALLS = {"batch": index, "duplicates": search, "department": read_context, "coverage": measure}
"""The four calls by the last part of their path."""


async def test_a_service_of_somebody_else_is_understood(brain: BrainService):
    near, far = item_of("near", vector=vector_at(0.95)), item_of("far", vector=vector_at(0.2))
    assert await brain.upsert(PROJECT, LEGAL, [near, far]) == Upserted(2, 0)
    assert await brain.upsert(PROJECT, SALES, [item_of("other")]) == Upserted(1, 0)
    assert await brain.upsert(PROJECT, LEGAL, [near]) == Upserted(0, 1)
    (found,) = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.9)
    assert (found.id, found.content) == ("near", "Content of near.")
    assert found.score == pytest.approx(0.95)
    (same,) = await brain.find_duplicates(PROJECT, content="Content of far.", threshold=0.9)
    assert same == Duplicate("far", 1.0, "Content of far.")
    known = [
        KnownItem(item_id, f"Content of {item_id}.", f"Gist of {item_id}", "for the tests")
        for item_id in ("far", "near", "other")
    ]
    assert await brain.read_context(PROJECT, LEGAL, ["sales", "hr"], max_tokens=9) == (
        DepartmentContext(
            (known[0], known[1]),
            (EarlierDepartment("sales", "On sales.", (known[2],)),),
            ("disputes",),
            department="legal",
        )
    )
    aspect = AspectCoverage("contracts", 0.5, ("far", "near"))
    assert await brain.measure_coverage(PROJECT, LEGAL) == Coverage(50.0, (aspect,))
    alone = await brain.measure_coverage(PROJECT, LEGAL, [known[2]])
    assert alone == Coverage(25.0, (AspectCoverage("contracts", 0.25, ("other",)),))


async def test_requests_are_as_the_specification_writes_them(
    service: FakeBrainService, brain: BrainService
):
    item = BrainItem("1", "Full.", "Gist.", "Where.", np.array([0.25, -1], np.float32))
    await brain.upsert(PROJECT, LEGAL, [item, BrainItem("2", "Bare.")])
    await brain.find_duplicates(PROJECT, content="Full.", threshold=0.9)
    await brain.find_duplicates(PROJECT, content="?", vector=item.vector, threshold=-1, limit=3)
    await brain.read_context(PROJECT, SALES, ["a", "b c"], max_tokens=1500)
    await brain.measure_coverage(PROJECT, SALES)
    assert [
        (request.method, request.path, request.query, request.body) for request in service.requests
    ] == [
        (
            "POST",
            "/api/v1/nodes/batch",
            {},
            {
                "project_id": PROJECT,
                "department": {"slug": "legal", "name": "Legal", "codeDepNumber": 1},
                "items": [
                    {
                        "id": "1",
                        "content": "Full.",
                        "summary": "Gist.",
                        "context": "Where.",
                        "embedding": [0.25, -1.0],
                    },
                    {"id": "2", "content": "Bare.", "summary": "", "context": ""},
                ],
            },
        ),
        (
            "POST",
            "/api/v1/search/duplicates",
            {},
            {"project_id": PROJECT, "content": "Full.", "threshold": 0.9, "limit": 10},
        ),
        (
            "POST",
            "/api/v1/search/duplicates",
            {},
            {"project_id": PROJECT, "embedding": [0.25, -1.0], "threshold": -1, "limit": 3},
        ),
        (
            "GET",
            "/api/v1/context/department",
            {
                "project_id": PROJECT,
                "department": "sales",
                "previous": "a,b c",
                "max_tokens": "1500",
            },
            None,
        ),
        (
            "POST",
            "/api/v1/analyze/coverage",
            {},
            {"project_id": PROJECT, "department": "sales"},
        ),
    ]
    for request in service.requests:
        assert request.headers["Authorization"] == f"Bearer {service.key}"
        assert not any(name.startswith("X-") for name in request.headers)


async def test_the_model_is_named_where_vectors_are_sent(
    service: FakeBrainService, connect: Connect
):
    brain = await connect(model="tests/klär 384", batch_items=1)
    await brain.upsert(PROJECT, LEGAL, [item_of("a"), item_of("b")])
    await search(brain)
    named = [request.headers.get("X-Aletheia-Model") for request in service.requests]
    assert named == ["tests/kl%C3%A4r%20384"] * 3
    service.requests.clear()
    await brain.upsert(PROJECT, LEGAL, [BrainItem("c", "Bare.")])
    await brain.find_duplicates(PROJECT, content="Bare.", threshold=0.9)
    await read_context(brain)
    assert not any("X-Aletheia-Model" in request.headers for request in service.requests)


async def test_no_description_is_sent(service: FakeBrainService, brain: BrainService):
    await read_context(brain)
    await measure(brain)
    asked = [(request.query or request.body)["department"] for request in service.requests]
    assert asked == ["legal", "legal"]


async def test_a_service_below_a_path_is_asked_there(service: FakeBrainService, connect: Connect):
    await failure(await connect(service.url + "/brain/"))
    assert service.requests[0].path == "/brain/api/v1/search/duplicates"


# Batches


async def test_many_items_go_in_requests_of_bounded_number(
    service: FakeBrainService, connect: Connect
):
    brain = await connect(batch_items=3)
    await brain.upsert(PROJECT, LEGAL, [item_of("i5")])
    service.requests.clear()
    items = [item_of(f"i{n}") for n in range(8)]
    assert await brain.upsert(PROJECT, LEGAL, items) == Upserted(7, 1)
    sent = [[item["id"] for item in request.body["items"]] for request in service.requests]
    assert sent == [["i0", "i1", "i2"], ["i3", "i4", "i5"], ["i6", "i7"]]


async def test_long_items_go_in_requests_of_bounded_length(
    service: FakeBrainService, connect: Connect
):
    brain = await connect(batch_bytes=10_000)
    items = [item_of(f"i{n}", "x" * (4000 if n != 2 else 30_000)) for n in range(6)]
    assert await brain.upsert(PROJECT, LEGAL, items) == Upserted(6, 0)
    sent = [[item["id"] for item in request.body["items"]] for request in service.requests]
    assert sent == [["i0", "i1"], ["i2"], ["i3", "i4"], ["i5"]]


async def test_of_two_items_with_one_id_the_last_is_sent_once(
    service: FakeBrainService, connect: Connect
):
    brain = await connect(batch_items=1)
    twice = [item_of("a", "First."), item_of("b"), item_of("a", "Last.")]
    assert await brain.upsert(PROJECT, LEGAL, twice) == Upserted(2, 0)
    assert service.items[PROJECT, "a"]["content"] == "Last."


async def test_what_is_longer_than_the_service_takes_is_sent_in_halves(
    service: FakeBrainService, brain: BrainService
):
    service.max_bytes = 6000
    items = [item_of(f"i{n}", "x" * (1500 if n != 5 else 9000)) for n in range(8)]
    answer = await brain.upsert(PROJECT, LEGAL, items)
    assert answer == Upserted(7, 0, (FailedItem("i5", "input_too_long"),))
    assert len(service.items) == 7


async def test_a_large_batch_arrives_whole(service: FakeBrainService, brain: BrainService):
    items = [item_of(f"i{n}", "x" * 100_000) for n in range(30)]
    assert await brain.upsert(PROJECT, LEGAL, items) == Upserted(30, 0)
    assert max(request.size for request in service.requests) > 2**20


async def test_items_that_json_has_no_form_for_fail_alone(
    service: FakeBrainService, brain: BrainService
):
    service.answer_next(
        b'{"created": 1, "updated": 0, "failed": [{"id": "full", "code": "index_full"}]}'
    )
    items = [
        item_of("nan", vector=np.full(3, np.nan, np.float32)),
        item_of("full"),
        item_of("half \ud800"),
        item_of("good", "Half a character: \ud800."),
        item_of("square", vector=np.ones((2, 2), np.float32)),
    ]
    answer = await brain.upsert(PROJECT, LEGAL, items)
    assert answer.created == 1
    assert [(failure.id, failure.code) for failure in answer.failed] == [
        ("nan", "invalid_vector"),
        ("full", "index_full"),
        ("half \ud800", "invalid_id"),
        ("square", "invalid_vector"),
    ]
    (request,) = service.requests
    assert [item["content"] for item in request.body["items"]][1] == "Half a character: ?."


async def test_nothing_is_sent_where_there_is_nothing_to_send(
    service: FakeBrainService, brain: BrainService
):
    assert await brain.upsert(PROJECT, LEGAL, []) == Upserted(0, 0)
    bad = item_of("nan", vector=np.full(3, np.nan, np.float32))
    assert (await brain.upsert(PROJECT, LEGAL, [bad])).failed
    assert service.requests == []


async def test_only_items_that_count_are_sent_to_be_measured(
    service: FakeBrainService, brain: BrainService
):
    await brain.measure_coverage(PROJECT, LEGAL, [KnownItem(f"i{n}", "x") for n in range(1003)])
    sent = [item["id"] for item in service.requests[0].body["items"]]
    assert (len(sent), sent[0], sent[-1]) == (1000, "i3", "i1002")


async def test_the_last_of_many_earlier_departments_are_named(
    service: FakeBrainService, brain: BrainService
):
    await brain.read_context(PROJECT, LEGAL, [*map(str, range(150)), "149"], max_tokens=1)
    assert service.requests[0].query["previous"].split(",") == [str(n) for n in range(50, 150)]


async def test_an_earlier_department_with_a_comma_in_its_name_is_left_out(
    service: FakeBrainService, brain: BrainService
):
    await brain.read_context(PROJECT, LEGAL, ["a,b", "c"], max_tokens=1)
    assert service.requests[0].query["previous"] == "c"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "missing_query"),
        ({"content": " \n"}, "missing_query"),
        ({"vector": np.full(3, np.inf, np.float32)}, "invalid_vector"),
        ({"vector": np.zeros(3, np.float32)}, "invalid_vector"),
    ],
)
async def test_a_query_that_makes_no_sense_is_not_sent(
    service: FakeBrainService, brain: BrainService, query: Any, code: str
):
    error = await failure(
        brain, lambda client: client.find_duplicates(PROJECT, **query, threshold=0.5)
    )
    assert isinstance(error, InvalidTask)
    assert error.code == code
    assert service.requests == []


@pytest.mark.parametrize(("threshold", "limit"), [(1.1, 5), (-1.1, 5), (0.5, 0), (0.5, 2001)])
async def test_a_query_out_of_range_is_a_fault_of_the_program(
    brain: BrainService, threshold: float, limit: int
):
    with pytest.raises(ValueError, match="out of range"):
        await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=threshold, limit=limit)


# Answers


async def test_hits_are_put_in_order_and_cut_to_what_was_asked_for(
    service: FakeBrainService, brain: BrainService
):
    hits = [("b", 0.8), ("c", 0.95), ("a", 0.8), ("d", 0.3), ("e", 1.0004)]
    found = [{"id": one, "score": score, "extra": None} for one, score in hits]
    service.answer_next(orjson.dumps({"duplicates": found, "took_ms": 3}))
    found = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.5, limit=3)
    assert found == [Duplicate("e", 1.0, ""), Duplicate("c", 0.95, ""), Duplicate("a", 0.8, "")]


@pytest.mark.parametrize(
    ("ask", "body", "expected"),
    [
        (index, {"created": 1, "updated": 0}, Upserted(1, 0)),
        (index, {"created": 0, "updated": 0, "failed": None}, Upserted(0, 0)),
        (
            index,
            {"created": 0, "updated": 0, "failed": [{"id": 7}]},
            Upserted(0, 0, (FailedItem("7", "refused"),)),
        ),
        (search, {"duplicates": [{"id": 7, "score": 1}]}, [Duplicate("7", 1.0, "")]),
        (
            read_context,
            {"items": [{"id": 7, "content": "x", "summary": None}], "previous": None},
            DepartmentContext((KnownItem("7", "x"),), department="legal"),
        ),
        (
            measure,
            {"score": 50, "aspects": [{"name": "a", "covered": True, "evidence": "7"}]},
            Coverage(50.0, (AspectCoverage("a", 1.0, ("7",)),)),
        ),
    ],
)
async def test_what_services_say_differently_is_understood(
    service: FakeBrainService, brain: BrainService, ask: Ask, body: Any, expected: Any
):
    service.answer_next(orjson.dumps(body))
    assert await ask(brain) == expected


@pytest.mark.parametrize(
    ("ask", "body", "reason"),
    [
        (search, b"<!DOCTYPE html><title>Welcome", "a web page in place of JSON"),
        (search, b"\n <html>", "is BRAIN_SERVICE_BASE_URL the root of the API?"),
        (search, b"", "not JSON"),
        (search, b'{"duplicates": [', "not JSON"),
        (search, b"[" * 100_000, "not JSON"),
        (search, b"[]", "the value: "),
        (search, b"{}", "duplicates: "),
        (search, b'{"duplicates": [{"id": "a", "score": NaN}]}', "not JSON"),
        (search, b'{"duplicates": [{"id": "a", "score": null}]}', "duplicates.0.score: "),
        (search, b'{"duplicates": [{"id": "a", "score": 95}]}', "duplicates.0.score: "),
        (search, b'{"duplicates": [{"id": "", "score": 0.9}]}', "duplicates.0.id: "),
        (index, b'{"created": -1, "updated": 0}', "created: "),
        (index, b'{"created": 2, "updated": 0}', "of 1 items 2 created"),
        (index, b'{"created": "many", "updated": 0}', "created: "),
        (read_context, b'{"items": {}}', "items: "),
        (read_context, b'{"items": [], "gaps": [1]}', "gaps.0: "),
        (measure, b'{"score": 101, "aspects": []}', "score: "),
        (measure, b'{"score": 1, "aspects": [{"name": "a", "covered": 3}]}', "aspects.0.covered"),
    ],
)
async def test_an_answer_that_is_none_is_a_bad_answer(
    service: FakeBrainService, brain: BrainService, ask: Ask, body: bytes, reason: str
):
    service.answer_next(body)
    error = await failure(brain, ask)
    assert isinstance(error, BadAnswer)
    assert reason in error.reason
    assert len(service.requests) == 1


async def test_a_large_answer_is_read(service: FakeBrainService, brain: BrainService):
    content = "x" * 2**21
    body = {"duplicates": [{"id": "a", "score": 0.9, "content": content}]}
    service.answer_next(orjson.dumps(body))
    assert await search(brain) == [Duplicate("a", 0.9, content)]


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_is_read_up_to_a_limit(
    service: FakeBrainService, connect: Connect, status: int
):
    service.answer_next(b" " * 200_000, status=status)
    error = await failure(await connect(max_answer_bytes=100_000, max_retries=0))
    assert isinstance(error, Unavailable)
    assert isinstance(error, BadAnswer) == (status == 200)
    assert ("longer than 100,000 bytes" in error.reason) == (status == 200)


async def test_an_answer_without_an_end_is_a_bad_answer(
    service: FakeBrainService, connect: Connect
):
    service.misbehave_next("never_ends")
    error = await failure(await connect(max_answer_bytes=100_000))
    assert isinstance(error, BadAnswer)
    assert len(service.requests) == 1


# Refusals


@pytest.mark.parametrize("endpoint", CALLS)
async def test_a_wrong_key_is_said_to_be_that(
    service: FakeBrainService, connect: Connect, endpoint: str
):
    brain = await connect(api_key="another-key")
    error = await failure(brain, CALLS[endpoint])
    assert isinstance(error, Unauthorized)
    assert error.reason == "who are you?; check BRAIN_SERVICE_API_KEY"
    assert len(service.requests) == 1


@pytest.mark.parametrize("endpoint", CALLS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 503])
async def test_no_error_shows_the_key(
    service: FakeBrainService, connect: Connect, endpoint: str, status: int
):
    brain = await connect(max_retries=0)
    body = orjson.dumps({"error": {"code": "x", "message": f"no, {service.key}, no"}})
    service.fail_next(status, body=body)
    if endpoint == "batch" and status == 413:
        assert (await index(brain)).failed
        return
    error = await failure(brain, CALLS[endpoint])
    assert "no, ***, no" in str(error)
    assert service.key not in repr(brain) + "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "refusal",
    [
        (400, b'{"detail": "no such field"}', Refused, "brain refused with 400: no such field"),
        (402, b'{"message": "unpaid"}', Refused, "brain refused with 402: unpaid"),
        (403, b"{}", Unauthorized, "check BRAIN_SERVICE_API_KEY"),
        (404, b"<html>Lost?</html>", NotFound, "check BRAIN_SERVICE_BASE_URL"),
        (409, b'{"error": "busy"}', Conflict, "brain refused with 409: busy"),
        (422, b'{"detail": [{"loc": ["body"]}]}', Refused, "brain refused with 422"),
        (422, b'{"error": {"code": "odd", "message": "an odd one"}}', Refused, "an odd one"),
        (418, b"[1]", Refused, "brain refused with 418: [1]"),
    ],
)
async def test_a_refusal_is_not_repeated(
    service: FakeBrainService, brain: BrainService, refusal: tuple[int, bytes, Any, str]
):
    status, body, kind, said = refusal
    service.fail_next(status, body=body)
    error = await failure(brain)
    assert type(error) is kind
    assert said in str(error)
    assert "<html>" not in str(error)
    assert len(service.requests) == 1


async def test_what_is_wrong_with_a_question_is_an_invalid_task(
    service: FakeBrainService, brain: BrainService
):
    body = b'{"error": {"code": "wrong_dimensions", "message": "vectors have 384 numbers here"}}'
    service.fail_next(422, body=body)
    error = await failure(brain)
    assert isinstance(error, InvalidTask)
    assert (error.code, str(error)) == ("wrong_dimensions", "vectors have 384 numbers here")


async def test_another_embedding_model_is_reported_with_both_names(
    service: FakeBrainService, brain: BrainService
):
    details = {"kept": "small", "asked": "large"}
    error = {"code": "embedding_model_changed", "message": "…", "details": details}
    service.fail_next(409, body=orjson.dumps({"error": error}))
    changed = await failure(brain)
    assert isinstance(changed, ModelChanged)
    assert (changed.kept, changed.asked) == ("small", "large")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_way_elsewhere_is_not_followed(
    service: FakeBrainService, brain: BrainService, status: int
):
    service.answer_next(b"", status=status, headers={"Location": f"{service.url}/elsewhere"})
    error = await failure(brain)
    assert isinstance(error, BadAnswer)
    assert "not followed" in error.reason
    assert len(service.requests) == 1


async def test_the_model_of_a_service_may_be_another_than_ours(
    service: FakeBrainService, brain: BrainService
):
    details = {"own": "small", "asked": "large"}
    error = {"code": "other_embedding_model", "message": "…", "details": details}
    service.fail_next(409, body=orjson.dumps({"error": error}))
    other = await failure(brain)
    assert isinstance(other, OtherModel)
    assert (other.own, other.asked) == ("small", "large")


# Outages


@pytest.mark.parametrize("endpoint", CALLS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_an_outage_is_waited_out(
    service: FakeBrainService, brain: BrainService, endpoint: str, status: int
):
    service.fail_next(status, status, on=endpoint)
    await CALLS[endpoint](brain)
    assert len(service.requests) == 3


async def test_an_outage_in_the_middle_costs_only_its_batch(
    service: FakeBrainService, connect: Connect
):
    brain = await connect(batch_items=2)
    service.answer_next(b'{"created": 2, "updated": 0}')
    service.fail_next(503)
    assert await brain.upsert(PROJECT, LEGAL, [item_of(f"i{n}") for n in range(4)]) == Upserted(
        4, 0
    )
    assert [len(request.body["items"]) for request in service.requests] == [2, 2, 2]


async def test_an_outage_that_lasts_is_reported(service: FakeBrainService, brain: BrainService):
    service.fail_next(503, 503, 503, body=b'{"error": {"code": "x", "message": "warming up"}}')
    error = await failure(brain)
    assert isinstance(error, Unavailable)
    assert (error.reason, error.status) == ("503: warming up", 503)
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    ("header", "wait_s"), [("7", 7), (formatdate(1_800_000_090, usegmt=True), 90), ("soon", None)]
)
async def test_a_wait_that_is_asked_for_is_passed_on(
    service: FakeBrainService, connect: Connect, header: str, wait_s: float | None
):
    headers = {"Retry-After": header, "Date": formatdate(1_800_000_000, usegmt=True)}
    service.answer_next(b"{}", status=429, headers=headers)
    error = await failure(await connect(max_retries=0))
    assert isinstance(error, Unavailable)
    assert (error.status, error.retry_after_s) == (429, wait_s)


@pytest.mark.parametrize("endpoint", CALLS)
@pytest.mark.parametrize(
    ("misbehaviour", "status"),
    [
        ("hangs_up", None),
        ("is_not_http", None),
        ("cuts_its_body", 200),
        ("stalls", 200),
        ("drips", 200),
    ],
)
async def test_a_connection_that_fails_is_an_outage(
    service: FakeBrainService,
    connect: Connect,
    endpoint: str,
    misbehaviour: Misbehaviour,
    status: int | None,
):
    brain = await connect(timeout_s=0.3, max_retries=0)
    service.misbehave_next(misbehaviour)
    error = await failure(brain, CALLS[endpoint])
    assert isinstance(error, Unavailable)
    assert (error.dependency, error.status) == ("brain", status)
    assert len(service.requests) == 1
    await CALLS[endpoint](brain)


async def test_items_whose_answer_got_lost_are_indexed_once(
    service: FakeBrainService, brain: BrainService
):
    service.misbehave_next("loses_its_answer")
    answer = await index(brain)
    assert answer.created + answer.updated == 1
    assert list(service.items) == [(PROJECT, "a")]


async def test_a_service_that_is_not_there_is_an_outage(
    service: FakeBrainService, brain: BrainService
):
    await service.stop()
    assert isinstance(await failure(brain), Unreachable)


async def test_calls_at_once_do_not_wait_for_each_other(
    service: FakeBrainService, brain: BrainService
):
    service.misbehave_next("stalls", on="duplicates")
    stalled = asyncio.create_task(search(brain))
    while not service.requests:
        await asyncio.sleep(0)
    await asyncio.gather(*(measure(brain) for _ in range(150)))
    assert not stalled.done()
    stalled.cancel()
    await asyncio.gather(stalled, return_exceptions=True)


# Configuration


def test_it_is_a_brain_that_keeps_its_key_to_itself():
    client = BrainService("http://localhost:8001", api_key="secret-key")
    brain: Brain = client
    assert "secret-key" not in repr(brain) + str(vars(brain).get("_session"))


@pytest.mark.parametrize(
    ("base_url", "api_key", "name"),
    [
        ("brain.example.com", "k", "BRAIN_SERVICE_BASE_URL"),
        ("https://u:p@brain.example.com", "k", "BRAIN_SERVICE_BASE_URL"),
        ("https://brain.example.com?a=b", "k", "BRAIN_SERVICE_BASE_URL"),
        ("https://brain.example.com", "", "BRAIN_SERVICE_API_KEY"),
        ("https://brain.example.com", "with blank", "BRAIN_SERVICE_API_KEY"),
        ("https://brain.example.com", "k\r\nX: y", "BRAIN_SERVICE_API_KEY"),
    ],
)
def test_what_cannot_be_right_is_misconfigured(base_url: str, api_key: str, name: str):
    with pytest.raises(Misconfigured) as raised:
        BrainService(base_url, api_key=api_key)
    assert raised.value.name == name


async def test_a_client_that_is_not_open_sends_nothing():
    with pytest.raises(RuntimeError, match="not open"):
        await search(BrainService("http://localhost:1", api_key="k"))


async def test_a_project_that_is_none_is_not_asked_for(
    service: FakeBrainService, brain: BrainService
):
    calls: list[Awaitable[Any]] = [
        brain.upsert("a/b", LEGAL, [item_of("a")]),
        brain.find_duplicates("", content="x", threshold=0.5),
        brain.read_context("a b", LEGAL, max_tokens=1),
        brain.measure_coverage("x" * 49, LEGAL),
    ]
    for call in calls:
        with pytest.raises(InvalidTask) as refused:
            await call
        assert refused.value.code == "invalid_project_id"
    assert service.requests == []


async def test_the_fake_is_strict(service: FakeBrainService):
    client = HttpClient(
        "brain", address="URL", timeout_s=5, headers={"Authorization": f"Bearer {service.key}"}
    )
    await client.open()
    answer = await client.exchange("POST", URL(service.url + COVERAGE_PATH), body=b'{"unknown": 1}')
    await client.close()
    assert answer.status == 422
    assert service.requests[0].body == {"unknown": 1}
