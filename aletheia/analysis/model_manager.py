"""The models that providers hold themselves: on disk, in memory, and what loading took.

What a process did with models is kept in the store and combined with what providers report.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

from aletheia.documents import Change, Document, Documents, Update
from aletheia.metrics import MODEL_EVICTIONS, MODEL_LOAD_DURATION, MODEL_LOADS
from aletheia.series import NOTHING, Counts, merged
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds, moment

MODELS: Final = "aletheia_models"

ModelState: TypeAlias = Literal["available", "installed", "loaded"]
"""`available`: would have to be downloaded; `installed`: on disk; `loaded`: in memory."""

EventKind: TypeAlias = Literal["loaded", "unloaded", "evicted"]
"""`evicted` is unloaded to free memory for another model."""


@dataclass(frozen=True, slots=True)
class PullProgress:
    """The progress of a download; sizes are of all parts known so far, 0 where unknown."""

    model: str
    status: str  # in the provider's words; `success` is the last
    completed_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class QuantisationLoss:
    """What quantising a model changed, measured on sentences against the model as it is."""

    sentences: int
    mean_cosine: float  # of each vector with the one it stands in for
    min_cosine: float
    max_shift: float  # of the cosine of any two sentences
    nearest_kept: float  # share of sentences whose nearest one is still the same, 0 to 1

    def __str__(self) -> str:
        return (
            f"cosine {self.mean_cosine:.4f} (lowest {self.min_cosine:.4f}), similarities within "
            f"{self.max_shift:.3f}, nearest kept {self.nearest_kept:.0%} of {self.sentences}"
        )


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
    device: str | None = None  # that it runs on, such as `cpu` or `cuda:1`
    loss: QuantisationLoss | None = None  # where it is quantised


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
    device: str = ""  # that it runs on, or last ran on
    loss: QuantisationLoss | None = None  # of its last load, where that was quantised


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

    def __init__(self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._documents = documents
        self._clock = clock

    async def note(self, event: ModelEvent) -> None:
        """Record what became of a model."""
        now, used_at = self._clock.now(), event.used_at
        known = {
            "load_s": event.load_s,
            "memory_bytes": event.memory_bytes,
            "size_bytes": event.size_bytes,
            "used_at": None if used_at is None else microseconds(used_at),
            "device": event.device,
            "loaded_at": now if event.kind == "loaded" else None,
        }
        values: dict[str, Any] = {
            "provider": event.provider,
            "model": event.model,
            "is_held": event.kind == "loaded",
            "changed_at": now,
            **{name: value for name, value in known.items() if value is not None},
        }
        if event.kind == "loaded":  # a model that is not quantised any more has no loss
            values["loss"] = None if event.loss is None else asdict(event.loss)
        counted = {"loaded": "loads", "evicted": "evictions", "unloaded": "unloads"}[event.kind]
        change = Change(set=values, increase={counted: 1})
        key = f"{event.provider}:{event.model}"
        await self._documents.upsert(MODELS, [Update(key, change, counts=_counts_of(event))])

    async def read(self, provider: str) -> list[ModelRow]:
        """Read what is recorded about a provider's models, by name.

        `loaded` is what Aletheia holds in memory; a process that was killed leaves it so.
        """
        found = await self._documents.find(MODELS, {"provider": provider})
        return [_read_row(document) for document in found]


def _counts_of(event: ModelEvent) -> Counts:
    """Return what an event adds to counters."""
    if event.kind == "evicted":
        return MODEL_EVICTIONS.add()
    if event.kind != "loaded":
        return NOTHING
    took = NOTHING if event.load_s is None else MODEL_LOAD_DURATION.observe(amount=event.load_s)
    return merged(MODEL_LOADS.add(event.model), took)


async def list_rows(holder: ModelHolder, records: ModelRecords) -> list[ModelRow]:
    """List the models of a provider by name, with what is recorded about them."""
    rows = await holder.rows()
    known = {row.model: row for row in await records.read(holder.provider)}
    filled = [_fill_in(row, known[row.model]) if row.model in known else row for row in rows]
    return sorted(filled, key=lambda row: row.model)


def _fill_in(row: ModelRow, record: ModelRow) -> ModelRow:
    """Complete what a provider reports now with what is recorded."""
    used = [moment for moment in (row.last_used, record.last_used) if moment is not None]
    return replace(
        row,
        size_bytes=record.size_bytes if row.size_bytes is None else row.size_bytes,
        memory_bytes=record.memory_bytes if row.memory_bytes is None else row.memory_bytes,
        load_s=record.load_s if row.load_s is None else row.load_s,
        last_used=max(used, default=None),
        loads=record.loads,
        evictions=record.evictions,
        device=row.device or record.device,
        loss=row.loss or record.loss,
    )


def _read_row(document: Document) -> ModelRow:
    used_at = document.get("used_at")
    return ModelRow(
        provider=document["provider"],
        model=document["model"],
        state="loaded" if document["is_held"] else "installed",
        size_bytes=document.get("size_bytes"),
        memory_bytes=document.get("memory_bytes"),
        load_s=document.get("load_s"),
        last_used=None if used_at is None else moment(used_at),
        loads=int(document.get("loads", 0)),
        evictions=int(document.get("evictions", 0)),
        device=document.get("device") or "",
        loss=_read_loss(document.get("loss")),
    )


def _read_loss(found: Mapping[str, Any] | None) -> QuantisationLoss | None:
    return QuantisationLoss(**found) if found else None
