"""Answers of models, saved before they are read, so that none is paid for twice."""

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final

from aletheia.documents import Document, Documents
from aletheia.llm.messages import Completion
from aletheia.llm.prices import Tokens
from aletheia.llm.structured import MAX_ANSWER_CHARS
from aletheia.store.clock import SYSTEM_CLOCK

ANSWERS: Final = "aletheia_gather_answers"

_MAX_PURGED: Final = 10_000


class SavedAnswers:
    """Answers of models, unread, and other JSON values, each under its step; the first one stays.

    `key` names the log, such as run, department and iteration.
    """

    def __init__(
        self, documents: Documents, key: str, *, clock: Callable[[], float] = SYSTEM_CLOCK.unix_s
    ) -> None:
        self._documents, self._key, self._clock = documents, key, clock

    async def find(self, step: str) -> Completion | None:
        """Return the saved answer of a step; `None` if there is none."""
        found: dict[str, Any] | None = await self.find_values(step)
        if found is None:
            return None
        used: dict[str, int] = found.pop("used")
        return Completion(**found, used=Tokens(**used))

    async def save(self, step: str, completion: Completion) -> None:
        """Save an answer; of one that is too long to be read, the part that is read."""
        cut = replace(completion, text=completion.text[: MAX_ANSWER_CHARS + 1])
        await self.save_values(step, asdict(cut))

    async def find_values(self, step: str) -> Any:
        """Return the values saved for a step; `None` if there are none."""
        id_ = f"{self._key}:{step}"
        found = await self._documents.get(ANSWERS, [id_], with_payload=True)
        if id_ not in found:
            return None
        return json.loads(zlib.decompress(found[id_]["payload"]))

    async def save_values(self, step: str, values: Any) -> Any:
        """Save JSON values for a step, unless some are saved; return the saved ones."""
        # Escaped, since a model's text may hold what no store takes, such as half a surrogate.
        payload = zlib.compress(json.dumps(values, ensure_ascii=True).encode("ascii"), 1)
        id_ = f"{self._key}:{step}"
        document: Document = {"_id": id_, "at": self._clock(), "payload": payload}
        is_first = id_ in await self._documents.insert(ANSWERS, [document])
        return values if is_first else await self.find_values(step)


async def purge_answers(
    documents: Documents, older_than_s: float, *, clock: Callable[[], float] = SYSTEM_CLOCK.unix_s
) -> int:
    """Delete answers that are older than that, at most 10,000; return how many."""
    await documents.ensure_index(ANSWERS, ["at"])
    old = {"at": {"$lt": clock() - older_than_s}}
    return await documents.delete(ANSWERS, old, limit=_MAX_PURGED)
