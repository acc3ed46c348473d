import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from email.utils import formatdate
from typing import Any, TypeAlias

import aiohttp
import orjson
import pytest

from aletheia.adapters import payload_cms
from aletheia.adapters.payload_cms import PayloadDepartments, read_departments, read_page
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    Misconfigured,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)
from tests.fakes.faults import Misbehaviour
from tests.fakes.payload_cms import FakePayload, serve_fake_payload

KEY = "0123456789abcdef-key"
Connect: TypeAlias = Callable[..., Awaitable[PayloadDepartments]]


@pytest.fixture
async def payload() -> AsyncGenerator[FakePayload]:
    async with serve_fake_payload() as fake:
        yield fake


@pytest.fixture
async def connect(payload: FakePayload) -> AsyncGenerator[Connect]:
    async with AsyncExitStack() as closing:

        async def make(base_url: str | None = None, **options: Any) -> PayloadDepartments:
            defaults: dict[str, Any] = {"timeout_s": 5, "retry_base_s": 0, "max_retries": 2}
            source = PayloadDepartments(base_url or payload.url, **{**defaults, **options})
            await source.open()
            closing.push_async_callback(source.close)
            return source

        yield make


@pytest.fixture
async def source(connect: Connect) -> PayloadDepartments:
    return await connect()


async def slugs(source: PayloadDepartments) -> list[str]:
    return [department.slug for department in (await source.list_departments()).departments]


async def failure(source: PayloadDepartments) -> AletheiaError:
    with pytest.raises(AletheiaError) as raised:
        await source.list_departments()
    return raised.value


async def test_departments_come_in_the_order_of_their_numbers(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    for slug, number in (("sales", 3), ("legal", 1), ("it", 2)):
        payload.add(slug, number)
    payload.add("hr", 4, defaultModel="openai/gpt-5-mini", coordinationSettings=None)
    found = await source.list_departments()
    assert [department.slug for department in found.departments] == ["legal", "it", "sales", "hr"]
    assert (found.faults, found.warnings) == ((), ())
    assert found.departments[0].quality_threshold == 85
    assert found.departments[0].description == "Looks after legal."
    assert found.departments[3].default_model == "openai/gpt-5-mini"
    assert found.departments[3].quality_threshold == 80


async def test_a_request_is_as_the_specification_writes_it(
    payload: FakePayload, connect: Connect
) -> None:
    await (await connect()).list_departments()
    await (await connect(api_key=KEY)).list_departments()
    await (await connect(payload.url + "/", api_key=KEY, collection="api-users")).list_departments()
    assert [request.path for request in payload.requests] == ["/api/departments"] * 3
    assert payload.requests[0].query == {
        "where[gatherCheck][equals]": "true",
        "where[isActive][equals]": "true",
        "sort": "codeDepNumber",
        "limit": "100",
        "depth": "0",
        "page": "1",
    }
    assert [request.headers.get("Authorization") for request in payload.requests] == [
        None,
        f"users API-Key {KEY}",
        f"api-users API-Key {KEY}",
    ]


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (100, 1), (101, 2), (250, 3)])
async def test_all_pages_are_read(
    payload: FakePayload, source: PayloadDepartments, count: int, pages: int
) -> None:
    for number in range(count):
        payload.add(f"d{number:03}", number)
    assert await slugs(source) == [f"d{number:03}" for number in range(count)]
    assert [request.query["page"] for request in payload.requests] == [
        str(page) for page in range(1, pages + 1)
    ]


async def test_pages_that_are_smaller_than_asked_for_are_read_all_the_same(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.max_limit = 10
    for number in range(25):
        payload.add(f"d{number:02}", number)
    assert len(await slugs(source)) == 25
    assert len(payload.requests) == 3


async def test_departments_that_do_not_take_part_are_left_to_the_application(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.add("legal", 1)
    payload.add("closed", 2, isActive=False)
    payload.add("manual", 3, gatherCheck=False)
    found = await source.list_departments()
    assert [department.slug for department in found.departments] == ["legal"]
    assert found.warnings == ()


async def test_the_filter_is_checked_again(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.filters = False
    payload.add("legal", 1)
    payload.add("closed", 2, isActive=False)
    payload.add("manual", 3, gatherCheck=False)
    found = await source.list_departments()
    assert [department.slug for department in found.departments] == ["legal"]
    assert found.warnings == ("left out, as the filter does not hold for them: closed, manual",)


async def test_the_order_is_made_again(payload: FakePayload, source: PayloadDepartments) -> None:
    payload.sorts = False
    for slug, number in (("c", 3), ("a", 1), ("b", 2)):
        payload.add(slug, number)
    assert await slugs(source) == ["a", "b", "c"]


async def test_a_bad_department_is_reported_and_skipped(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.filters = payload.sorts = False
    payload.add("legal", 1)
    payload.add("bad", 2, id="d7", coordinationSettings={"minQualityThreshold": 150})
    payload.add("nameless", 3, id=8, name=None)
    payload.documents += ["not a document", None]
    payload.add("it", 4)
    found = await source.list_departments()
    assert [department.slug for department in found.departments] == ["legal", "it"]
    names = [fault.partition(": ")[0] for fault in found.faults]
    assert names == ["d7", "8", "document 4", "document 5"]
    assert "less than or equal to 100" in found.faults[0]


@pytest.mark.parametrize(
    ("field", "is_used"),
    [
        ('"name": "a\\ud800"', True),
        ('"name": "a\udfff"', True),
        ('"slug": "\\uDE00"', True),
        ('"id": "\\ud83d"', True),
        ('"description": "a\\ud83d b"', True),
        ('"description": {"root": {"children": [{"text": "\\ud83d"}]}}', True),
        ('"codeDepNumber": NaN', True),
        ('"coordinationSettings": {"minQualityThreshold": Infinity}', True),
        ('"notes": "\\ud800"', False),
        ('"\\ud800": NaN', False),
    ],
    ids=ascii,
)
def test_what_is_no_text_or_number_costs_its_document_and_not_the_page(
    field: str, is_used: bool
) -> None:
    flags = '"gatherCheck": true, "isActive": true'
    odd, *sound = (f'{{"id": "{id_}", "slug": "d", "name": "D", {flags}' for id_ in range(3))
    docs = f"{sound[0]}}}, {odd}, {field}}}, {sound[1]}}}"
    body = f'{{"docs": [{docs}], "hasNextPage": false, "totalDocs": 3}}'
    found = read_departments(read_page(body.encode(errors="surrogatepass")).documents, total=3)
    assert [department.id for department in found.departments if department.id != "0"] == ["1", "2"]
    assert len(found.faults) == is_used
    assert not any("are said to be there" in warning for warning in found.warnings)
    "".join((*found.faults, *found.warnings)).encode()


async def test_departments_without_a_number_come_last_with_a_warning(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.add("none", None)
    payload.add("second", 2)
    payload.add("missing", 9)
    del payload.documents[2]["codeDepNumber"]
    payload.add("first", -1)
    found = await source.list_departments()
    assert [department.slug for department in found.departments] == [
        "first",
        "second",
        "none",
        "missing",
    ]
    assert found.warnings == ("without codeDepNumber, and therefore last: none, missing",)


async def test_equal_numbers_go_by_id_with_a_warning(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    for slug, id_ in (("ten", 10), ("nine", 9), ("text", "5f")):
        payload.add(slug, 1, id=id_)
    payload.add("first", 0)
    found = await source.list_departments()
    assert [department.slug for department in found.departments] == ["first", "nine", "ten", "text"]
    assert found.warnings == (
        "with a codeDepNumber of another one, in the order of ids: nine, ten, text",
    )


async def test_a_slug_of_two_departments_is_warned_of(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.add("legal", 1)
    payload.add("legal", 2)
    found = await source.list_departments()
    assert len(found.departments) == 2
    assert found.warnings == ("slugs of more than one department: legal",)


async def test_a_department_that_moved_between_two_pages_is_taken_once(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.max_limit = 2
    for number in range(4):
        payload.add(f"d{number}", number)
    twice = [payload.documents[0], payload.documents[1]], [payload.documents[1]]
    for documents, has_next in zip(twice, (True, False), strict=True):
        payload.answer_next(page(documents, hasNextPage=has_next, totalDocs=3))
    found = await source.list_departments()
    assert [department.slug for department in found.departments] == ["d0", "d1"]
    assert found.warnings == (
        "2 departments were read and 3 are said to be there",
        "departments that came on more than one page: 1",
    )


async def test_pages_that_repeat_themselves_have_an_end(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.applies_page, payload.has_always_next = False, True
    payload.add("legal", 1)
    error = await failure(source)
    assert isinstance(error, BadAnswer)
    assert "page 2 has nothing new" in error.reason
    assert len(payload.requests) == 2


async def test_empty_pages_have_an_end(payload: FakePayload, source: PayloadDepartments) -> None:
    payload.has_always_next = True
    error = await failure(source)
    assert isinstance(error, BadAnswer)
    assert "page 1 has nothing new" in error.reason


async def test_new_pages_without_an_end_have_one(
    payload: FakePayload, source: PayloadDepartments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_cms, "MAX_PAGES", 5)
    payload.max_limit = 1
    for number in range(10):
        payload.add(f"d{number}", number)
    error = await failure(source)
    assert isinstance(error, BadAnswer)
    assert error.reason == "more than 5 pages of departments"
    assert len(payload.requests) == 5


def page(documents: Any, **parts: Any) -> bytes:
    return orjson.dumps({"docs": documents, "hasNextPage": False, **parts})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!DOCTYPE html><html><body>Welcome", "a web page in place of JSON"),
        (b"\n <html>", "is NEXT_PUBLIC_APP_URL the root of the API?"),
        (b"", "not JSON"),
        (b'{"docs": [', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no list of docs"),
        (b"{}", "no list of docs"),
        (page({}), "no list of docs"),
        (page([{}] * 10_001), "more than 10,000 documents on a page"),
        (page([], hasNextPage=None), "no hasNextPage"),
        (page([], hasNextPage="yes"), "no hasNextPage"),
    ],
)
async def test_an_answer_that_is_no_page_is_a_bad_answer(
    payload: FakePayload, source: PayloadDepartments, body: bytes, reason: str
) -> None:
    payload.answer_next(body)
    error = await failure(source)
    assert isinstance(error, BadAnswer)
    assert reason in error.reason
    assert len(payload.requests) == 1


async def test_a_page_is_read_up_to_a_limit(
    payload: FakePayload, source: PayloadDepartments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_cms, "MAX_PAGE_BYTES", 100_000)
    payload.misbehave_next("never_ends")
    error = await failure(source)
    assert isinstance(error, BadAnswer)
    assert error.reason == "longer than 100,000 bytes"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "set PAYLOAD_API_KEY"),
        ({"api_key": KEY}, "check PAYLOAD_API_KEY and PAYLOAD_API_KEY_COLLECTION"),
    ],
)
async def test_a_refused_key_is_said_to_be_that(
    payload: FakePayload, connect: Connect, status: int, options: Any, advice: str
) -> None:
    body = orjson.dumps({"errors": [{"message": f"You are not allowed, {KEY}."}]})
    payload.fail_next(status, body=body)
    source = await connect(**options)
    error = await failure(source)
    assert isinstance(error, Unauthorized)
    assert advice in error.reason
    assert error.reason.startswith("You are not allowed")
    assert len(payload.requests) == 1
    if options:
        shown = repr(source) + "".join(traceback.format_exception(error))
        assert KEY not in shown


async def test_an_application_that_asks_for_a_key_gets_it(
    payload: FakePayload, connect: Connect
) -> None:
    payload.authorization = f"users API-Key {KEY}"
    payload.add("legal", 1)
    assert isinstance(await failure(await connect()), Unauthorized)
    assert await slugs(await connect(api_key=KEY)) == ["legal"]


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/admin/login?redirect=%2Fapi", "/admin/login to sign in"),
        ("https://id.example.com/oauth2/authorize?token=abc", "https://id.example.com/oauth2"),
        ("/auth/signin", "/auth/signin"),
    ],
)
async def test_a_way_to_a_sign_in_page_means_that_a_key_is_wanted(
    payload: FakePayload, source: PayloadDepartments, location: str, shown: str
) -> None:
    payload.answer_next(b"", status=302, headers={"Location": location})
    error = await failure(source)
    assert isinstance(error, Unauthorized)
    assert shown in error.reason
    assert "abc" not in error.reason
    assert len(payload.requests) == 1


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://user:pass@www.example.com/api/departments?a=b", "https://www.example.com/api"),
        ("/de/api/departments", "/de/api/departments"),
        ("/authors", "/authors"),
        ("http://[broken", "another address"),
        ("", "sends us to http"),
    ],
)
async def test_a_way_elsewhere_means_that_the_address_is_wrong(
    payload: FakePayload, source: PayloadDepartments, location: str, shown: str
) -> None:
    payload.answer_next(b"", status=308, headers={"Location": location})
    error = await failure(source)
    assert isinstance(error, Misconfigured)
    assert error.name == "NEXT_PUBLIC_APP_URL"
    assert shown in error.reason
    assert "pass" not in error.reason


async def test_an_application_without_departments_is_said_to_have_none(connect: Connect) -> None:
    async with serve_fake_payload() as other:
        error = await failure(await connect(other.url + "/cms"))
    assert isinstance(error, NotFound)
    assert 'Route not found "/cms/api/departments"' in error.reason
    assert "check NEXT_PUBLIC_APP_URL" in error.reason


async def test_a_web_page_behind_a_404_is_not_repeated(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.fail_next(404, body=b"<!doctype html><title>Lost?</title>" * 1000)
    error = await failure(source)
    assert isinstance(error, NotFound)
    assert error.reason.startswith("a web page; no /api/departments there")


async def test_any_other_refusal_is_one(payload: FakePayload, source: PayloadDepartments) -> None:
    payload.fail_next(400, body=b'{"errors":[{"message":"no such path"}]}')
    error = await failure(source)
    assert (type(error), str(error)) == (Refused, "payload refused with 400: no such path")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_an_outage_is_waited_out(
    payload: FakePayload, source: PayloadDepartments, status: int
) -> None:
    payload.add("legal", 1)
    payload.fail_next(status, status)
    assert await slugs(source) == ["legal"]
    assert len(payload.requests) == 3


async def test_an_outage_in_the_middle_costs_only_its_page(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.max_limit = 1
    payload.add("a", 1)
    payload.add("b", 2)
    payload.answer_next(page([payload.documents[0]], hasNextPage=True, totalDocs=2))
    payload.fail_next(500)
    assert await slugs(source) == ["a", "b"]
    assert [request.query["page"] for request in payload.requests] == ["1", "2", "2"]


async def test_an_outage_that_lasts_is_reported(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.fail_next(503, 503, 503, body=b'{"errors":[{"message":"warming up"}]}')
    error = await failure(source)
    assert isinstance(error, Unavailable)
    assert (error.reason, error.status) == ("503: warming up", 503)
    assert len(payload.requests) == 3


@pytest.mark.parametrize(
    ("header", "wait_s"), [("7", 7), (formatdate(1_800_000_090, usegmt=True), 90), ("soon", None)]
)
async def test_a_wait_that_is_too_long_is_passed_on(
    payload: FakePayload, connect: Connect, header: str, wait_s: float | None
) -> None:
    headers = {"Retry-After": header, "Date": formatdate(1_800_000_000, usegmt=True)}
    payload.answer_next(b"{}", status=429, headers=headers)
    error = await failure(await connect(max_retries=0))
    assert isinstance(error, Unavailable)
    assert (error.status, error.retry_after_s) == (429, wait_s)


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
    payload: FakePayload, connect: Connect, misbehaviour: Misbehaviour, status: int | None
) -> None:
    source = await connect(timeout_s=0.3, max_retries=0)
    payload.add("legal", 1)
    payload.misbehave_next(misbehaviour)
    error = await failure(source)
    assert isinstance(error, Unavailable)
    assert (error.dependency, error.status) == ("payload", status)
    assert len(payload.requests) == 1
    assert await slugs(source) == ["legal"]


async def test_a_slow_application_is_an_outage(payload: FakePayload, connect: Connect) -> None:
    payload.delay_s = 2
    error = await failure(await connect(timeout_s=0.1, max_retries=1))
    assert isinstance(error, Unavailable)
    assert error.reason == "no complete answer within 0.1 s"
    assert len(payload.requests) == 2


async def test_an_application_that_is_not_there_is_an_outage(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    await payload.stop()
    assert isinstance(await failure(source), Unavailable)


def test_its_key_is_not_shown() -> None:
    assert KEY not in repr(PayloadDepartments("http://localhost:3000", api_key=KEY))


@pytest.mark.parametrize(
    ("base_url", "options", "name"),
    [
        ("app.example.com", {}, "NEXT_PUBLIC_APP_URL"),
        ("https://u:p@app.example.com", {}, "NEXT_PUBLIC_APP_URL"),
        ("https://app.example.com?a=b", {}, "NEXT_PUBLIC_APP_URL"),
        ("https://app.example.com", {"api_key": "with blank"}, "PAYLOAD_API_KEY"),
        ("https://app.example.com", {"api_key": ""}, "PAYLOAD_API_KEY"),
        ("https://app.example.com", {"collection": "a b"}, "PAYLOAD_API_KEY_COLLECTION"),
        ("https://app.example.com", {"collection": "a\r\nX: y"}, "PAYLOAD_API_KEY_COLLECTION"),
    ],
)
def test_what_cannot_be_right_is_misconfigured(base_url: str, options: Any, name: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        PayloadDepartments(base_url, **options)
    assert raised.value.name == name


async def test_a_client_that_is_not_open_sends_nothing() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await PayloadDepartments("http://localhost:1").list_departments()


def test_nothing_is_needed_to_have_no_departments() -> None:
    assert read_departments([]).departments == ()
    assert read_page(page([], totalDocs="3")).total is None


@pytest.mark.parametrize("query", ["where[name][like]=x", "colour=red", "page=x", "limit=", ""])
async def test_the_fake_is_strict(payload: FakePayload, query: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{payload.url}/api/departments?limit=1&depth=0&page=1") as good,
        session.get(f"{payload.url}/api/departments?{query}") as bad,
    ):
        assert (good.status, bad.status) == (200, 400)


@pytest.mark.parametrize("empty", ["", "  ", None])
async def test_a_field_that_was_left_empty_is_a_missing_one(
    payload: FakePayload, source: PayloadDepartments, empty: str | None
) -> None:
    payload.add(
        "legal",
        empty,
        id=empty,
        _id="65f000000000000000009999",
        description=empty,
        defaultModel=empty,
        coordinationSettings={"minQualityThreshold": empty},
    )
    payload.add("sales", 1, coordinationSettings=empty)
    found = await source.list_departments()
    assert found.faults == ()
    assert [department.slug for department in found.departments] == ["sales", "legal"]
    sales, legal = found.departments
    assert (legal.id, legal.description) == ("65f000000000000000009999", "")
    assert (legal.default_model, legal.code_dep_number) == (None, None)
    assert legal.quality_threshold == sales.quality_threshold == 80


async def test_an_id_that_is_filled_wins_over_the_other_one(
    payload: FakePayload, source: PayloadDepartments
) -> None:
    payload.add("legal", 1, id="7", _id="65f000000000000000009999")
    (legal,) = (await source.list_departments()).departments
    assert legal.id == "7"


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        (KEY, "check PAYLOAD_API_KEY and PAYLOAD_API_KEY_COLLECTION"),
        (None, "set PAYLOAD_API_KEY"),
    ],
)
async def test_no_documents_at_all_may_mean_that_the_key_is_not_known(
    connect: Connect, key: str | None, advice: str
) -> None:
    found = await (await connect(api_key=key)).list_departments()
    assert found.departments == ()
    (warning,) = found.warnings
    assert warning.endswith(f"where it does not know who asks: {advice}")


async def test_documents_of_which_none_takes_part_say_nothing_about_the_key(
    payload: FakePayload, connect: Connect
) -> None:
    payload.filters = False
    payload.add("legal", 1, isActive=False)
    found = await (await connect(api_key=KEY)).list_departments()
    assert not any("PAYLOAD_API_KEY" in warning for warning in found.warnings)


@pytest.mark.parametrize("levels", [100, 900])
def test_a_deep_document_is_read_or_refused(levels: int) -> None:
    deep = '{"coordinationSettings":' * levels + "{}" + "}" * levels
    body = f'{{"docs": [{deep}], "hasNextPage": false, "totalDocs": 1}}'.encode()
    try:
        page = read_page(body)
    except ValueError:
        return
    (fault,) = read_departments(page.documents).faults
    assert fault.startswith("document 1: ")
