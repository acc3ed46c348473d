"""What the service does beside its requests: it saves counts, and deletes what is past its use."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Final

from fastapi import APIRouter, FastAPI

from aletheia.documents import Documents
from aletheia.errors import AletheiaError
from aletheia.service.audit import purge_audit
from aletheia.service.deliveries import Deliveries
from aletheia.service.hooks import HookParts
from aletheia.service.tickets import Tickets
from aletheia.store.audit import AuditLog

log = logging.getLogger(__name__)

SAVE_EVERY_S: Final = 5.0
PURGE_EVERY_S: Final = 600.0

AUDIT_KEPT_S: Final = 400 * 86_400.0
"""How long it is recorded who did what, seconds: a year and a month."""


class Upkeep:
    """The upkeep of one service; `hooks_kept_s`: how long deliveries are kept, seconds."""

    def __init__(self, parts: HookParts, *, hooks_kept_s: float) -> None:
        self._parts, self._hooks_kept_s = parts, hooks_kept_s
        self._next_purge_at = 0.0

    def make_router(self) -> APIRouter:
        """Build a router without routes, which lasts as long as the service does."""
        return APIRouter(lifespan=self.lifespan)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncGenerator[None]:
        """Do it now and then, and once at the end."""
        working = asyncio.create_task(self._work())
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            with contextlib.suppress(AletheiaError, TimeoutError):
                async with asyncio.timeout(SAVE_EVERY_S):
                    await self.save()

    async def save(self) -> None:
        """Save what was counted, if anything was."""
        if not self._parts.refusals.is_saved:
            await self._parts.refusals.save(await self._parts.store.get())

    async def purge(self) -> None:
        """Delete tickets that nobody used, old deliveries and records."""
        store: Documents = await self._parts.store.get()
        tickets, deliveries = Tickets(store), Deliveries(store, self._parts.orchestrator)
        await tickets.prepare()
        await tickets.purge()
        await deliveries.prepare()
        await deliveries.purge(self._hooks_kept_s)
        await AuditLog(store).prepare()
        await purge_audit(store, AUDIT_KEPT_S)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            try:
                await self.save()
                if loop.time() >= self._next_purge_at:
                    self._next_purge_at = loop.time() + PURGE_EVERY_S
                    await self.purge()
            except AletheiaError as outage:
                log.warning("upkeep has to wait: %s", outage)
