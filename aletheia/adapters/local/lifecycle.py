"""The models of an embedder: found, loaded by every process, evicted, unloaded."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

from aletheia.adapters.local.jobs import Job, Load, LoadedModel, ModelState
from aletheia.adapters.local.memory import ModelMemory, Place
from aletheia.adapters.local.source import Find, start_search
from aletheia.adapters.local.wire import Header
from aletheia.analysis.model_manager import EventKind, ModelEvent, ModelRow, QuantisationLoss
from aletheia.errors import AletheiaError, ModelUnavailable
from aletheia.settings import EmbeddingSettings
from aletheia.store.clock import SYSTEM_CLOCK

log = logging.getLogger(__name__)

LOCAL: Final = "local"
"""Name of the provider in results and records."""

Note: TypeAlias = Callable[[ModelEvent], Awaitable[None]]
"""Writes down what became of a model; what it raises is logged."""


class Lifecycle:
    """The states of an embedder's models in `count` processes, and the calls that use them."""

    def __init__(
        self,
        settings: EmbeddingSettings,
        *,
        count: int,
        find: Find,
        note: Note | None,
        wake: Callable[[], None],
    ) -> None:
        self.models: dict[str, ModelState] = {}  # by full name
        self.jobs: deque[Job] = deque()  # the one whose turn is next first
        self.memory = ModelMemory(settings.model_memory_max, self._evict)
        self.notes: set[asyncio.Task[None]] = set()
        self._settings, self._count = settings, count
        self._find, self._note, self._wake = find, note, wake

    def rows(self) -> list[ModelRow]:
        """List the models that are in memory, the least recently used first."""
        return [
            ModelRow(
                LOCAL,
                place.model,
                "loaded",
                size_bytes=model.weights_bytes,
                memory_bytes=model.memory_bytes * len(model.ready),
                load_s=model.loaded.load_s,
                last_used=datetime.fromtimestamp(place.used_at, UTC),
                detail=model.loaded.files.source,
                device=model.loaded.device,
                loss=model.loaded.loss,
            )
            for place in self.memory.places
            if (model := self.models[place.model]).loaded and model.ready
        ]

    def state(self, name: str) -> ModelState:
        """Return the state of a model for new work; who could not load it before may try again."""
        model = self.models.setdefault(name, ModelState(name))
        if not self.is_wanted(model):
            model.failures.clear()
        return model

    def is_wanted(self, model: ModelState) -> bool:
        """Check whether a call needs a model."""
        return any(job.model is model for job in self.jobs)

    async def enter(self, model: ModelState) -> Place:
        """Find a model and wait for its place in memory, or raise `ModelUnavailable`."""
        await self._locate(model)
        return await self.memory.enter(model.name, self._cost(model))

    async def _locate(self, model: ModelState) -> None:
        """Find a model's files; a download that takes too long continues for the next call."""
        if model.files is not None:
            return
        if model.search is None:
            model.search = start_search(self._find, model.name)
        search, limit_s = model.search, self._settings.model_load_timeout
        try:
            async with asyncio.timeout(limit_s):
                found = await asyncio.shield(search)
        except TimeoutError:
            reason = f"its files were not there after {limit_s:g} s; the search goes on"
            raise ModelUnavailable(model.name, reason) from None
        if model.search is search:
            model.search = None
        if isinstance(found, ModelUnavailable):
            raise ModelUnavailable(model.name, found.reason)
        model.files, model.weights_bytes = found
        self._wake()

    def _cost(self, model: ModelState) -> int:
        """Return what a model takes in all processes: as measured, or at least its weights."""
        return self._count * max(model.memory_bytes, model.weights_bytes)

    def accept_load(self, slot: int, request: Load, header: Header) -> LoadedModel | None:
        """Record the answer to a `Load`; return the model, `None` if it could not be loaded."""
        model = request.model
        model.loading.discard(slot)
        if header["op"] == "failed":
            self.fail_slot(model, slot, str(header["reason"]))
            return None
        if header["op"] != "loaded":
            raise ValueError(header["op"])
        grown = int(header["memory_bytes"])
        model.memory_bytes = max(model.memory_bytes, model.weights_bytes, grown)
        model.ready.add(slot)
        loaded = model.loaded
        if loaded is None:
            loaded = model.loaded = LoadedModel(
                request.files,
                dimensions=int(header["dimensions"]),
                kernels=tuple(map(str, header["kernels"])),
                load_s=float(header["load_s"]),
                device=str(header.get("device", "cpu")),
                loss=QuantisationLoss(**found) if (found := header.get("loss")) else None,
            )
            log.info(
                "model %s loaded in %.1f s from %s (%s) on %s, kernels %s, %d MB%s",
                *(model.name, loaded.load_s, loaded.files.source, loaded.files.path),
                *(loaded.device, loaded.kernels, model.memory_bytes // 1_000_000),
                f"; int8: {loaded.loss}" if loaded.loss else "",
            )
            self._write(model, "loaded")
        cost = self._cost(model)
        self.memory.measure(model.name, cost)
        try:
            self.memory.check(model.name, cost)
        except ModelUnavailable as too_large:
            self.fail(model, too_large.reason)
        self.settle(model)
        return loaded

    def settle(self, model: ModelState) -> None:
        """Answer calls of `load` once every process has loaded the model or cannot."""
        if model.loaded and model.ready and len(model.ready) + len(model.failures) == self._count:
            for job in self.jobs:
                if job.model is model and job.place is not None and not job.texts:
                    job.answers.put_nowait([])

    def fail_slot(self, model: ModelState, slot: int, reason: str) -> None:
        """Record that a process cannot load a model; when none can, its calls fail."""
        log.warning("model %s not loaded: %s", model.name, reason)
        model.failures[slot] = reason
        if len(model.failures) == self._count:
            self.fail(model, "; ".join(dict.fromkeys(model.failures.values())))
        self.settle(model)

    def fail_wanted(self, slot: int, reason: str) -> None:
        """Record that a process cannot load any model that is wanted."""
        for model in self.models.values():
            if self.is_wanted(model):
                self.fail_slot(model, slot, reason)

    def fail(self, model: ModelState, reason: str) -> None:
        """End all calls that use a model with `ModelUnavailable`."""
        for job in [job for job in self.jobs if job.model is model]:
            job.answers.put_nowait(ModelUnavailable(model.name, reason))
            self.jobs.remove(job)
        if not (model.ready or model.loading):
            self.memory.gone(model.name)
        model.failures.clear()
        model.files = model.loaded = None

    def end_slot(self, slot: int) -> None:
        """Record that the process of a slot has ended, and its models with it."""
        for model in self.models.values():
            for slots in (model.ready, model.loading, model.unloading):
                slots.discard(slot)
            self.note_gone(model)

    def note_gone(self, model: ModelState) -> None:
        """Free the place of a model that is being unloaded once no process has it."""
        if model.is_leaving and not (model.ready or model.loading):
            model.is_leaving = False
            model.loaded = None
            self.memory.gone(model.name)

    def close(self, why: str) -> None:
        """End all calls; models count as unloaded."""
        for place in self.memory.places:
            if not place.is_leaving:
                self._write(self.models[place.model], "unloaded", place)
        for model in self.models.values():
            self.fail(model, why)
            model.is_leaving = False
        self.memory.close(why)
        self.memory = ModelMemory(self._settings.model_memory_max, self._evict)

    def _evict(self, place: Place, is_for_another: bool) -> None:
        """Begin to unload a model from every process."""
        model = self.models[place.model]
        model.is_leaving = True
        log.info("model %s is unloaded%s", model.name, " for another" if is_for_another else "")
        self._write(model, "evicted" if is_for_another else "unloaded", place)
        self._wake()
        asyncio.get_running_loop().call_soon(self.note_gone, model)

    def _write(self, model: ModelState, kind: EventKind, place: Place | None = None) -> None:
        """Write down what became of a model, without waiting for it."""
        if self._note is None or model.loaded is None:
            return
        is_new = kind == "loaded"
        event = ModelEvent(
            LOCAL,
            model.name,
            kind,
            load_s=model.loaded.load_s if is_new else None,
            memory_bytes=self._cost(model) if is_new else None,
            size_bytes=model.weights_bytes if is_new else None,
            used_at=place.used_at if place else SYSTEM_CLOCK.unix_s(),
            device=model.loaded.device if is_new else None,
            loss=model.loaded.loss if is_new else None,
        )
        note = asyncio.create_task(_write_down(self._note, event))
        self.notes.add(note)
        note.add_done_callback(self.notes.discard)


async def _write_down(note: Note, event: ModelEvent) -> None:
    try:
        await note(event)
    except AletheiaError as error:
        log.warning("what became of %s could not be written down: %s", event.model, error)
