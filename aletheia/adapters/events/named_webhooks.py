"""Webhooks whose addresses stand in blocks, so that no run's parameters hold what they carry."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

from aletheia.adapters.addresses import redact
from aletheia.adapters.events.webhook import Webhooks
from aletheia.errors import InvalidTask
from aletheia.events.log import SavedEvent
from aletheia.redaction import SECRETS

BLOCK: Final = "block:"
"""How an address begins that is the name of a block."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}", re.ASCII)


class NamedWebhooks:
    """Posts events to addresses, or to the one that a block holds, where `block:NAME` is given.

    `read_block` returns what a block holds; it is read for each event, so that a changed address
    counts at once.
    """

    def __init__(self, webhooks: Webhooks, read_block: Callable[[str], Awaitable[str]]) -> None:
        self._webhooks, self._read_block = webhooks, read_block

    async def check(self, address: str) -> None:
        """Check an address as far as is possible without asking DNS.

        Raises:
            InvalidTask: `invalid_webhook_url`.
            Misconfigured: there is no such block.
        """
        self._webhooks.check(await self._resolve(address))

    async def send(self, address: str, event: SavedEvent) -> None:
        """Post one event; raises as `check` and `Webhooks.post`."""
        await self._webhooks.send(await self._resolve(address), event)

    async def _resolve(self, address: str) -> str:
        if not address.startswith(BLOCK):
            SECRETS.add(address)
            return address
        name = address.removeprefix(BLOCK)
        if not _NAME.fullmatch(name):
            reason = f"webhook_url cannot be used: {BLOCK}NAME names a block"
            raise InvalidTask("invalid_webhook_url", reason)
        found = (await self._read_block(name)).strip()
        SECRETS.add(found)
        return found


def show_webhook(address: str) -> str:
    """Show an address without what may be a secret; the name of a block is none."""
    name = address.removeprefix(BLOCK)
    is_named = address.startswith(BLOCK) and _NAME.fullmatch(name) is not None
    return address if is_named else redact(address)
