"""Embeds texts with local models, in processes of their own beside a parent without torch.

One coroutine tends each process: it starts it when there is work, keeps two requests in it so that
it never waits for the parent, and replaces it when it dies or hangs. Processes take batches from
all calls in turn; whichever is free takes the next, so they finish together.

A model stays in memory until its place is needed, see `ModelMemory`.
"""

import asyncio
import functools
import logging
import math
import os
import re
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.local.memory import ModelMemory, Place
from aletheia.adapters.local.process import COMMAND, LoadedModel, ModelProcess, ProcessStatus
from aletheia.adapters.local.source import (
    HUB_ORGANISATION,
    HuggingFaceHub,
    ModelFiles,
    find_model,
    full_name,
    packaged_copy,
)
from aletheia.adapters.local.wire import Header, pack_frame, pack_texts
from aletheia.analysis.model_manager import EventKind, ModelEvent, ModelRow
from aletheia.analysis.ports import Embedded, Embedding, LongText
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask, ModelUnavailable
from aletheia.settings import EmbeddingSettings

log = logging.getLogger(__name__)

MAX_PROCESSES: Final = 4
"""How many processes are started where the number is left to us; each holds the model."""

IN_FLIGHT: Final = 2
"""Requests given to a process at a time: the one it works on and the next."""

MIN_BATCH: Final = 4
"""When no other work is waiting, batches get smaller, down to this: all processes end together."""

MAX_BATCH_CHARACTERS: Final = 65_536
"""A batch of long texts ends here, so that it fits the time limit of a batch."""

TOGETHER: Final = 128
TOGETHER_S: Final = 0.5
"""So many answers of a call are passed on at once, or as many as come in that time, seconds: each
time costs whoever keeps them a transaction or two, however many there are."""

LOCAL: Final = "local"
"""What results and records call the provider."""

Answers: TypeAlias = "asyncio.Queue[Sequence[Embedded] | AletheiaError]"
Found: TypeAlias = tuple[ModelFiles, int] | ModelUnavailable
"""A model's files and the size of its weights, bytes, or why there are none."""


class LocalEmbedder:
    """Embeds texts with sentence-transformers models in processes of its own.

    Belongs to one event loop. Processes start with the first `embed` or `load` and stay until
    `close`; each loads a model once. Several calls may run at the same time and share them.

    Args:
        default_model: what runs for tasks that name no model.
        supported_models: further models that tasks may name.
        model_dir: `LOCAL_MODEL_DIR`.
        processes: how many; 0 is one a core, at most `MAX_PROCESSES`.
        batch_size: most texts in one request to a process.
        long_text: what happens to texts longer than the model reads.
        load_timeout_s: for finding a model, and again for loading it into a process.
        batch_timeout_s: for computing one batch.
        max_retries: a text alone in a process that dies is tried that often again.
        memory_max_bytes: what models may take in all processes together, beside the libraries,
            before the least recently used one has to go; 0 is no bound.
        note: writes down what became of a model; what it raises is logged.
        find: finds a model's files by full name; blocking; raises `ModelUnavailable`.
        command: starts a process, see `COMMAND`.

    Raises:
        Misconfigured: the default or a supported model is not the name of a model.
    """

    provider: str = LOCAL
    is_mock: bool = False

    def __init__(
        self,
        *,
        default_model: str,
        supported_models: Iterable[str] = (),
        model_dir: Path | None = None,
        processes: int = 0,
        batch_size: int = 16,
        long_text: LongText = "truncate",
        load_timeout_s: float = 60,
        batch_timeout_s: float = 300,
        max_retries: int = 3,
        memory_max_bytes: int = 0,
        note: Callable[[ModelEvent], Awaitable[None]] | None = None,
        find: Callable[[str], ModelFiles] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._default_model = full_name(default_model)
        allowed = (self._default_model, *map(full_name, supported_models))
        self._allowed = {_key(name): name for name in reversed(allowed)}
        self._find = find or functools.partial(_find_as_usual, model_dir, self._default_model)
        cores = _cores()
        self._count = processes or min(MAX_PROCESSES, cores)
        self._threads = max(1, cores // self._count)
        self._batch_size = batch_size
        self._long_text: LongText = long_text
        self._load_timeout_s = load_timeout_s
        self._batch_timeout_s = batch_timeout_s
        self._max_retries = max_retries
        self._command = tuple(command)
        self._is_open = False
        self._memory = ModelMemory(memory_max_bytes, self._evict)
        self._write_down = note
        self._notes: set[asyncio.Task[None]] = set()
        self._models: dict[str, _Model] = {}
        self._jobs: deque[_Job] = deque()
        self._wakes = [asyncio.Event() for _ in range(self._count)]
        self._processes: dict[int, _Process] = {}
        self._tenders: list[asyncio.Task[None]] = []
        self._deaths = 0

    @classmethod
    def from_settings(
        cls,
        settings: EmbeddingSettings,
        *,
        max_retries: int = 3,
        memory_max_bytes: int = 0,
        note: Callable[[ModelEvent], Awaitable[None]] | None = None,
    ) -> Self:
        """Build the embedder that the settings describe."""
        return cls(
            default_model=settings.default_model,
            supported_models=settings.supported_models,
            model_dir=settings.local_model_dir,
            processes=settings.local_model_processes,
            batch_size=settings.local_batch_size,
            long_text=settings.long_text or "truncate",
            load_timeout_s=settings.model_load_timeout,
            batch_timeout_s=settings.task_timeout,
            max_retries=max_retries,
            memory_max_bytes=memory_max_bytes,
            note=note,
        )

    @property
    def processes(self) -> tuple[ProcessStatus, ...]:
        """The processes that are running."""
        return tuple(process.describe() for process in self._processes.values())

    @property
    def is_open(self) -> bool:
        """Whether models can be loaded."""
        return self._is_open

    @property
    def served(self) -> tuple[str, ...]:
        """The full names of the models that tasks may name, the default one first."""
        return tuple(dict.fromkeys((self._default_model, *sorted(self._allowed.values()))))

    @property
    def models(self) -> tuple[LoadedModel, ...]:
        """The models that are loaded."""
        return tuple(model.loaded for model in self._models.values() if model.loaded)

    def held(self) -> list[ModelRow]:
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
                detail=model.loaded.source,
            )
            for place in self._memory.places
            if (model := self._models[place.model]).loaded and model.ready
        ]

    @property
    def deaths(self) -> int:
        """How many processes have died or were ended because they hung."""
        return self._deaths

    async def open(self) -> None:
        """Get ready; nothing is started yet. Idempotent."""
        self._is_open = True

    async def close(self) -> None:
        """End all processes, within 5 s; calls under way get `ModelUnavailable`. Idempotent."""
        self._is_open = False
        why = "the embedder was closed"
        for place in self._memory.places:
            if not place.is_leaving:
                self._note(self._models[place.model], "unloaded", place)
        for model in self._models.values():
            self._fail(model, why)
            model.is_leaving = False
        self._memory.close(why)
        tenders, self._tenders = self._tenders, []
        for tender in tenders:
            tender.cancel()
        await asyncio.gather(*tenders, return_exceptions=True)
        await asyncio.gather(*self._notes)

    def canonical_model(self, model: str | None) -> str:
        """Name the model that will run: case and `sentence-transformers/` make no difference.

        Raises:
            InvalidTask: `unsupported_model`.
        """
        if model is None:
            return self._default_model
        known = self._allowed.get(_key(model))
        if known is None:
            raise InvalidTask(
                "unsupported_model",
                f"the model {model[:100]!r} is not served here; served are "
                + ", ".join(sorted(self._allowed.values())),
            )
        return known

    async def load(self, model: str) -> LoadedModel:
        """Load a model into all processes, and say what was loaded.

        Raises:
            ModelUnavailable: no process can load it, or it is larger than the bound on memory.
        """
        state = self._state(model)
        waiter: asyncio.Future[LoadedModel] = asyncio.get_running_loop().create_future()
        self._forgive(state)
        state.waiters[waiter] = None
        self._wake()
        place: Place | None = None
        try:
            await self._locate(state)
            place = await self._memory.enter(state.name, self._cost(state))
            if waiter in state.waiters:
                state.waiters[waiter] = place
            self._settle(state)
            self._wake()
            return await waiter
        finally:
            if not waiter.cancel() and not waiter.cancelled():
                waiter.exception()  # seen, should nobody have waited for it
            state.waiters.pop(waiter, None)
            if place is not None:
                self._memory.leave(place)

    async def unload(self, model: str) -> None:
        """Have all processes let go of a model once no call uses it, and wait for that.

        Calls that come meanwhile load it again.

        Raises:
            InvalidTask: `unsupported_model`.
            ModelUnavailable: the embedder is not open, or is closed meanwhile.
        """
        await self._memory.free(self._state(model).name)

    async def room(self, model: str, texts: Sequence[str]) -> int:  # noqa: ARG002
        """See `aletheia.analysis.ports.Embedder.room`; nothing is limited here."""
        return len(texts)

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """Embed texts, equal ones once, in groups as they are done.

        Raises:
            ModelUnavailable: the model cannot be found or loaded, or is larger than the bound on
                memory.
        """
        if not texts:
            return
        state = self._state(model)
        job = _Job(state, texts)
        self._forgive(state)
        self._jobs.append(job)
        self._wake()
        try:
            await self._locate(state)
            job.place = await self._memory.enter(state.name, self._cost(state))
            self._wake()
            while job.unanswered:
                answers = await job.next_answers()
                job.unanswered -= len(answers)
                yield answers
        finally:
            job.is_over = True
            with suppress(ValueError):
                self._jobs.remove(job)
            if job.place is not None:
                self._memory.leave(job.place)

    def _state(self, model: str) -> "_Model":
        name = self.canonical_model(model)
        if not self._is_open:
            raise ModelUnavailable(name, "the embedder is not open")
        return self._models.setdefault(name, _Model(name))

    def _forgive(self, model: "_Model") -> None:
        """Let processes that could not load a model try again, at the start of new work on it."""
        if not self._is_wanted(model):
            model.failures.clear()

    def _is_wanted(self, model: "_Model") -> bool:
        return bool(model.waiters) or any(job.model is model for job in self._jobs)

    def _wake(self) -> None:
        if not self._is_open:
            return
        if not self._tenders:
            self._tenders = [asyncio.create_task(self._tend(slot)) for slot in range(self._count)]
        for wake in self._wakes:
            wake.set()

    async def _locate(self, model: "_Model") -> None:
        """Find a model's files, in a thread that nobody has to wait for.

        A download that takes longer than `load_timeout_s` goes on, and the next call finds it.
        """
        if model.files is not None:
            return
        if model.search is None:
            model.search = in_thread(functools.partial(look_for, self._find, model.name))
        search = model.search
        try:
            async with asyncio.timeout(self._load_timeout_s):
                found = await asyncio.shield(search)
        except TimeoutError:
            reason = (
                f"its files were not there after {self._load_timeout_s:g} s; the search goes on"
            )
            raise ModelUnavailable(model.name, reason) from None
        if model.search is search:
            model.search = None
        if isinstance(found, ModelUnavailable):
            raise ModelUnavailable(model.name, found.reason)
        model.files, model.weights_bytes = found
        self._wake()

    def _cost(self, model: "_Model") -> int:
        """Say what a model takes in all processes: as measured, or else at least its weights."""
        return self._count * max(model.memory_bytes, model.weights_bytes)

    async def _tend(self, slot: int) -> None:
        """Keep one process at work, for ever."""
        wake = self._wakes[slot]
        while True:
            wake.clear()
            if not any(
                self._is_wanted(model) and slot not in model.failures
                for model in self._models.values()
            ):
                await wake.wait()
                continue
            try:
                process = await _Process.start((*self._command, str(self._threads)), wake)
            except OSError as error:
                self._give_up(slot, f"the process does not start ({error})")
                continue
            self._processes[slot] = process
            hung = None
            try:
                hung = await self._drive(slot, process)
            except Exception as error:  # noqa: BLE001 - the calls would wait for ever
                hung = f"it answered nonsense ({error!r})"
            finally:
                del self._processes[slot]
                for name in process.loaded:
                    self._models[name].ready.discard(slot)
                for model in self._models.values():
                    self._note_gone(model)
                await process.end(is_stuck=hung is not None)
            self._recover(slot, process, hung or process.fate())

    async def _drive(self, slot: int, process: "_Process") -> str | None:
        """Give a process work and take its answers until it dies, or until it is seen to hang."""
        while True:
            process.wake.clear()
            while process.inbox:
                self._accept(slot, process, *process.inbox.popleft())
            if process.is_over:
                return None
            while len(process.in_flight) < IN_FLIGHT:
                request = self._next_request(slot, process)
                if request is None:
                    break
                process.send(request, self._frame(request), self._limit_s(request))
            try:
                async with asyncio.timeout_at(process.deadline):
                    await process.wake.wait()
            except TimeoutError:
                return f"it gave no answer for {self._limit_s(process.in_flight[0]):g} s"

    def _limit_s(self, request: "_Request") -> float:
        return self._load_timeout_s if isinstance(request, _Load) else self._batch_timeout_s

    def _next_request(self, slot: int, process: "_Process") -> "_Request | None":
        """Choose what a process does next; calls take turns, batch by batch."""
        for model in self._models.values():
            if model.is_leaving:
                if model.name in process.loaded and not any(
                    isinstance(r, _Unload) and r.model is model for r in process.in_flight
                ):
                    return _Unload(model)
                continue
            if (
                model.files is not None
                and slot not in model.failures
                and model.name not in process.loaded
                and self._memory.has(model.name)
                and self._is_wanted(model)
                and not any(isinstance(r, _Load) and r.model is model for r in process.in_flight)
            ):
                return _Load(model, model.files)
        left = sum(job.left for job in self._jobs if job.model.name in process.loaded)
        share = math.ceil(left / (IN_FLIGHT * self._count))
        most = min(self._batch_size, max(share, MIN_BATCH))
        for _ in range(len(self._jobs)):
            job = self._jobs[0]
            self._jobs.rotate(-1)
            if (
                job.place is not None
                and job.model.name in process.loaded
                and (rows := job.take(most))
            ):
                return _Batch(job, rows)
        return None

    def _frame(self, request: "_Request") -> bytes:
        if isinstance(request, _Load):
            return pack_frame(
                {
                    "op": "load",
                    "model": request.model.name,
                    "path": str(request.files.path),
                    "long_text": self._long_text,
                }
            )
        if isinstance(request, _Unload):
            return pack_frame({"op": "unload", "model": request.model.name})
        lengths, body = pack_texts(request.job.texts[row] for row in request.rows)
        return pack_frame(
            {"op": "embed", "model": request.job.model.name, "lengths": lengths}, body
        )

    def _accept(self, slot: int, process: "_Process", header: Header, body: bytes) -> None:
        request = process.in_flight[0]
        if isinstance(request, _Load):
            self._accept_load(slot, process, request, header)
        elif isinstance(request, _Unload):
            if header["op"] != "unloaded":
                raise ValueError(header["op"])
            process.loaded.pop(request.model.name, None)
            request.model.ready.discard(slot)
        else:
            if header["op"] != "embedded":
                raise ValueError(header["op"])
            dimensions = process.loaded[request.job.model.name].dimensions
            answers = _read_vectors(header, body, len(request.rows), dimensions)
            process.compute_s += float(header["compute_s"])
            process.texts += len(request.rows)
            request.job.answer(zip(request.rows, answers, strict=True))
        process.resident_bytes = int(header.get("resident_bytes", process.resident_bytes))
        process.has_answered = True
        process.in_flight.popleft()
        if isinstance(request, _Unload):
            self._note_gone(request.model)
        if process.in_flight:
            process.start_clock(self._limit_s(process.in_flight[0]))
        else:
            process.deadline = None

    def _accept_load(
        self, slot: int, process: "_Process", request: "_Load", header: Header
    ) -> None:
        model, files = request.model, request.files
        if header["op"] == "failed":
            self._fail_slot(model, slot, str(header["reason"]))
            return
        if header["op"] != "loaded":
            raise ValueError(header["op"])
        grown = int(header.get("memory_bytes", 0))
        model.memory_bytes = max(model.memory_bytes, model.weights_bytes, grown)
        is_first = model.loaded is None
        if is_first:
            limit = header["max_tokens"]
            model.loaded = LoadedModel(
                name=model.name,
                source=files.source,
                path=files.path,
                revision=files.revision,
                weights_sha256=files.weights_sha256,
                dimensions=int(header["dimensions"]),
                max_tokens=None if limit is None else int(limit),
                kernels=tuple(map(str, header["kernels"])),
                load_s=float(header["load_s"]),
                memory_bytes=model.memory_bytes,
            )
            log.info(
                "model %s loaded in %.1f s from %s (%s), kernels %s, %d MB",
                model.name,
                model.loaded.load_s,
                files.source,
                files.path,
                model.loaded.kernels,
                model.memory_bytes // 1_000_000,
            )
        assert model.loaded is not None
        process.loaded[model.name] = model.loaded
        model.ready.add(slot)
        if is_first:
            self._note(model, "loaded")
        cost = self._cost(model)
        self._memory.measure(model.name, cost)
        try:
            self._memory.check(model.name, cost)
        except ModelUnavailable as too_large:
            self._fail(model, too_large.reason)
        self._settle(model)

    def _settle(self, model: "_Model") -> None:
        """Answer those who wait for a model once every process has loaded it or cannot."""
        if model.loaded and model.ready and len(model.ready) + len(model.failures) == self._count:
            for waiter, place in model.waiters.items():
                if place is not None and not waiter.done():
                    waiter.set_result(model.loaded)

    def _fail_slot(self, model: "_Model", slot: int, reason: str) -> None:
        """Note that a process cannot load a model; when none can, its calls fail."""
        log.warning("model %s not loaded: %s", model.name, reason)
        model.failures[slot] = reason
        if len(model.failures) == self._count:
            self._fail(model, "; ".join(dict.fromkeys(model.failures.values())))
        self._settle(model)

    def _fail(self, model: "_Model", reason: str) -> None:
        for job in [job for job in self._jobs if job.model is model]:
            job.answers.put_nowait(ModelUnavailable(model.name, reason))
            self._jobs.remove(job)
        for waiter in model.waiters:
            if not waiter.done():
                waiter.set_exception(ModelUnavailable(model.name, reason))
        if not self._is_anywhere(model):
            self._memory.gone(model.name)
        model.waiters.clear()
        model.failures.clear()
        model.files = model.loaded = None

    def _evict(self, place: Place, *, is_for_room: bool) -> None:
        """Have every process let go of a model."""
        model = self._models[place.model]
        model.is_leaving = True
        log.info("model %s is unloaded%s", model.name, " to make room" if is_for_room else "")
        self._note(model, "evicted" if is_for_room else "unloaded", place)
        self._wake()
        asyncio.get_running_loop().call_soon(self._note_gone, model)

    def _note_gone(self, model: "_Model") -> None:
        """Give a model's place away once no process has it."""
        if model.is_leaving and not self._is_anywhere(model):
            model.is_leaving = False
            model.loaded = None
            self._memory.gone(model.name)

    def _is_anywhere(self, model: "_Model") -> bool:
        """Tell whether a process has a model, or is loading it and has not failed."""
        return any(
            model.name in process.loaded
            or (
                slot not in model.failures
                and any(isinstance(r, _Load) and r.model is model for r in process.in_flight)
            )
            for slot, process in self._processes.items()
        )

    def _note(
        self,
        model: "_Model",
        kind: EventKind,
        place: Place | None = None,
    ) -> None:
        """Write down what became of a model, beside the work."""
        if self._write_down is None or model.loaded is None:
            return
        is_new = kind == "loaded"
        event = ModelEvent(
            LOCAL,
            model.name,
            kind,
            load_s=model.loaded.load_s if is_new else None,
            memory_bytes=self._cost(model) if is_new else None,
            size_bytes=model.weights_bytes if is_new else None,
            used_at=place.used_at if place else time.time(),
        )
        note = asyncio.create_task(_write(self._write_down, event))
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    def _give_up(self, slot: int, reason: str) -> None:
        for model in self._models.values():
            if self._is_wanted(model):
                self._fail_slot(model, slot, reason)

    def _recover(self, slot: int, process: "_Process", reason: str) -> None:
        """Have another process do what one did not finish."""
        self._deaths += 1
        said = process.said()
        log.warning("model process %d died: %s; it said %r", process.pid, reason, said)
        told = f"a process failed: {reason}" + (f"; it said {said!r}" if said else "")
        if not process.in_flight:
            if not process.has_answered:
                self._give_up(slot, told)
            return
        # The first is what it was working on; what came after it is not to blame.
        culprit, *innocent = process.in_flight
        if isinstance(culprit, _Load):
            self._fail_slot(culprit.model, slot, told)
        elif isinstance(culprit, _Batch):
            culprit.job.blame(culprit.rows, self._max_retries, reason)
        for request in innocent:
            if isinstance(request, _Batch):
                request.job.again.append(request.rows)
        self._wake()


@dataclass(slots=True, eq=False)
class _Model:
    """A model, as far as it is known.

    Attributes:
        files: where it is, once found.
        weights_bytes: the size of its weights on disk, once found.
        memory_bytes: the most that a process grew with it; 0 as long as none has loaded it.
        is_leaving: whether the processes have to let go of it.
        search: the search under way.
        loaded: what it is, once a process has loaded it.
        ready: the slots whose processes have it.
        failures: why the process of a slot could not load it.
        waiters: calls of `load`, each with its place once it has one.
    """

    name: str
    files: ModelFiles | None = None
    weights_bytes: int = 0
    memory_bytes: int = 0
    is_leaving: bool = False
    search: "asyncio.Future[Found] | None" = None
    loaded: LoadedModel | None = None
    ready: set[int] = field(default_factory=set[int])
    failures: dict[int, str] = field(default_factory=dict[int, str])
    waiters: "dict[asyncio.Future[LoadedModel], Place | None]" = field(
        default_factory=dict["asyncio.Future[LoadedModel]", Place | None]
    )


class _Job:
    """One call of `embed`.

    Attributes:
        model: what to embed with.
        texts: the different texts; rows are indices into it.
        answers: what the call yields, or why it ends.
        unanswered: texts of the call, equal ones counted, that it has not yielded yet.
        again: batches that a process did not finish.
        is_over: whether anybody still wants the answers.
        place: the model's place in memory, once the call has it.
    """

    def __init__(self, model: _Model, texts: Sequence[str]) -> None:
        places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            places.setdefault(text, []).append(place)
        self.model = model
        self.texts = sorted(places, key=len, reverse=True)
        self.answers: Answers = asyncio.Queue()
        self.unanswered = len(texts)
        self.again: deque[list[int]] = deque()
        self.is_over = False
        self.place: Place | None = None
        self._places = [places[text] for text in self.texts]
        self._next = 0
        self._crashes: dict[int, int] = {}
        self._ending: AletheiaError | None = None

    @property
    def left(self) -> int:
        """How many of its texts no process has been given yet."""
        return len(self.texts) - self._next

    def take(self, most: int) -> list[int]:
        """Take a batch of so many texts at most, the longest first; empty if none is left."""
        if self.again:
            return self.again.popleft()
        wanted = min(self.left, most)
        rows: list[int] = []
        characters = 0
        while len(rows) < wanted:
            characters += len(self.texts[self._next])
            if rows and characters > MAX_BATCH_CHARACTERS:
                break
            rows.append(self._next)
            self._next += 1
        return rows

    async def next_answers(self) -> list[Embedded]:
        """Wait for answers, and for some more that come soon after: they are kept together.

        Raises:
            AletheiaError: why the call ends.
        """
        together: list[Embedded] = []
        until: float | None = None
        while self._ending is None and len(together) < min(TOGETHER, self.unanswered):
            try:
                async with asyncio.timeout_at(until):
                    answers = await self.answers.get()
            except TimeoutError:
                break
            if isinstance(answers, AletheiaError):
                self._ending = answers
            else:
                together += answers
                until = until or asyncio.get_running_loop().time() + TOGETHER_S
        if self._ending is not None and not together:
            raise self._ending
        return together

    def answer(self, results: Iterable[tuple[int, Embedding | AletheiaError]]) -> None:
        """Pass on what became of rows."""
        if not self.is_over:
            self.answers.put_nowait(
                [Embedded(place, result) for row, result in results for place in self._places[row]]
            )

    def blame(self, rows: list[int], max_retries: int, reason: str) -> None:
        """Note that a process died over rows: next time each is on its own, some day it fails."""
        for row in rows:
            crashes = self._crashes[row] = self._crashes.get(row, 0) + 1
            if len(rows) > 1 or crashes <= max_retries:
                self.again.append([row])
                continue
            message = f"the model's process failed {crashes} times over this text: {reason}"
            self.answer([(row, ComputeFailed("model_crashed", message))])


@dataclass(frozen=True, slots=True)
class _Load:
    model: _Model
    files: ModelFiles


@dataclass(frozen=True, slots=True)
class _Unload:
    model: _Model


@dataclass(frozen=True, slots=True)
class _Batch:
    job: _Job
    rows: list[int]


_Request: TypeAlias = _Load | _Unload | _Batch
_Process: TypeAlias = ModelProcess[_Request]


def _read_vectors(
    header: Header, body: bytes, texts: int, dimensions: int
) -> list[Embedding | AletheiaError]:
    """Read the answer to a batch, and check every vector.

    Raises:
        KeyError, TypeError, ValueError: it is not an answer to this batch.
    """
    tokens = cast("list[int]", header["tokens"])
    if len(tokens) != texts:
        raise ValueError(f"{len(tokens)} answers for {texts} texts")
    failed = {int(one[0]): _read_error(*one[1:]) for one in header["failed"]}
    truncated = set(cast("list[int]", header["truncated"]))
    good = texts - len(failed)
    numbers: NDArray[np.float32] = np.frombuffer(body, np.float32)
    vectors = numbers.reshape(good, len(numbers) // good if good else dimensions)
    if vectors.shape[1] == dimensions:
        is_sound = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        fault = "it is zero, or not all of it is a finite number"
    else:
        is_sound = np.zeros(good, np.bool_)
        fault = f"it has {vectors.shape[1]} dimensions instead of {dimensions}"
    rows = iter(zip(vectors, cast("list[bool]", is_sound.tolist()), strict=True))
    answers: list[Embedding | AletheiaError] = []
    for index in range(texts):
        if index in failed:
            answers.append(failed[index])
            continue
        vector, sound = next(rows)
        answers.append(
            Embedding(vector, tokens[index], index in truncated)
            if sound
            else ComputeFailed("bad_vector", f"the model gave a vector that is none: {fault}")
        )
    return answers


def _read_error(kind: str, code: str, message: str) -> AletheiaError:
    return (InvalidTask if kind == "InvalidTask" else ComputeFailed)(code, message)


def _find_as_usual(model_dir: Path | None, default_model: str, model: str) -> ModelFiles:
    return find_model(
        model,
        hub=HuggingFaceHub(),
        model_dir=model_dir,
        is_default=model == default_model,
        packaged=packaged_copy(),
    )


def look_for(find: Callable[[str], ModelFiles], model: str) -> Found:
    """Look for a model, whatever happens on the way."""
    try:
        files = find(model)
        return files, weights_bytes(files.path)
    except ModelUnavailable as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever stands in the way, there is no model
        return ModelUnavailable(model, f"looking for it failed: {error!r}")


def in_thread(work: Callable[[], Found]) -> "asyncio.Future[Found]":
    """Run something in a thread that does not keep the interpreter from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()

    def settle(result: Found) -> None:
        if not future.done():
            future.set_result(result)

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, daemon=True, name="model-search").start()
    return future


def weights_bytes(directory: Path) -> int:
    """Add up the sizes of a model's weights on disk."""
    return sum(file.stat().st_size for file in directory.rglob("*.safetensors"))


async def _write(write: Callable[[ModelEvent], Awaitable[None]], event: ModelEvent) -> None:
    try:
        await write(event)
    except AletheiaError as error:
        log.warning("what became of %s could not be written down: %s", event.model, error)


def _cores() -> int:
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _key(model: str) -> str:
    """What is the same for all names of one model."""
    return re.sub(rf"^{HUB_ORGANISATION}/", "", model.casefold())
