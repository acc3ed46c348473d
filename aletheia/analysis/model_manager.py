"""The models that providers hold themselves: on disk, in memory, and what loading took.

What a process did with models is kept in the store and combined with what providers report.
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import Misconfigured
from aletheia.store.clock import microseconds, moment

MODELS: Final = "aletheia_models"

ModelState: TypeAlias = Literal["available", "installed", "loaded"]
"""`available`: would have to be downloaded; `installed`: on disk; `loaded`: in memory."""

EventKind: TypeAlias = Literal["loaded", "unloaded", "evicted"]
"""`evicted` is unloaded to make room for another model."""


@dataclass(frozen=True, slots=True)
class PullProgress:
    """The progress of a download; sizes are of all parts known so far, 0 where unknown."""

    model: str
    status: str  # in the provider's words; `success` is the last
    completed_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """What became of a model: seconds to load, bytes in memory and on disk, Unix time of use."""

    provider: str
    model: str
    kind: EventKind
    load_s: float | None = None
    memory_bytes: int | None = None
    size_bytes: int | None = None
    used_at: float | None = None


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What is recorded about a model; `None` where it is not known."""

    provider: str
    model: str
    is_held: bool  # in memory by Aletheia; a process that was killed leaves it true
    loads: int
    evictions: int
    load_s: float | None  # of the last load, as the sizes are
    memory_bytes: int | None
    size_bytes: int | None
    last_used: datetime | None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """The status of a model at a provider; `None` where it is not known."""

    provider: str
    model: str
    state: ModelState
    size_bytes: int | None = None  # on disk
    memory_bytes: int | None = None  # now, or when it was last in memory
    load_s: float | None = None  # of its last load
    last_used: datetime | None = None
    loads: int = 0
    evictions: int = 0
    detail: str = ""  # where it is, or why it is not there


class ModelHolder(Protocol):
    """A provider that holds models itself, `local` or `ollama`."""

    provider: str

    async def rows(self) -> list[ModelRow]:
        """List the models it has, and those it should have."""
        ...

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Download a model, or go on with it; `InvalidTask`, `ModelUnavailable` if too large."""
        ...

    async def load(self, model: str) -> None:
        """Load an installed model and record what that took; `ModelUnavailable` if too large."""
        ...

    async def unload(self, model: str) -> None:
        """Unload a model once no call uses it; `Misconfigured` if another process holds it."""
        ...


class ModelRecords:
    """The records about models."""

    def __init__(self, documents: Documents, *, clock: Callable[[], float] = time.time) -> None:
        self._documents = documents
        self._clock = clock

    async def note(self, event: ModelEvent) -> None:
        """Record what became of a model."""
        now = microseconds(self._clock())
        known = {
            "load_s": event.load_s,
            "memory_bytes": event.memory_bytes,
            "size_bytes": event.size_bytes,
            "used_at": None if event.used_at is None else microseconds(event.used_at),
        }
        values: dict[str, Any] = {
            "provider": event.provider,
            "model": event.model,
            "is_held": event.kind == "loaded",
            "changed_at": now,
            **{name: value for name, value in known.items() if value is not None},
        }
        if event.kind == "loaded":
            values["loaded_at"] = now
        counted = {"loaded": "loads", "evicted": "evictions", "unloaded": "unloads"}[event.kind]
        change = Change(set=values, increase={counted: 1})
        key = f"{event.provider}:{event.model}"
        await self._documents.upsert(MODELS, [Update(key, change)])

    async def read(self, provider: str | None = None) -> list[ModelRecord]:
        """Read the records, by provider and name."""
        where = {} if provider is None else {"provider": provider}
        return [_read_record(row) for row in await self._documents.find(MODELS, where)]


class ModelManager:
    """The models of several providers as one list."""

    def __init__(self, holders: Iterable[ModelHolder], records: ModelRecords) -> None:
        self._holders = {holder.provider: holder for holder in holders}
        self._records = records

    async def rows(self, provider: str) -> list[ModelRow]:
        """List the models of a provider by name, with what is recorded about them."""
        rows = await self.holder(provider).rows()
        records = {record.model: record for record in await self._records.read(provider)}
        filled = [_fill_in(row, records.get(row.model)) for row in rows]
        return sorted(filled, key=lambda row: row.model)

    def holder(self, provider: str) -> ModelHolder:
        """Return a provider, or raise `Misconfigured` if it holds no models."""
        holder = self._holders.get(provider)
        if holder is None:
            known = " or ".join(sorted(self._holders))
            raise Misconfigured(
                "provider", f"{provider!r} holds no models of its own; name {known}"
            )
        return holder


def _fill_in(row: ModelRow, record: ModelRecord | None) -> ModelRow:
    """Complete what a provider reports now with what is recorded."""
    if record is None:
        return row
    used = [moment for moment in (row.last_used, record.last_used) if moment is not None]
    return replace(
        row,
        size_bytes=record.size_bytes if row.size_bytes is None else row.size_bytes,
        memory_bytes=record.memory_bytes if row.memory_bytes is None else row.memory_bytes,
        load_s=record.load_s if row.load_s is None else row.load_s,
        last_used=max(used, default=None),
        loads=record.loads,
        evictions=record.evictions,
    )


def _read_record(document: Document) -> ModelRecord:
    used_at = document.get("used_at")
    return ModelRecord(
        provider=document["provider"],
        model=document["model"],
        is_held=document["is_held"],
        loads=int(document.get("loads", 0)),
        evictions=int(document.get("evictions", 0)),
        load_s=document.get("load_s"),
        memory_bytes=document.get("memory_bytes"),
        size_bytes=document.get("size_bytes"),
        last_used=None if used_at is None else moment(used_at),
    )
