"""The reasoning runs of the past, one entry each, and the newest as a whole.

An entry has what reports and pages need; the whole output is kept beside it where it differs from
the one before in more than its figures.
"""

import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.reasoning.catalogue import listed_paths
from aletheia.reasoning.findings import digest_of
from aletheia.reasoning.models import AIReasoningOutput
from aletheia.series import NOTHING, Counts
from aletheia.store.clock import SYSTEM_CLOCK, Clock, moment
from aletheia.store.numbered_log import PAGE, NumberedLog, numbers_where
from aletheia.telemetry import current_traceparent

HISTORY: Final = "aletheia_reasoning"
HISTORY_PURGED: Final = "aletheia_reasoning_purged"
NEWEST: Final = "aletheia_reasoning_newest"

STREAM: Final = "system"
_ID: Final = "newest"


@dataclass(frozen=True, slots=True)
class Entry:
    """One reasoning run of the past."""

    seq: int
    at: datetime
    reasoning_id: str
    health: str
    score: float
    findings: tuple[str, ...]  # ids of their rules
    insights: tuple[str, ...]
    figures: Mapping[str, float]  # by snapshot path
    explained_by: str
    execution_time_ms: int


class History:
    """The reasoning runs of one store."""

    def __init__(self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._documents, self._clock = documents, clock
        self._log = NumberedLog(documents, HISTORY, purged=HISTORY_PURGED, clock=clock)

    async def prepare(self) -> None:
        """Make appending and purging fast. Idempotent."""
        await self._log.prepare()

    async def save(
        self,
        output: AIReasoningOutput,
        before: AIReasoningOutput | None,
        *,
        counts: Counts = NOTHING,
    ) -> None:
        """Save an output, once, with the trace it was made in; `counts` is added to counters."""
        packed = zlib.compress(output.model_dump_json().encode(), 1)
        is_other = before is None or digest_of(before.found) != digest_of(output.found)
        view = output.snapshot.view
        figures = {path.replace(".", "/"): view.number(path) for path in listed_paths(view)}

        def build(_seq: int, _at: int) -> Mapping[str, Any]:
            entry: dict[str, Any] = {
                "health": output.summary.overall_health,
                "score": output.summary.health_score,
                "findings": [problem.id for problem in output.findings],
                "severities": dict(Counter(problem.severity for problem in output.findings)),
                "insights": list(output.summary.key_insights),
                "figures": figures,
                "explained_by": output.explained_by,
                "execution_time_ms": output.execution_time_ms,
            }
            return {**entry, "payload": packed} if is_other else entry

        await self._log.append(STREAM, output.reasoning_id, build, counts=counts)
        beside = {"at": self._clock.now(), "traceparent": current_traceparent()}
        change = Change(set={**beside, "payload": packed})
        await self._documents.upsert(NEWEST, [Update(_ID, change)])

    async def newest(self) -> AIReasoningOutput | None:
        """Return the newest output; `None` before the first run."""
        found = await self._documents.get(NEWEST, [_ID], with_payload=True)
        if _ID not in found:
            return None
        return AIReasoningOutput.model_validate_json(zlib.decompress(found[_ID]["payload"]))

    async def newest_trace(self) -> str | None:
        """Return the `traceparent` of the newest run; `None` where it was not traced."""
        return (await self._documents.get(NEWEST, [_ID])).get(_ID, {}).get("traceparent")

    async def health(self) -> tuple[float, Mapping[str, int]] | None:
        """Return score and findings by severity of the newest run; `None` before the first."""
        found = await self._documents.find(
            HISTORY, numbers_where(STREAM), sort="_id", descending=True, limit=1
        )
        return (float(found[0]["score"]), found[0]["severities"]) if found else None

    async def list_newest(self, *, limit: int = 100, before_seq: int | None = None) -> list[Entry]:
        """Return entries, newest first, those before a number where one is named."""
        through = None if before_seq is None else max(0, before_seq - 1)
        found = await self._documents.find(
            HISTORY,
            numbers_where(STREAM, through=through),
            sort="_id",
            descending=True,
            limit=limit,
        )
        return [_read(document) for document in found]

    async def walk_since(self, since: datetime) -> AsyncGenerator[Entry]:
        """Yield the entries since a moment, newest first."""
        before: int | None = None
        while page := await self.list_newest(limit=PAGE, before_seq=before):
            for entry in page:
                if entry.at < since:
                    return
                yield entry
            before = page[-1].seq

    async def purge(self, older_than_s: float) -> int:
        """Delete entries that are older than that, but the newest; return how many."""
        return await self._log.purge(older_than_s)


def _read(document: Document) -> Entry:
    figures: Mapping[str, Any] = document["figures"]
    return Entry(
        seq=int(document["seq"]),
        at=moment(document["at"]),
        reasoning_id=document["key"],
        health=document["health"],
        score=float(document["score"]),
        findings=tuple(document["findings"]),
        insights=tuple(document["insights"]),
        figures={path.replace("/", "."): float(value) for path, value in figures.items()},
        explained_by=document["explained_by"],
        execution_time_ms=int(document["execution_time_ms"]),
    )
