"""Answers of models, kept before they are read, so that none is paid for twice."""

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final, Protocol

from aletheia.documents import Document, Documents
from aletheia.llm.messages import Completion
from aletheia.llm.prices import Tokens
from aletheia.llm.structured import MAX_ANSWER_CHARS

ANSWERS: Final = "aletheia_gather_answers"


class AnswerLog(Protocol):
    """Keeps what models answered in one iteration, unread, so that no answer is paid for twice.

    One is bound to a run, a department and an iteration; steps are `generate`, `repair-1` and
    `repair-2`.
    """

    async def find(self, step: str) -> Completion | None:
        """Give the answer that is kept for a step."""
        ...

    async def keep(self, step: str, completion: Completion) -> None:
        """Keep the answer of a step, durably, before it is read."""
        ...


class KeptSteps:
    """What is kept of one iteration until it is recorded, step by step; an `AnswerLog`.

    Args:
        documents: the store, open and durable.
        key: of run, department and iteration.
        clock: Unix time, seconds.
    """

    def __init__(self, documents: Documents, key: str, *, clock: Callable[[], float]) -> None:
        self._documents, self._key, self._clock = documents, key, clock

    async def find(self, step: str) -> Completion | None:
        """Give the answer that is kept for a step."""
        found: dict[str, Any] | None = await self.find_values(step)
        if found is None:
            return None
        used: dict[str, int] = found.pop("used")
        return Completion(**found, used=Tokens(**used))

    async def keep(self, step: str, completion: Completion) -> None:
        """Keep an answer; of one that is too long to be read, what is read of it."""
        kept = replace(completion, text=completion.text[: MAX_ANSWER_CHARS + 1])
        await self.keep_values(step, asdict(kept))

    async def find_values(self, step: str) -> Any:
        """Give what else is kept for a step; `None` if nothing is."""
        id_ = f"{self._key}:{step}"
        found = await self._documents.get(ANSWERS, [id_], with_payload=True)
        if id_ not in found:
            return None
        return json.loads(zlib.decompress(found[id_]["payload"]))

    async def keep_values(self, step: str, values: Any) -> Any:
        """Keep JSON values for a step, and return those that stand: the first ones."""
        # Escaped, since a model's text may hold what no store takes, such as half a surrogate.
        payload = zlib.compress(json.dumps(values, ensure_ascii=True).encode("ascii"), 1)
        id_ = f"{self._key}:{step}"
        document: Document = {"_id": id_, "at": self._clock(), "payload": payload}
        is_first = id_ in await self._documents.insert(ANSWERS, [document])
        return values if is_first else await self.find_values(step)
