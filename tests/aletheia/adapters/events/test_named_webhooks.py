"""Webhooks by the name of a block."""

import pytest

from aletheia.adapters.events.named_webhooks import NamedWebhooks, show_webhook
from aletheia.adapters.events.webhook import Webhooks
from aletheia.errors import AletheiaError, InvalidTask, Misconfigured
from aletheia.events.log import SavedEvent
from aletheia.redaction import SECRETS
from tests.aletheia.adapters.events.test_webhook import event, receiver, store, webhooks
from tests.fakes.webhook import FakeWebhook

__all__ = ["event", "receiver", "store"]


class Blocks(dict[str, str]):
    """What blocks hold, by their name."""

    async def read(self, name: str) -> str:
        if name not in self:
            raise Misconfigured(f"block secret/{name}", "is not saved")
        return self[name]


async def test_an_event_goes_to_the_address_that_a_block_holds_now(
    receiver: FakeWebhook, event: SavedEvent
):
    blocks = Blocks(news=f" {receiver.url}/first?token=of-the-first-one\n")
    async with webhooks() as sender:
        named = NamedWebhooks(sender, blocks.read)
        await named.check("block:news")
        await named.send("block:news", event)
        blocks["news"] = f"{receiver.url}/second"
        await named.send("block:news", event)
        await named.send(f"{receiver.url}/plain", event)
    paths = [delivery.path for delivery in receiver.deliveries]
    names = [path.partition("?")[0].rpartition("/")[2] for path in paths]
    assert names == ["first", "second", "plain"]
    assert SECRETS.redact("it said of-the-first-one") == "it said ***"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("block:", InvalidTask),
        ("block:../x", InvalidTask),
        ("block:a b", InvalidTask),
        ("block:nobody", Misconfigured),
        ("block:odd", InvalidTask),
        ("block:private", InvalidTask),
        ("ftp://e.example", InvalidTask),
    ],
)
async def test_what_leads_nowhere_is_refused_and_no_secret_is_shown(
    address: str, expected: type[AletheiaError]
):
    blocks = Blocks(odd="sk-not-an-address-at-all", private="https://u:hunter22@10.0.0.1/hook")
    named = NamedWebhooks(Webhooks("a-secret"), blocks.read)
    with pytest.raises(expected) as refused:
        await named.check(address)
    assert "sk-not" not in str(refused.value)
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("block:news", "block:news"),
        ("https://u:p@e.example/services/T0/secret", "https://e.example/…"),
        ("block:https://u:p@e.example", "…"),
    ],
)
def test_of_an_address_only_what_is_no_secret_is_shown(address: str, shown: str):
    assert show_webhook(address) == shown
