import asyncio
import time

import pytest

from aletheia.documents import Documents
from aletheia.service.refusals import ServiceError
from aletheia.service.roles import Caller, Role
from aletheia.service.tickets import MAX_UNUSED, TICKETS, VALID_FOR_S, Tickets
from tests.fakes.clock import MovableClock


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


def caller_until(expires_at: float) -> Caller:
    return Caller("somebody", frozenset({Role.VIEWER, Role.OPERATOR}), expires_at)


async def test_a_ticket_is_good_once_for_whom_it_was_made(documents: Documents):
    tickets, caller = Tickets(documents), caller_until(time.time() + 600)
    ticket = await tickets.issue(caller)
    assert await tickets.take(ticket) == caller
    assert await tickets.take(ticket) is None


async def test_of_many_users_at_once_one_has_it(documents: Documents):
    tickets = Tickets(documents)
    ticket = await tickets.issue(caller_until(time.time() + 600))
    taken = await asyncio.gather(*(tickets.take(ticket) for _ in range(20)))
    assert sum(caller is not None for caller in taken) == 1


async def test_it_is_good_for_a_short_while_only(documents: Documents, clock: MovableClock):
    tickets = Tickets(documents, clock=clock.both)
    ticket = await tickets.issue(caller_until(clock() + 600))
    clock.move(seconds=VALID_FOR_S + 0.1)
    assert await tickets.take(ticket) is None


async def test_it_is_no_good_once_its_token_has_expired(documents: Documents, clock: MovableClock):
    tickets = Tickets(documents, clock=clock.both)
    ticket = await tickets.issue(caller_until(clock() + 5))
    clock.move(seconds=6)
    assert await tickets.take(ticket) is None


async def test_a_clock_that_is_set_back_makes_no_old_ticket_good(
    documents: Documents, clock: MovableClock
):
    tickets = Tickets(documents, clock=clock.both)
    ticket = await tickets.issue(caller_until(clock() + 6_000))
    clock.set(hours=-1)
    assert await tickets.take(ticket) is None


async def test_the_store_does_not_have_the_ticket_itself(documents: Documents):
    ticket = await Tickets(documents).issue(caller_until(time.time() + 600))
    assert ticket not in str(await documents.find(TICKETS, {}))


@pytest.mark.parametrize("ticket", ["", "made-up", "é", "\ud800", "a" * 1_000, "\0"], ids=repr)
async def test_what_is_no_ticket_is_none(documents: Documents, ticket: str):
    assert await Tickets(documents).take(ticket) is None


async def test_unused_tickets_are_purged(documents: Documents, clock: MovableClock):
    tickets = Tickets(documents, clock=clock.both)
    await tickets.issue(caller_until(clock() + 600))
    assert await tickets.purge() == 0
    clock.move(seconds=VALID_FOR_S + 1)
    assert await tickets.purge() == 1


async def test_nobody_has_more_unused_tickets_than_so_many(
    documents: Documents, clock: MovableClock
):
    tickets, caller = Tickets(documents, clock=clock.both), caller_until(clock() + 6_000)
    await tickets.prepare()
    issued = [await tickets.issue(caller) for _ in range(MAX_UNUSED)]
    with pytest.raises(ServiceError) as refused:
        await tickets.issue(caller)
    assert (refused.value.status_code, refused.value.code) == (429, "too_many_tickets")
    await tickets.issue(Caller("another", frozenset({Role.VIEWER}), clock() + 6_000))
    assert await tickets.take(issued[0]) == caller
    await tickets.issue(caller)
    clock.move(seconds=VALID_FOR_S)
    await tickets.issue(caller)
