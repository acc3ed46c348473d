"""Reading pages of pending tasks, of the size that the upstream serves (SPEC §1)."""

import logging
from typing import Final

from aletheia.errors import AletheiaError, Refused, TooLong, Unauthorized
from aletheia.intake.held_claims import HeldClaims
from aletheia.intake.models import Page
from aletheia.intake.parsing import parse_page
from aletheia.intake.ports import INVALID, Upstream

MIN_PAGE: Final = 10
"""Page size every upstream accepts (SPEC §1, Pages and batches)."""

MAX_PAGE: Final = 1000
"""Largest page that is asked for to pass a blocked head (SPEC §1, Pages and batches)."""

log = logging.getLogger(__name__)


async def pending_if_served(upstream: Upstream, limit: int) -> list[object] | None:
    """Read one page; `None` where the upstream serves none of that size."""
    try:
        return await upstream.pending(limit)
    except Unauthorized:
        raise
    except Refused:
        return None


class PageReader:
    """Reads pages from the head of the pending list.

    The API has no cursor: whatever stays pending stands at the head of every page. So a page is
    asked for with as many entries more as the last one had that nothing could be done about.
    """

    def __init__(self, upstream: Upstream, held: HeldClaims) -> None:
        self._upstream, self._held = upstream, held
        self._size, self._max_size = held.settings.poll_limit, MAX_PAGE
        self._caps = self._size, self._max_size  # what the upstream allows, however short it is
        self._left = 0  # tasks to be done until larger pages are tried again
        self._served = self._limit = self._blocked = 0
        self.is_full = False  # whether the last page had as many entries as were asked for

    async def read(self, capacity: int, *, is_growing: bool = False) -> Page:
        """Read a page for so many tasks; `is_growing` asks for twice as many as last time."""
        limit = min(self._size, capacity) + self._blocked
        limit = min(max(limit, 2 * self._limit if is_growing else 0), self._max_size)
        while True:
            try:
                entries = await self._upstream.pending(limit)
                break
            except (Refused, TooLong) as refusal:
                limit = self._smaller(limit, refusal)
        self._served, self._limit = max(self._served, limit), limit
        self.is_full = len(entries) >= limit
        self._held.tally.pages += 1
        max_bytes = self._held.settings.max_entry_bytes
        page = parse_page(entries[:limit], max_entry_bytes=max_bytes)
        if page.not_pending:
            log.info("listed as pending, and not pending: %s", ", ".join(page.not_pending[:10]))
        return page

    def note(self, done: int, blocked: int) -> bool:
        """Note how many entries of the last page are done with, and how many stay pending.

        Returns:
            Whether a page may grow past these.
        """
        self._blocked = blocked
        self._left -= done
        may_grow = self.is_full and self._limit < self._max_size
        if self._left <= 0 or not self.is_full or not (done or may_grow):
            # What made a page too long is gone, or may be.
            sizes = zip((self._size, self._max_size), self._caps, strict=True)
            self._size, self._max_size = (min(2 * size, cap) for size, cap in sizes)
        return may_grow

    def _smaller(self, limit: int, refusal: AletheiaError) -> int:
        """Return the page size to try after one that was refused, or raise the refusal."""
        is_too_long = isinstance(refusal, TooLong)
        is_about_size = is_too_long or (isinstance(refusal, Refused) and refusal.status in INVALID)
        if not is_about_size or limit <= (1 if is_too_long else MIN_PAGE):
            raise refusal
        self._max_size = limit - 1
        if is_too_long:
            smaller, self._left = limit // 2, 2 * limit
            # What is too long once is so again; a page that was served before may have grown.
            self._served = min(self._served, smaller)
        else:
            smaller = (self._served + limit) // 2 if self._served else MIN_PAGE
            smaller = max(smaller, MIN_PAGE)
            self._caps = min(self._caps[0], smaller), limit - 1
        self._size = min(self._size, smaller)
        log.info("the upstream serves no page of %d, asking for %d: %s", limit, smaller, refusal)
        return smaller
