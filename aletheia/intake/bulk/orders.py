"""Orders: what becomes one batch, written down before anything is submitted."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from aletheia.documents import Change, Document, Documents, Update
from aletheia.intake.bulk.ports import Batches
from aletheia.intake.models import Claim

BULK: Final = "aletheia_bulk"

UNDER_WAY: Final = {"state": {"$in": ["intended", "submitted"]}}
"""What orders are not done."""

LINES_AT_ONCE: Final = 500

MAX_ROWS_BYTES: Final = 8_000_000
"""Names of the rows of one order, bytes; a document of MongoDB holds 16 MB."""


@dataclass(slots=True)
class Draft:
    """Requests of one model that become one batch, each with the claims that want its answer."""

    model: str
    capacity: int  # bytes of input that are left
    claims: dict[bytes, list[Claim]] = field(default_factory=dict[bytes, list[Claim]])
    tokens: int = 0  # of all requests, at most
    names: int = 0  # bytes that naming the rows takes

    @property
    def all_claims(self) -> list[Claim]:
        """Who wants an answer, in the order of the lines."""
        return [claim for claims in self.claims.values() for claim in claims]


def draft_orders(claims: Sequence[Claim], batches: Batches) -> Iterator[Draft]:
    """Divide claims by model, and by what a batch takes."""
    models: dict[str, list[Claim]] = {}
    for claim in claims:
        models.setdefault(claim.group, []).append(claim)
    for model, of_model in models.items():
        draft = Draft(model, batches.max_bytes)
        for claim in of_model:
            body = batches.body_of(model, claim.task.input)
            size = batches.size_of(body) if body not in draft.claims else 0
            is_full = len(draft.claims) == batches.max_lines and size
            names = len(claim.row_id.encode()) + 24
            if draft.claims and (
                is_full or size > draft.capacity or draft.names + names > MAX_ROWS_BYTES
            ):
                yield draft
                draft = Draft(model, batches.max_bytes)
                size = batches.size_of(body)
            if size:
                draft.capacity -= size
                draft.tokens += batches.weigh(model, claim.task.input) or 0
            draft.names += names
            draft.claims.setdefault(body, []).append(claim)
        yield draft


class Orders:
    """The orders of one store."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def write(self, key: str, draft: Draft, now_s: float, **values: Any) -> None:
        """Store an order that nobody has submitted yet."""
        lines = draft.claims.values()
        rows = [[(claim.row_id, claim.token) for claim in claims] for claims in lines]
        order: Document = {
            "_id": key,
            "state": "intended",
            "model": draft.model,
            "tasks": len(draft.all_claims),
            "lines": len(draft.claims),
            "tokens": draft.tokens,
            "created_at": now_s,
            "payload": orjson.dumps(rows),
            **values,
        }
        await self._documents.insert(BULK, [order])

    async def under_way(self) -> list[Document]:
        """Read the orders that are not done, the oldest first."""
        return await self._documents.find(BULK, UNDER_WAY, sort="created_at")

    async def update(
        self, order: Document, values: Mapping[str, Any], *, unset: Sequence[str] = ()
    ) -> None:
        """Change an order, and what was read of it."""
        order |= values
        change = Change(set=values, unset=unset)
        await self._documents.update(BULK, [Update(order["_id"], change)])

    async def tokens_of(self, order: Document) -> list[dict[str, int]]:
        """Read, for each line, the tokens of the rows that want its answer."""
        found = await self._documents.get(BULK, [order["_id"]], with_payload=True)
        return list(map(dict, orjson.loads(found[order["_id"]]["payload"])))

    async def lines_of(self, order: Document) -> AsyncGenerator[dict[int, dict[str, int]]]:
        """Read tokens by row and line, some lines at a time."""
        lines = list(enumerate(await self.tokens_of(order)))
        for start in range(0, len(lines), LINES_AT_ONCE):
            yield dict(lines[start : start + LINES_AT_ONCE])

    async def purge(self, before_s: float) -> None:
        """Delete the orders that were finished before a moment."""
        await self._documents.delete(BULK, {"finished_at": {"$lt": before_s}}, limit=10_000)


def tokens_in(lines: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    """Return the tokens of some lines by row."""
    return {row: token for tokens in lines.values() for row, token in tokens.items()}
