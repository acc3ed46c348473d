"""The model processes of an embedder, each driven by a coroutine, with two requests in it."""

import asyncio
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.embedding.parts import check_vectors
from aletheia.adapters.local.jobs import Batch, Load, Request, Unload
from aletheia.adapters.local.lifecycle import LOCAL, Lifecycle
from aletheia.adapters.local.process import ModelProcess
from aletheia.adapters.local.wire import Header, pack_frame, pack_texts
from aletheia.analysis.model_settings import ModelSettings
from aletheia.analysis.ports import Embedding
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask
from aletheia.settings import EmbeddingSettings

log = logging.getLogger(__name__)

IN_FLIGHT: Final = 2
"""Requests given to a process at a time: the one it works on and the next."""

MIN_BATCH: Final = 4
"""Smallest batch when no other work waits: small ones let all processes end together."""


class ProcessPool:
    """The processes that compute for an embedder, each started by `command` and its threads."""

    def __init__(
        self,
        settings: EmbeddingSettings,
        lifecycle: Lifecycle,
        *,
        count: int,
        command: Sequence[str],
        max_retries: int,
        models: ModelSettings,
    ) -> None:
        self.is_open = False
        self.deaths = 0  # of processes that ended by themselves, or hung
        self._settings, self._lifecycle, self._models = settings, lifecycle, models
        self._command, self._max_retries = command, max_retries
        self._wakes = [asyncio.Event() for _ in range(count)]
        self.processes: list[ModelProcess] = []  # that are running
        self._drivers: list[asyncio.Task[None]] = []
        self._ending = set[asyncio.Task[None]]()

    def wake(self) -> None:
        """Make every driver look for work."""
        if not self.is_open:
            return
        if not self._drivers:
            slots = range(len(self._wakes))
            self._drivers = [asyncio.create_task(self._drive_for_ever(slot)) for slot in slots]
        for wake in self._wakes:
            wake.set()

    async def close(self) -> None:
        """End all processes. Idempotent; where it is cancelled, they end all the same."""
        self.is_open = False
        drivers, self._drivers = self._drivers, []
        for driver in drivers:
            self._ending.add(driver)
            driver.add_done_callback(self._ending.discard)
            driver.cancel()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _drive_for_ever(self, slot: int) -> None:
        """Keep the process of a slot at work, and replace it when it ends."""
        wake = self._wakes[slot]
        while True:
            wake.clear()
            if not any(
                self._lifecycle.is_wanted(model) and slot not in model.failures
                for model in self._lifecycle.models.values()
            ):
                await wake.wait()
                continue
            starting = asyncio.create_task(ModelProcess.start(self._command, wake))
            try:
                process = await asyncio.shield(starting)
            except asyncio.CancelledError:
                with suppress(OSError):
                    await (await starting).end(is_stuck=True)
                raise
            except OSError as error:
                self._lifecycle.fail_wanted(slot, f"the process does not start ({error})")
                continue
            self.processes.append(process)
            fault = None
            try:
                fault = await self._drive(slot, process)
            except Exception as error:  # noqa: BLE001 - the calls would wait for ever
                fault = f"it answered nonsense ({error!r})"
            finally:
                self.processes.remove(process)
                self._lifecycle.end_slot(slot)
                await process.end(is_stuck=fault is not None)
            self._recover(slot, process, fault or process.fate())

    async def _drive(self, slot: int, process: ModelProcess) -> str | None:
        """Send requests and take answers until a process ends; return how it hung, if it did."""
        while True:
            process.wake.clear()
            while process.inbox:
                self._accept(slot, process, *process.inbox.popleft())
            if process.is_over:
                return None
            while len(process.in_flight) < IN_FLIGHT:
                request = self._next_request(slot)
                if request is None:
                    break
                self._send(slot, process, request)
            try:
                async with asyncio.timeout_at(process.deadline):
                    await process.wake.wait()
            except TimeoutError:
                return f"it gave no answer for {self._limit_s(process.in_flight[0]):g} s"

    def _limit_s(self, request: Request) -> float:
        if isinstance(request, Load):
            return self._settings.model_load_timeout
        return self._settings.task_timeout

    def _next_request(self, slot: int) -> Request | None:
        """Choose what a process does next; calls take turns, batch by batch."""
        for model in self._lifecycle.models.values():
            if model.is_leaving:
                if slot in model.ready and slot not in model.unloading:
                    return Unload(model)
            elif (
                model.files is not None
                and not any(slot in slots for slots in (model.failures, model.ready, model.loading))
                and self._lifecycle.memory.has(model.name)
                and self._lifecycle.is_wanted(model)
            ):
                return Load(model, model.files)
        jobs = self._lifecycle.jobs
        left = sum(job.left for job in jobs if slot in job.model.ready)
        share = math.ceil(left / (IN_FLIGHT * len(self._wakes)))
        max_texts = min(self._settings.local_batch_size, max(share, MIN_BATCH))
        for _ in range(len(jobs)):
            job = jobs[0]
            jobs.rotate(-1)
            if job.place is not None and slot in job.model.ready and (rows := job.take(max_texts)):
                return Batch(job, rows)
        return None

    def _send(self, slot: int, process: ModelProcess, request: Request) -> None:
        match request:
            case Load(model, files):
                model.loading.add(slot)
                header = {
                    "op": "load",
                    "model": model.name,
                    "path": str(files.path),
                    "long_text": self._settings.long_text or "truncate",
                    "precision": self._models.local_model_precision,
                    "device": self._models.local_model_device,
                }
                frame = pack_frame(header)
            case Unload(model):
                model.unloading.add(slot)
                frame = pack_frame({"op": "unload", "model": model.name})
            case Batch(job, rows):
                lengths, body = pack_texts(job.texts[row] for row in rows)
                header = {"op": "embed", "model": job.model.name, "lengths": lengths}
                frame = pack_frame(header, body)
        process.send(request, frame, self._limit_s(request))

    def _accept(self, slot: int, process: ModelProcess, header: Header, body: bytes) -> None:
        """Take the answer to a process's first request in flight."""
        request = process.in_flight[0]
        match request:
            case Load(model):
                loaded = self._lifecycle.accept_load(slot, request, header)
                if loaded is not None:
                    process.loaded[model.name] = loaded
            case Unload(model):
                _check_answer(header, "unloaded")
                process.loaded.pop(model.name, None)
                model.ready.discard(slot)
                model.unloading.discard(slot)
                self._lifecycle.note_gone(model)
            case Batch(job, rows):
                _check_answer(header, "embedded")
                dimensions, name = process.loaded[job.model.name].dimensions, job.model.name
                answers = _read_vectors(header, body, len(rows), dimensions)
                if (vectors := self._models.name_vectors(name)) != name:
                    answers = [_name_model(answer, vectors) for answer in answers]
                job.answer(zip(rows, answers, strict=True))
        process.has_answered = True
        process.in_flight.popleft()
        if process.in_flight:
            process.start_clock(self._limit_s(process.in_flight[0]))
        else:
            process.deadline = None

    def _recover(self, slot: int, process: ModelProcess, reason: str) -> None:
        """Pass what a process did not finish on to the next one."""
        self.deaths += 1
        said = process.said()
        log.warning("model process %d died: %s; it said %r", process.pid, reason, said)
        shown = f"a process failed: {reason}" + (f"; it said {said!r}" if said else "")
        if not process.in_flight:
            if not process.has_answered:
                self._lifecycle.fail_wanted(slot, shown)
            return
        # The first is what it was working on; what came after it is not to blame.
        culprit, *innocent = process.in_flight
        if isinstance(culprit, Load):
            self._lifecycle.fail_slot(culprit.model, slot, shown)
        elif isinstance(culprit, Batch):
            culprit.job.blame(culprit.rows, self._max_retries, reason)
        for request in innocent:
            if isinstance(request, Batch):
                request.job.again.append(request.rows)
        self.wake()


def _check_answer(header: Header, op: str) -> None:
    if header["op"] != op:
        raise ValueError(header["op"])


def _name_model(answer: Embedding | AletheiaError, name: str) -> Embedding | AletheiaError:
    return answer if isinstance(answer, AletheiaError) else replace(answer, model=name)


def _read_vectors(
    header: Header, body: bytes, texts: int, dimensions: int
) -> list[Embedding | AletheiaError]:
    """Return an embedding or a fault for each text, in order; `ValueError` and the like if none."""
    tokens = cast("list[int]", header["tokens"])
    if len(tokens) != texts:
        raise ValueError(f"{len(tokens)} answers for {texts} texts")
    failed = {
        int(index): (InvalidTask if kind == "InvalidTask" else ComputeFailed)(code, message)
        for index, kind, code, message in header["failed"]
    }
    truncated = set(cast("list[int]", header["truncated"]))
    good = texts - len(failed)
    numbers: NDArray[np.float32] = np.frombuffer(body, np.float32)
    rows = numbers.reshape(good, len(numbers) // good if good else 0)
    vectors = iter(check_vectors(list(rows), dimensions, LOCAL))
    answers: list[Embedding | AletheiaError] = []
    for index in range(texts):
        result = failed[index] if index in failed else next(vectors)
        if not isinstance(result, AletheiaError):
            result = Embedding(result, tokens[index], index in truncated)
        answers.append(result)
    return answers
