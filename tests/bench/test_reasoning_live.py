"""Live events reach all who follow them, more of one address than strangers may be."""

import asyncio

from aletheia.service.connections import MAX_WAITING_PER_ADDRESS
from bench.reasoning_live import measure_replay


async def test_nothing_is_missed_or_doubled_by_many_who_are_cut_off_and_come_back_at_once():
    clients = MAX_WAITING_PER_ADDRESS + 16
    async with asyncio.timeout(120):
        replayed = await measure_replay(clients=clients, events=100, cuts=3)
    assert (replayed.missed, replayed.doubled) == (0, 0)
