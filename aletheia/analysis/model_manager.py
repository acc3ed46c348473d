"""The models that providers hold themselves: on disk, in memory, and what loading took.

A process that has a model in memory ends with its shift, so what it did with models is saved in the
store. `ModelManager` combines that with what the providers report now.
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
    """The progress of a download of a model.

    Attributes:
        status: the provider's words; `success` is the last.
        completed_bytes: of all the parts that are known so far.
        total_bytes: of those parts; it may grow. 0 if it is not known.
    """

    model: str
    status: str
    completed_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """What became of a model.

    Attributes:
        provider: that holds it.
        model: its name.
        kind: see `EventKind`.
        load_s: time it took to load, seconds.
        memory_bytes: in memory, in all processes together.
        size_bytes: on disk.
        used_at: Unix time of its last use, seconds.
    """

    provider: str
    model: str
    kind: EventKind
    load_s: float | None = None
    memory_bytes: int | None = None
    size_bytes: int | None = None
    used_at: float | None = None


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What is recorded about a model.

    Attributes:
        is_held: whether Aletheia has it in memory; a process that was killed leaves this true.
        loads: number of loads.
        evictions: how often it was unloaded to make room.
        load_s: time of the last load, seconds.
        memory_bytes: in memory after the last load, in all processes together.
        size_bytes: on disk.
        loaded_at: when it was last loaded.
        last_used: when it was last used, as far as is known.
    """

    provider: str
    model: str
    is_held: bool
    loads: int
    evictions: int
    load_s: float | None
    memory_bytes: int | None
    size_bytes: int | None
    loaded_at: datetime | None
    last_used: datetime | None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """The status of a model at a provider.

    Attributes:
        provider: that holds it.
        model: its name.
        state: see `ModelState`.
        size_bytes: on disk; `None` where that is not known.
        memory_bytes: in memory, or when it was last there; `None` if it never was.
        load_s: time of its last load, seconds.
        last_used: when it was last used, as far as is known.
        loads: number of loads by Aletheia.
        evictions: how often it was unloaded to make room.
        detail: where it is, or why it is not there.
    """

    provider: str
    model: str
    state: ModelState
    size_bytes: int | None = None
    memory_bytes: int | None = None
    load_s: float | None = None
    last_used: datetime | None = None
    loads: int = 0
    evictions: int = 0
    detail: str = ""


class ModelHolder(Protocol):
    """A provider that holds models itself.

    Attributes:
        provider: its name, `local` or `ollama`.
    """

    provider: str

    async def rows(self) -> list[ModelRow]:
        """List the models it has, and those it should have.

        Raises:
            Unavailable: it is out of reach.
        """
        ...

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Download a model; one that broke off goes on from where it was.

        Raises:
            InvalidTask: `model_not_found`; there is no such model to download.
            ModelUnavailable: it is not available, or is larger than allowed.
            Unavailable: it stalled, broke off, or is not complete in time.
        """
        ...

    async def load(self, model: str) -> None:
        """Load a model into memory, and record what that took; nothing if it is there.

        Raises:
            InvalidTask: `model_not_found`, `unsupported_model`.
            ModelUnavailable: it cannot be loaded, or is larger than the bound on memory.
            Unavailable: the provider is out of reach.
        """
        ...

    async def unload(self, model: str) -> None:
        """Unload a model once no call uses it; nothing if it is not in memory.

        Raises:
            InvalidTask: `model_not_found`, `unsupported_model`.
            Misconfigured: it is not in memory of this process.
            Unavailable: the provider is out of reach.
        """
        ...


class ModelRecords:
    """The records about models.

    Args:
        documents: the store, open.
        clock: Unix time, seconds.
    """

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
    """The models of several providers as one list.

    Args:
        holders: the providers.
        records: about their models.
    """

    def __init__(self, holders: Iterable[ModelHolder], records: ModelRecords) -> None:
        self._holders = {holder.provider: holder for holder in holders}
        self._records = records

    async def rows(self, provider: str) -> list[ModelRow]:
        """List the models of a provider by name, with what is recorded about them.

        Raises:
            Misconfigured: the provider holds no models.
            Unavailable: it is out of reach.
        """
        rows = await self._holder(provider).rows()
        records = {record.model: record for record in await self._records.read(provider)}
        filled = [_fill_in(row, records.get(row.model)) for row in rows]
        return sorted(filled, key=lambda row: row.model)

    def pull(self, provider: str, model: str) -> AsyncGenerator[PullProgress]:
        """Download a model, see `ModelHolder.pull`."""
        return self._holder(provider).pull(model)

    async def load(self, provider: str, model: str) -> None:
        """Load a model into memory, see `ModelHolder.load`."""
        await self._holder(provider).load(model)

    async def unload(self, provider: str, model: str) -> None:
        """Unload a model, see `ModelHolder.unload`."""
        await self._holder(provider).unload(model)

    def _holder(self, provider: str) -> ModelHolder:
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
    return ModelRecord(
        provider=document["provider"],
        model=document["model"],
        is_held=document["is_held"],
        loads=int(document.get("loads", 0)),
        evictions=int(document.get("evictions", 0)),
        load_s=document.get("load_s"),
        memory_bytes=document.get("memory_bytes"),
        size_bytes=document.get("size_bytes"),
        loaded_at=_moment(document.get("loaded_at")),
        last_used=_moment(document.get("used_at")),
    )


def _moment(at: int | None) -> datetime | None:
    return None if at is None else moment(at)
