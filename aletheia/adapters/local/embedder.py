"""Embeds texts with local models, in processes of their own beside a parent without torch."""

import os
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aletheia.adapters.local.jobs import Job, LoadedModel
from aletheia.adapters.local.lifecycle import LOCAL, Lifecycle, Note
from aletheia.adapters.local.pool import ProcessPool
from aletheia.adapters.local.process import COMMAND, ModelProcess
from aletheia.adapters.local.source import HUB_ORGANISATION, Find, ModelSources, full_name
from aletheia.analysis.model_manager import ModelRow
from aletheia.analysis.ports import Embedded
from aletheia.errors import AletheiaError, InvalidTask, ModelUnavailable
from aletheia.settings import EmbeddingSettings

MAX_PROCESSES: Final = 4
"""Number of processes where it is not set; each holds the model."""


class LocalEmbedder:
    """Embeds texts with sentence-transformers models in processes of its own.

    Belongs to one event loop. Processes start with the first `embed` or `load` and stay until
    `close`; each loads a model once. Several calls may run at the same time and share them.

    Args:
        settings: the models that tasks may name, processes, batches and bounds.
        max_retries: tries of a text alone after the first, if its process dies.
        note: writes down what became of a model; what it raises is logged.
        find: finds a model's files; in all sources of SPEC §2 if not given.
        command: starts a process, see `COMMAND`.

    Raises:
        Misconfigured: the default or a supported model is not the name of a model.
    """

    provider: str = LOCAL
    is_mock: bool = False

    def __init__(
        self,
        settings: EmbeddingSettings,
        *,
        max_retries: int = 3,
        note: Note | None = None,
        find: Find | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._default_model = full_name(settings.default_model)
        allowed = (self._default_model, *map(full_name, settings.supported_models))
        self._allowed = {_key(name): name for name in reversed(allowed)}
        cores = _cores()
        count = settings.local_model_processes or min(MAX_PROCESSES, cores)
        self._lifecycle = Lifecycle(
            settings,
            count=count,
            find=find or ModelSources.from_settings(settings).find,
            note=note,
            wake=lambda: self._pool.wake(),  # noqa: PLW0108 - the pool is built below
        )
        self._pool = ProcessPool(
            settings,
            self._lifecycle,
            count=count,
            command=(*command, str(max(1, cores // count))),
            max_retries=max_retries,
        )

    @property
    def processes(self) -> tuple[ModelProcess, ...]:
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

    async def load(self, model: str) -> None:
        """Load a model into all processes.

        Raises:
            InvalidTask: `unsupported_model`.
            ModelUnavailable: no process can load it, or it is larger than the bound on memory.
        """
        async with self._job(model, ()) as job:
            self._lifecycle.settle(job.model)
            answer = await job.answers.get()
            if isinstance(answer, AletheiaError):
                raise answer

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
        async with self._job(model, texts) as job:
            while job.unanswered:
                answers = await job.next_answers()
                job.unanswered -= len(answers)
                yield answers

    @asynccontextmanager
    async def _job(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Job]:
        """Begin a call, and wait until its model has a place in memory."""
        job = Job(self._lifecycle.state(self._check_open(model)), texts)
        self._lifecycle.jobs.append(job)
        self._pool.wake()
        try:
            job.place = await self._lifecycle.enter(job.model)
            self._pool.wake()
            yield job
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
