"""An acknowledgement is what the upstream says, not what a proxy before it says (SPEC §1)."""

from collections.abc import Callable

import pytest

from aletheia.errors import BadAnswer
from aletheia.intake.poller import Poller
from aletheia.intake.shift import Shift
from tests.aletheia.intake.conftest import Bench

DONE = ["processing", "succeeded"]
LOGIN = b"<!doctype html><html><title>Sign in</title></html>"

Answer = Callable[[Bench], None]


def answering(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(bench: Bench) -> None:
        for _ in range(3):
            bench.upstream.answer_next(body, status=status, on="report", headers=headers)

    return answer


NO_ACKNOWLEDGEMENTS = [
    answering(LOGIN),
    answering(b"\xef\xbb\xbf" + LOGIN),
    answering(b"OK"),
    answering(b"[error] no upstream"),
    answering(b"{{ title }}"),
    answering(b"\x1f\x8b\x08\x00garbage"),
    answering(b"", 302, Location="https://login.example"),
    answering(b"{}", 301, Location="/elsewhere"),
    answering(LOGIN, 307),
    answering(b'{"success": false, "message": "version conflict"}'),
    answering(b'{"Success":false,"id":"t1"}'),
    answering(b'{"success": false, "id": "t1", "state": "processing"}'),
    answering(b'{"ok": 0}'),
    answering(b"false"),
    answering(b'{"ok": "false"}'),
    answering(b'{"error": "no such column"}'),
    answering(b'{"error": {"code": 17}, "data": null, "id": ""}', 201),
    answering(b'{"errors": [{"message": "no"}], "data": null}'),
    answering(b'{"statusCode": 500, "message": "m", "error": "Internal Server Error"}'),
    answering(b'{"status": "error", "message": "no"}'),
    answering(b'{"status": "failed", "message": "no"}'),
    answering(b'{"type": "about:blank", "title": "Conflict", "status": 409}'),
    answering(b'{"code": 503, "msg": "busy"}'),
    answering(b'{"data": {"success": false}}'),
    answering(b'{"statusCode": 200, "data": {"error": "no such column"}}'),
    answering(b'{"statusCode": 200, "message": "OK", "data": {"error": {"code": 17}}}'),
    answering(b'{"success": true, "data": {"statusCode": 500, "message": "m"}}'),
    answering(b'{"success": true, "data": {"success": false, "id": "t1"}}'),
    answering(b'{"status": "success", "data": {"status": "error", "message": "no"}}'),
    answering(b'{"data": {"data": {"errors": ["no"]}}, "meta": {"took": 3}}'),
    answering(b'{"statusCode": 200, "data": [{"ok": false}]}'),
    answering(b'{"statusCode": 200, "data": false}'),
    answering(b'{"statusCode": 409, "data": {"id": "t1", "state": "processing"}}'),
    answering(b'{"error": "read-only", "data": {"id": "t1", "state": "processing"}}'),
    answering(b'{"statusCode": "502", "message": "Bad Gateway"}'),
    answering(b'{"status": false, "message": "no"}'),
    answering(b'{"accepted": false}'),
    answering(b'{"errorMessage": "timed out", "errorType": "Runtime", "stackTrace": []}'),
    answering(b'{"fault": {"faultstring": "quota"}}'),
]

ACKNOWLEDGEMENTS = [
    answering(b""),
    answering(b" \n"),
    answering(b"", 204),
    answering(b"null"),
    answering(b'{"ok": true}', 201),
    answering(b'{"success": true, "error": null, "message": "done"}'),
    answering(b'{"success": true, "error": "deprecated"}'),
    answering(b'{"error": null}'),
    answering(b'{"error": "", "errors": []}'),
    answering(b'{"error": false, "message": "updated"}'),
    answering(b'{"error": 0, "code": 0, "message": "updated"}'),
    answering(b'{"id": "t1", "state": "succeeded", "error": {"code": "old"}}'),
    answering(b'{"state": "SUCCEEDED", "success": false}'),
    answering(b'{"status": 200, "message": "ok"}'),
    answering(b'{"code": 0, "message": "ok"}'),
    answering(b'{"statusCode": 200, "data": {"error": null, "message": "updated"}}'),
    answering(b'{"statusCode": 200, "data": {"id": "t1", "error": {"code": "old"}}}'),
    answering(b'{"statusCode": 200, "data": {"state": "succeeded", "error": "old"}}'),
    answering(b'{"success": true, "data": {"state": "SUCCEEDED", "success": false}}'),
    answering(b'{"error": "late", "data": {"id": "t1", "state": "succeeded"}}'),
    answering(b'{"id": "t1", "data": {"error": "of the input"}}'),
    answering(b'{"id": "t1", "type": "TEXT_EMBEDDING", "data": {"success": false}}'),
    answering(b'{"success": true, "data": null}'),
    answering(b'{"success": true, "data": {"affected": 0}}'),
    answering(b'{"status": "success", "data": {"task": {"error": "old"}}}'),
    answering(b'{"status": 0, "message": "ok"}'),
    answering(b'{"result": {"error": "x"}}'),
    answering(b"[]", 202),
    answering(b'\xef\xbb\xbf{"ok": true}'),
    answering(b'{"embedding": [' + b"0.25, " * 20_000 + b"1]}"),
]


async def begin(poller: Poller) -> Shift:
    return await Shift.begin(poller, "a run", length_s=100, interval_s=30)


async def compute_and_report(bench: Bench, answer: Answer) -> Shift:
    """Work off one task whose result is answered like this."""
    bench.add("t1")
    poller = bench.poller()
    shift = await begin(poller)
    async with poller.holding():
        batch = await poller.collector.collect()
        answer(bench)
        await poller.process(batch)
    bench.upstream.forget_faults()
    return shift


@pytest.mark.parametrize("answer", NO_ACKNOWLEDGEMENTS)
async def test_a_missing_acknowledgement_of_a_result_is_reported_until_there_is_one(
    bench: Bench, answer: Answer
):
    began = bench.clock.now
    shift = await compute_and_report(bench, answer)
    assert await bench.states() == {"t1": "kept"}
    assert isinstance(await shift.find_trouble(), BadAnswer)
    bench.clock.now += 3
    waiting = (await bench.ledger().overview()).unacknowledged
    assert waiting is not None
    assert (waiting.count, waiting.since.timestamp()) == (1, began)
    assert waiting.answer

    # The next shift may have nothing to send yet, and is no better for it.
    later = await bench.drain()
    assert isinstance(await (await begin(later)).find_trouble(), BadAnswer)
    bench.clock.now += 600
    right = await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    assert await (await begin(right)).find_trouble() is None
    assert (await bench.ledger().overview()).unacknowledged is None
    assert bench.processors.texts == ["hello"]


@pytest.mark.parametrize("answer", ACKNOWLEDGEMENTS)
async def test_json_or_nothing_is_an_acknowledgement_unless_it_refuses(
    bench: Bench, answer: Answer
):
    shift = await compute_and_report(bench, answer)
    assert await bench.states() == {"t1": "reported"}
    assert await shift.find_trouble() is None


async def test_what_is_no_acknowledgement_of_processing_computes_nothing(bench: Bench):
    bench.add("t1")
    answering(LOGIN)(bench)
    poller = await bench.drain()
    assert await bench.states() == {"t1": "claimed"}
    assert isinstance(await (await begin(poller)).find_trouble(), BadAnswer)
    assert bench.processors.texts == []
    bench.upstream.forget_faults()
    bench.clock.now += 31
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    assert (await bench.ledger().overview()).unacknowledged is None


async def test_since_when_is_that_of_the_first_answer_of_this_kind(bench: Bench):
    began = bench.clock.now
    await compute_and_report(bench, answering(LOGIN))
    for _ in range(3):
        bench.clock.now += 601
        answering(LOGIN)(bench)
        await bench.drain()
    waiting = (await bench.ledger().overview()).unacknowledged
    assert waiting is not None
    assert waiting.since.timestamp() == began


async def test_an_outage_is_another_matter(bench: Bench):
    shift = await compute_and_report(bench, answering(b"down", 503))
    assert await bench.states() == {"t1": "kept"}
    assert (await bench.ledger().overview()).unacknowledged is None
    assert await shift.find_trouble() is None
