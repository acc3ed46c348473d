"""Answers of models, saved before they are read, so that none is paid for twice."""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from aletheia.documents import Document, Documents, Insert, Write
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
        self._read_ahead: dict[str, bytes | None] = {}

    async def read_ahead(self, *steps: str) -> None:
        """Read several steps at once; `find` and `find_values` know them then, once for each."""
        self._read_ahead |= await self._read(steps)

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
        found = self._read_ahead if step in self._read_ahead else await self._read([step])
        payload = found.pop(step)
        return None if payload is None else json.loads(zlib.decompress(payload))

    async def save_values(self, step: str, values: Any) -> Any:
        """Save JSON values for a step, unless some are saved; return the saved ones."""
        return values if await self.add_values(step, values) else await self.find_values(step)

    async def add_values(self, step: str, values: Any, *beside: Write) -> bool:
        """Save JSON values for a step, and what goes with them, unless some are saved.

        Returns:
            Whether they were saved; `beside` is not written otherwise.
        """
        # Escaped, since a model's text may hold what no store takes, such as half a surrogate.
        payload = zlib.compress(json.dumps(values, ensure_ascii=True).encode("ascii"), 1)
        document: Document = {"_id": self._name(step), "at": self._clock(), "payload": payload}
        self._read_ahead.pop(step, None)
        insert = Insert(ANSWERS, [document], is_condition=True)
        (inserted, *_) = await self._documents.write([insert, *beside])
        return bool(inserted)

    async def _read(self, steps: Sequence[str]) -> dict[str, bytes | None]:
        """Read the payloads of steps; `None` where there is nothing."""
        names = {step: self._name(step) for step in steps}
        found = await self._documents.get(ANSWERS, [*names.values()], with_payload=True)
        return {
            step: found[name]["payload"] if name in found else None for step, name in names.items()
        }

    def _name(self, step: str) -> str:
        return f"{self._key}:{step}"


async def purge_answers(
    documents: Documents, older_than_s: float, *, clock: Callable[[], float] = SYSTEM_CLOCK.unix_s
) -> int:
    """Delete answers that are older than that, at most 10,000; return how many."""
    await documents.ensure_index(ANSWERS, ["at"])
    old = {"at": {"$lt": clock() - older_than_s}}
    return await documents.delete(ANSWERS, old, limit=_MAX_PURGED)
