import pytest
from starlette.requests import HTTPConnection

from aletheia.documents import Documents
from aletheia.errors import Unavailable
from aletheia.metrics import AUTHENTICATIONS
from aletheia.series import Counters
from aletheia.service.refusal_counts import MAX_SHOWN, REFUSALS, RefusalCounts
from aletheia.service.refusals import ServiceError
from tests.fakes.documents import LosableDocuments


def connection(path: str = "/api/v1/workers") -> HTTPConnection:
    return HTTPConnection(
        {
            "type": "http",
            "path": path,
            "query_string": b"ticket=a-secret",
            "headers": [(b"authorization", b"Bearer a-secret"), (b"host", b"here")],
            "client": ("10.1.2.3", 5),
            "server": ("here", 80),
            "scheme": "http",
        }
    )


async def refuse(counts: RefusalCounts, code: str) -> None:
    with pytest.raises(ServiceError):
        async with counts.counting(connection()):
            raise ServiceError(401, code, "no")


async def test_refusals_are_counted_by_code_and_saved_now_and_then(documents: Documents):
    counts = RefusalCounts()
    for code in ("expired_token", "forbidden", "forbidden"):
        await refuse(counts, code)
    assert await documents.count(REFUSALS, {}) == 0
    await counts.save(documents)
    assert counts.unsaved == {}
    await refuse(counts, "forbidden")
    await counts.save(documents)
    await counts.save(documents)
    found = await documents.find(REFUSALS, {})
    assert {row["code"]: row["count"] for row in found} == {"expired_token": 1, "forbidden": 3}


async def test_what_cannot_be_saved_is_kept(
    documents: Documents, tmp_path_factory: pytest.TempPathFactory
):
    lost = LosableDocuments(tmp_path_factory.mktemp("lost"))
    lost.is_lost = True
    counts = RefusalCounts()
    await refuse(counts, "forbidden")
    with pytest.raises(Unavailable):
        await counts.save(lost)
    await counts.save(documents)
    assert await documents.count(REFUSALS, {"count": 1}) == 1


def test_neither_token_nor_ticket_is_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("DEBUG"):
        RefusalCounts().note("forbidden", connection("/a\nINFO: all is well" + "x" * 1_000))
    assert "a-secret" not in caplog.text
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < MAX_SHOWN + 100
    assert "10.1.2.3" in record.getMessage()


async def test_who_is_let_in_or_not_is_in_the_metric(documents: Documents):
    counts = RefusalCounts()
    for _ in range(3):
        async with counts.counting(connection()):
            pass
    assert not counts.is_saved
    for code in ("missing_token", "wrong_key", "expired_token", "forbidden", "keys_unavailable"):
        await refuse(counts, code)
    await counts.save(documents)
    assert counts.is_saved
    found = Counters(await documents.counters())
    assert dict(found.sets(AUTHENTICATIONS)) == {
        ("succeeded",): 3,
        ("missing",): 1,
        ("invalid",): 2,
        ("forbidden",): 1,
        ("unavailable",): 1,
    }


async def test_what_is_let_in_is_no_refusal(documents: Documents):
    counts = RefusalCounts()
    async with counts.counting(connection()):
        pass
    assert counts.unsaved == {}
    await counts.save(documents)
    assert await documents.count(REFUSALS, {}) == 0
