"""Reading pages of pending tasks, of the size that the upstream serves (SPEC §1)."""

import logging
from typing import Final

from aletheia.errors import Refused
from aletheia.intake.claimer import INVALID
from aletheia.intake.held_claims import HeldClaims
from aletheia.intake.models import Page
from aletheia.intake.parsing import parse_page
from aletheia.intake.ports import Upstream

MIN_PAGE: Final = 10
"""Page size every upstream accepts (SPEC §1, Pages and batches)."""

log = logging.getLogger(__name__)


class PageReader:
    """Reads pages from the head of the pending list."""

    def __init__(self, upstream: Upstream, held: HeldClaims) -> None:
        self._upstream, self._held = upstream, held
        self._size = held.pace.page

    async def read(self, capacity: int, blocked: int) -> tuple[Page, int]:
        """Read a page; return it, and how many tasks a full one has.

        Of a page that is longer than was asked for, no more is read than there is capacity for.

        Args:
            capacity: how many tasks may be claimed.
            blocked: how many entries at the head have to be passed.
        """
        limit = min(self._size, capacity) + blocked
        try:
            entries = await self._upstream.pending(limit)
        except Refused as refusal:
            if refusal.status not in INVALID or limit <= MIN_PAGE:
                raise
            if blocked:
                return Page(0, (), (), ()), limit
            log.info("the upstream serves no pages of %d, asking for %d", limit, MIN_PAGE)
            self._size = limit = MIN_PAGE
            entries = await self._upstream.pending(limit)
        self._held.tally.pages += 1
        max_bytes = self._held.pace.max_entry_bytes
        page = parse_page(entries[: capacity + blocked], max_entry_bytes=max_bytes)
        if page.not_pending:
            log.info("listed as pending, and not pending: %s", ", ".join(page.not_pending[:10]))
        return page, limit
