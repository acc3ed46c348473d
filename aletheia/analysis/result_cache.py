"""What processors made and may need again, for `RESULT_CACHE_TTL` (SPEC §3)."""

import hashlib
import logging
from typing import Any, Final

import orjson

from aletheia.documents import Change, Documents, Update
from aletheia.errors import AletheiaError
from aletheia.store.clock import SYSTEM_CLOCK, Clock

CACHE: Final = "aletheia_result_cache"

MAX_VALUE_BYTES: Final = 8_000_000
"""Longest value that is saved, bytes of JSON; a document of MongoDB holds 16 MB."""

PURGE_EVERY_S: Final = 60.0
MAX_PURGED: Final = 10_000

log = logging.getLogger(__name__)


class ResultCache:
    """Saves JSON values by what they were made from; what fails costs time, and no task.

    Nobody sees what was saved under another `scope`: a task type and its processor's version.
    """

    def __init__(
        self, documents: Documents, *, scope: str, ttl_s: float, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._documents, self._scope, self._ttl_s, self._clock = documents, scope, ttl_s, clock
        self._purged_at_s = float("-inf")

    async def get(self, *made_from: object) -> Any | None:
        """Return what was saved for this, or `None`.

        `made_from` is everything that the value depends on, as JSON values: the hash of a content,
        parameters, a model.
        """
        if self._ttl_s <= 0:
            return None
        id_ = self._id(made_from)
        try:
            found = (await self._documents.get(CACHE, [id_], with_payload=True)).get(id_)
        except AletheiaError as error:
            log.warning("the cache of results cannot be read: %s", error)
            return None
        if found is None or abs(self._clock.unix_s() - found["at"]) > self._ttl_s:
            return None
        return orjson.loads(found["payload"])

    async def put(self, value: Any, *made_from: object) -> None:
        """Save a value; one that is too long is left out. Raises `TypeError`: it is not JSON."""
        payload = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
        if self._ttl_s <= 0 or len(payload) > MAX_VALUE_BYTES:
            return
        change = Change(set={"payload": payload, "at": self._clock.unix_s()})
        try:
            await self._documents.upsert(CACHE, [Update(self._id(made_from), change)])
            await self._purge()
        except AletheiaError as error:
            log.warning("a result could not be saved for later: %s", error)

    def scoped(self, scope: str) -> "ResultCache":
        """Return the same cache for another scope."""
        return ResultCache(self._documents, scope=scope, ttl_s=self._ttl_s, clock=self._clock)

    async def prepare(self) -> None:
        """Make deleting what is old fast. Idempotent."""
        await self._documents.ensure_index(CACHE, ["at"])

    async def _purge(self) -> None:
        now_s = self._clock.steady_s()
        if now_s - self._purged_at_s < PURGE_EVERY_S:
            return
        self._purged_at_s = now_s
        old = {"at": {"$lt": self._clock.unix_s() - self._ttl_s}}
        await self._documents.delete(CACHE, old, limit=MAX_PURGED)

    def _id(self, made_from: tuple[object, ...]) -> str:
        parts = orjson.dumps([self._scope, *made_from], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(parts).hexdigest()
