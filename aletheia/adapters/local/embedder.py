"""Embeds texts with local models, in processes of their own beside a parent without torch.

A model stays in memory until its place is needed, see `ModelMemory`.
"""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from aletheia.adapters.local.jobs import Job
from aletheia.adapters.local.lifecycle import LOCAL, Lifecycle, Note
from aletheia.adapters.local.memory import Place
from aletheia.adapters.local.pool import ProcessPool
from aletheia.adapters.local.process import COMMAND, LoadedModel, ProcessStatus
from aletheia.adapters.local.search import Find, usual_find
from aletheia.adapters.local.source import HUB_ORGANISATION, full_name
from aletheia.analysis.model_manager import ModelRow
from aletheia.analysis.ports import Embedded, LongText
from aletheia.errors import InvalidTask, ModelUnavailable
from aletheia.settings import EmbeddingSettings

MAX_PROCESSES: Final = 4
"""Number of processes where it is not set; each holds the model."""


class LocalEmbedder:
    """Embeds texts with sentence-transformers models in processes of its own.

    Belongs to one event loop. Processes start with the first `embed` or `load` and stay until
    `close`; each loads a model once. Several calls may run at the same time and share them.

    Args:
        default_model: for tasks that name no model.
        supported_models: further models that tasks may name.
        model_dir: `LOCAL_MODEL_DIR`.
        processes: how many; 0 is one a core, at most `MAX_PROCESSES`.
        batch_size: texts in one request to a process, at most.
        long_text: what happens to texts longer than the model reads.
        load_timeout_s: for finding a model, and again for loading it into a process.
        batch_timeout_s: for computing one batch.
        max_retries: tries of a text alone after the first, if its process dies.
        memory_max_bytes: what models may take in all processes together, beside the libraries,
            before the least recently used one is unloaded; 0 is no bound.
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
        note: Note | None = None,
        find: Find | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._default_model = full_name(default_model)
        allowed = (self._default_model, *map(full_name, supported_models))
        self._allowed = {_key(name): name for name in reversed(allowed)}
        cores = _cores()
        count = processes or min(MAX_PROCESSES, cores)
        self._lifecycle = Lifecycle(
            processes=count,
            find=find or usual_find(model_dir, self._default_model),
            load_timeout_s=load_timeout_s,
            memory_max_bytes=memory_max_bytes,
            note=note,
            wake=lambda: self._pool.wake(),  # noqa: PLW0108 - the pool is built below
        )
        self._pool = ProcessPool(
            self._lifecycle,
            processes=count,
            command=(*command, str(max(1, cores // count))),
            batch_size=batch_size,
            long_text=long_text,
            load_timeout_s=load_timeout_s,
            batch_timeout_s=batch_timeout_s,
            max_retries=max_retries,
        )

    @classmethod
    def from_settings(
        cls,
        settings: EmbeddingSettings,
        *,
        max_retries: int = 3,
        memory_max_bytes: int = 0,
        note: Note | None = None,
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
        return self._pool.processes

    @property
    def is_open(self) -> bool:
        """Whether models can be loaded."""
        return self._pool.is_open

    @property
    def served(self) -> tuple[str, ...]:
        """The full names of the models that tasks may name, the default one first."""
        return tuple(dict.fromkeys((self._default_model, *sorted(self._allowed.values()))))

    @property
    def models(self) -> tuple[LoadedModel, ...]:
        """The models that are loaded."""
        states = self._lifecycle.models.values()
        return tuple(model.loaded for model in states if model.loaded)

    @property
    def deaths(self) -> int:
        """How many processes have died or were ended because they hung."""
        return self._pool.deaths

    def held(self) -> list[ModelRow]:
        """List the models that are in memory, the least recently used first."""
        return self._lifecycle.rows()

    async def open(self) -> None:
        """Accept calls from now on; nothing is started yet. Idempotent."""
        self._pool.is_open = True

    async def close(self) -> None:
        """End all processes, within 5 s; calls under way get `ModelUnavailable`. Idempotent."""
        self._pool.is_open = False
        self._lifecycle.close("the embedder was closed")
        await self._pool.close()
        await self._lifecycle.flush_notes()

    def canonical_model(self, model: str | None) -> str:
        """Return the full name of a model; case and `sentence-transformers/` make no difference.

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
        """Load a model into all processes.

        Raises:
            InvalidTask: `unsupported_model`.
            ModelUnavailable: no process can load it, or it is larger than the bound on memory.
        """
        name = self._check_open(model)
        state = self._lifecycle.state(name)
        waiter: asyncio.Future[LoadedModel] = asyncio.get_running_loop().create_future()
        state.waiters[waiter] = None
        self._pool.wake()
        place: Place | None = None
        try:
            place = await self._lifecycle.enter(state)
            if waiter in state.waiters:
                state.waiters[waiter] = place
            self._lifecycle.settle(state)
            self._pool.wake()
            return await waiter
        finally:
            if not waiter.cancel() and not waiter.cancelled():
                waiter.exception()  # marks it as retrieved, should nobody have waited for it
            state.waiters.pop(waiter, None)
            if place is not None:
                self._lifecycle.memory.leave(place)

    async def unload(self, model: str) -> None:
        """Unload a model from all processes once no call uses it, and wait for that.

        Calls that come meanwhile load it again.

        Raises:
            InvalidTask: `unsupported_model`.
            ModelUnavailable: the embedder is not open, or is closed meanwhile.
        """
        await self._lifecycle.memory.free(self._check_open(model))

    async def capacity(self, model: str, texts: Sequence[str]) -> int:  # noqa: ARG002 - the port's
        """Return the number of texts: nothing is limited here."""
        return len(texts)

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """Embed texts, equal ones once, in groups as they are done.

        Raises:
            InvalidTask: `unsupported_model`.
            ModelUnavailable: the model cannot be found or loaded, or is larger than the bound on
                memory.
        """
        if not texts:
            return
        state = self._lifecycle.state(self._check_open(model))
        job = Job(state, texts)
        self._lifecycle.jobs.append(job)
        self._pool.wake()
        try:
            job.place = await self._lifecycle.enter(state)
            self._pool.wake()
            while job.unanswered:
                answers = await job.next_answers()
                job.unanswered -= len(answers)
                yield answers
        finally:
            job.is_over = True
            with suppress(ValueError):
                self._lifecycle.jobs.remove(job)
            if job.place is not None:
                self._lifecycle.memory.leave(job.place)

    def _check_open(self, model: str) -> str:
        """Return a model's full name; raise `ModelUnavailable` if the embedder is not open."""
        name = self.canonical_model(model)
        if not self.is_open:
            raise ModelUnavailable(name, "the embedder is not open")
        return name


def _cores() -> int:
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _key(model: str) -> str:
    """Return what all names of one model have in common."""
    return re.sub(rf"^{HUB_ORGANISATION}/", "", model.casefold())
