"""Callbacks: what is sent, and to whom nothing is sent for a while."""

import asyncio

import pytest

from aletheia.errors import InvalidTask, TimedOut, Unavailable
from aletheia.intake.callbacks import MAX_SENDING_TO_ONE, PAUSE_S, CallbackSender
from aletheia.intake.models import Claim, RowState
from aletheia.intake.pushed import read_pushed
from tests.aletheia.intake.conftest import BenchClock

BODY = b'{"state":"succeeded","result":{}}'


class Receivers:
    """Receivers by host, some of which hang; notes what each was sent."""

    def __init__(self, *hanging: str) -> None:
        self.hanging = set(hanging)
        self.sent: list[tuple[str, bytes, str]] = []
        self.at_once = self._now = 0

    async def post(self, address: str, body: bytes, event_id: str) -> None:
        self.sent.append((address, body, event_id))
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        await asyncio.sleep(0.01)
        self._now -= 1
        if any(host in address for host in self.hanging):
            raise TimedOut("webhook", "no answer")


def claim(callback_url: str | None, task_id: str = "p1", body: bytes = BODY) -> Claim:
    (entry,) = read_pushed(
        {"id": task_id, "type": "echo", "callback_url": callback_url}, max_entry_bytes=10_000
    )
    made = Claim(entry.row_id, entry, 1, RowState.KEPT, 0.0)
    made.body = body
    return made


async def test_a_receiver_out_of_reach_is_spared_for_a_while_and_others_are_not():
    receivers, clock = Receivers("down.example"), BenchClock()
    sender = CallbackSender(receivers, clock.both.steady_s)
    down = [sender.send(claim(f"https://down.example/{number}")) for number in range(50)]
    up = [sender.send(claim(f"https://up.example/{number}")) for number in range(10)]
    answers = await asyncio.gather(*down, *up, return_exceptions=True)
    assert all(isinstance(answer, TimedOut) for answer in answers[:50])
    assert answers[50:] == [None] * 10
    assert sum("down.example" in address for address, _, _ in receivers.sent) == MAX_SENDING_TO_ONE
    clock.now += PAUSE_S + 1
    receivers.hanging.clear()
    await sender.send(claim("https://down.example/0"))
    await sender.send(claim("https://down.example/1"))


async def test_an_answer_is_no_reason_to_spare_a_receiver():
    class Busy(Receivers):
        async def post(self, address: str, body: bytes, event_id: str) -> None:
            await super().post(address, body, event_id)
            raise Unavailable("webhook", "503", None, 503)

    receivers = Busy()
    sender = CallbackSender(receivers, BenchClock().both.steady_s)
    for number in range(3):
        with pytest.raises(Unavailable):
            await sender.send(claim(f"https://busy.example/{number}"))
    assert len(receivers.sent) == 3


async def test_what_would_wait_long_behind_others_is_put_off():
    clock = BenchClock()

    class Slow(Receivers):
        async def post(self, address: str, body: bytes, event_id: str) -> None:
            await super().post(address, body, event_id)
            clock.now += 9

    receivers = Slow()
    sender = CallbackSender(receivers, clock.both.steady_s)
    sending = [sender.send(claim("https://slow.example/a")) for _ in range(50)]
    answers = await asyncio.gather(*sending, return_exceptions=True)
    assert len(receivers.sent) <= 3 * MAX_SENDING_TO_ONE
    late = [answer for answer in answers if answer is not None]
    assert len(late) == 50 - len(receivers.sent)
    assert all(isinstance(answer, Unavailable) for answer in late)


async def test_few_are_sent_to_one_receiver_at_once():
    receivers = Receivers()
    sender = CallbackSender(receivers, BenchClock().both.steady_s)
    await asyncio.gather(*(sender.send(claim("https://up.example/a")) for _ in range(20)))
    assert receivers.at_once == MAX_SENDING_TO_ONE


async def test_equal_reports_have_one_name_and_others_another():
    receivers = Receivers()
    sender = CallbackSender(receivers, BenchClock().both.steady_s)
    for body in (BODY, BODY, b'{"state":"failed"}'):
        await sender.send(claim("https://up.example/a", "a/b \u00e9", body))
    names = [name for _, _, name in receivers.sent]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("task:a%2Fb%20%C3%A9:")
    assert receivers.sent[0][1] == '{"id":"a/b \u00e9","state":"succeeded","result":{}}'.encode()


@pytest.mark.parametrize("address", ["https://[", "nonsense", "https://a@b@c/"])
async def test_what_is_no_address_is_left_to_whoever_sends(address: str):
    receivers = Receivers()
    await CallbackSender(receivers, BenchClock().both.steady_s).send(claim(address))
    assert [sent for sent, _, _ in receivers.sent] == [address]


async def test_without_an_address_nothing_is_sent_and_without_a_sender_nothing_can_be():
    sender = CallbackSender(None, BenchClock().both.steady_s)
    await sender.send(claim(None))
    with pytest.raises(InvalidTask) as raised:
        await sender.send(claim("https://up.example/a"))
    assert raised.value.code == "invalid_callback_url"
