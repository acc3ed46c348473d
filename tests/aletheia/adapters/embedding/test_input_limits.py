"""How a limit on the texts of a request is found, kept and given up again."""

import asyncio

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.embedding.input_limits import (
    COMMON_LIMITS,
    KEPT_S,
    InputLimit,
    InputLimits,
)
from aletheia.errors import AletheiaError, InvalidTask, Refused, WrongCount

QUIET = Refused("openai", 400, "no")
SERVER = "openai http://localhost/v1"


def names(count: int, first: int = 0) -> list[str]:
    return [f"text {number}" for number in range(first, first + count)]


def search(limit: InputLimit, true_limit: int, count: int) -> tuple[int, int]:
    """Send texts as the limit allows; return how many requests passed and were refused."""
    passed = refused = 0
    left = count
    while left:
        size = min(left, limit.size)
        if size > true_limit:
            limit.note_refused(names(size), QUIET)
            refused += 1
        else:
            limit.note_passed(size)
            passed += 1
            left -= size
    return passed, refused


@pytest.mark.parametrize("true_limit", [1, 2, 3, 10, 16, 30, 32, 64, 96, 100, 333, 1000, 2047])
def test_a_limit_is_found_in_few_requests(true_limit: int) -> None:
    limit = InputLimit(2048)
    _, refused = search(limit, true_limit, 60_000)
    assert refused <= 10
    size = limit.size
    assert size == true_limit if true_limit in COMMON_LIMITS else 0.88 * true_limit <= size
    assert search(limit, true_limit, 20 * size) == (20, 0)


def test_a_server_without_a_limit_is_sent_as_many_as_are_allowed() -> None:
    limit = InputLimit(2048)
    assert search(limit, 2048, 10 * 2048) == (10, 0)
    assert limit.known is None


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (Refused("openai", 422, "batch size 300 > maximum allowed batch size 32"), 32),
        (InvalidTask("invalid_text", "Too many inputs. The max number of inputs is 16."), 16),
        (Refused("openai", 400, "at most 100 requests can be in one batch"), 100),
        (Refused("openai", 400, "total number of texts must be at most 96"), 96),
        (WrongCount("openai", 1, 300), 1),
        (WrongCount("openai", 0, 300), 32),
        (InvalidTask("input_too_long", "input exceeds the limit of 256 tokens"), 32),
        (Refused("openai", 400, "inputs: at most 512"), 32),
        (Refused("openai", 400, "error 20"), 32),
    ],
)
def test_a_number_that_the_server_names_is_tried_first(error: AletheiaError, size: int) -> None:
    limit = InputLimit(2048)
    limit.note_refused(names(300), error)
    assert limit.size == size


def test_a_number_that_was_wrong_is_halved() -> None:
    limit = InputLimit(2048)
    limit.note_refused(names(300), Refused("openai", 400, "inputs: at most 32"))
    limit.note_refused(names(32), QUIET)
    assert limit.size == 8


def test_a_bad_text_leaves_no_limit_behind() -> None:
    limit = InputLimit(2048)
    for size in (300, 150, 75, 38, 19, 10, 5, 2):
        limit.note_refused(names(size), QUIET)
    limit.note_blamed("text 0")
    assert limit.size == 2048


def test_what_is_refused_below_a_size_that_passed_has_another_reason() -> None:
    limit = InputLimit(2048)
    limit.note_passed(200)
    limit.note_refused(names(200), QUIET)
    limit.note_refused(names(1), QUIET)
    assert limit.size == 2048


async def test_one_request_at_a_time_explores_and_others_go_on() -> None:
    limit = InputLimit(2048)
    async with limit.turn(2048), limit.turn(2048):
        pass
    limit.note_passed(10)
    limit.note_refused(names(100), QUIET)
    async with limit.turn(50):
        async with limit.turn(10):
            pass
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), limit.turn(50):
                pass


async def test_a_limit_is_kept_for_a_day_by_server_and_model(documents: EmbeddedDocuments) -> None:
    now = 1_800_000_000.0
    limits = InputLimits(2048, documents, server=SERVER, clock=lambda: now)
    search(await limits.of("m"), 16, 1000)
    await limits.save("m")
    again = InputLimits(2048, documents, server=SERVER, clock=lambda: now + KEPT_S - 1)
    assert (await again.of("m")).size == 16
    assert (await again.of("other")).size == 2048
    elsewhere = InputLimits(2048, documents, server="openai elsewhere", clock=lambda: now)
    assert (await elsewhere.of("m")).size == 2048
    later = InputLimits(2048, documents, server=SERVER, clock=lambda: now + KEPT_S)
    assert (await later.of("m")).size == 2048
    smaller = InputLimits(8, documents, server=SERVER, clock=lambda: now)
    assert (await smaller.of("m")).size == 8


async def test_a_search_goes_on_where_another_process_left_it(documents: EmbeddedDocuments) -> None:
    limits = InputLimits(2048, documents, server=SERVER)
    limit = await limits.of("m")
    limit.note_refused(names(300), QUIET)
    limit.note_passed(100)
    await limits.save("m")
    again = await InputLimits(2048, documents, server=SERVER).of("m")
    assert again.size == 250
    again.note_refused(names(90), QUIET)  # the server takes fewer now
    assert again.size < 90


async def test_a_limit_that_was_none_is_forgotten(documents: EmbeddedDocuments) -> None:
    limits = InputLimits(2048, documents, server=SERVER)
    limit = await limits.of("m")
    limit.note_refused(names(300), QUIET)
    limit.note_passed(100)
    await limits.save("m")
    limit.note_blamed("text 7")
    await limits.save("m")
    assert (await InputLimits(2048, documents, server=SERVER).of("m")).size == 2048
