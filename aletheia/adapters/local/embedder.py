"""Embeds texts with local models, in processes of their own beside a parent without torch."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aletheia.adapters.local.jobs import Job
from aletheia.adapters.local.lifecycle import LOCAL, Lifecycle, Note
from aletheia.adapters.local.pool import ProcessPool
from aletheia.adapters.local.process import COMMAND
from aletheia.adapters.local.source import HUB_ORGANISATION, Find, ModelSources, full_name
from aletheia.analysis.model_settings import ModelSettings
from aletheia.analysis.ports import Embedded
from aletheia.errors import AletheiaError, InvalidTask, ModelUnavailable
from aletheia.settings import EmbeddingSettings

MAX_PROCESSES: Final = 4
"""Number of processes where it is not set; each holds the model."""


class LocalEmbedder:
    """Embeds texts with sentence-transformers models in processes of its own.

    They start with the first `embed` or `load` and stay until `close`. A text over which one dies
    is tried alone, `max_retries` times more. `Misconfigured` if a model's name is none.
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
        models: ModelSettings | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._default_model = full_name(settings.default_model)
        allowed = (self._default_model, *map(full_name, settings.supported_models))
        self._allowed = {_key(name): name for name in reversed(allowed)}
        affinity: Any = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        count = settings.local_model_processes or min(MAX_PROCESSES, cores)
        self.lifecycle = Lifecycle(
            settings,
            count=count,
            find=find or ModelSources.from_settings(settings).find,
            note=note,
            wake=lambda: self.pool.wake(),  # noqa: PLW0108 - the pool is built below
        )
        self.pool = ProcessPool(
            settings,
            self.lifecycle,
            count=count,
            command=(*command, str(max(1, cores // count))),
            max_retries=max_retries,
            models=models or ModelSettings(),
        )

    @property
    def is_open(self) -> bool:
        """Whether models can be loaded."""
        return self.pool.is_open

    @property
    def served(self) -> tuple[str, ...]:
        """The full names of the models that tasks may name, the default one first."""
        return tuple(dict.fromkeys((self._default_model, *sorted(self._allowed.values()))))

    async def open(self) -> None:
        """Accept calls from now on; nothing is started yet. Idempotent."""
        self.pool.is_open = True

    async def close(self) -> None:
        """End all processes, within 5 s; calls under way get `ModelUnavailable`. Idempotent."""
        self.pool.is_open = False
        self.lifecycle.close("the embedder was closed")
        await self.pool.close()
        await asyncio.gather(*self.lifecycle.notes)

    def canonical_model(self, model: str | None) -> str:
        """Return the full name of a model, or raise `InvalidTask`; case does not matter."""
        if model is None:
            return self._default_model
        known = self._allowed.get(_key(model))
        if known is None:
            served = ", ".join(sorted(self._allowed.values()))
            reason = f"the model {model[:100]!r} is not served here; served are {served}"
            raise InvalidTask("unsupported_model", reason)
        return known

    async def load(self, model: str) -> None:
        """Load a model into all processes; `ModelUnavailable` if none can, or it is too large."""
        async with self._job(model, ()) as job:
            self.lifecycle.settle(job.model)
            answer = await job.answers.get()
            if isinstance(answer, AletheiaError):
                raise answer

    async def unload(self, model: str) -> None:
        """Unload a model from all processes once no call uses it, and wait for that."""
        await self.lifecycle.memory.free(self._check_open(model))

    async def capacity(self, model: str, texts: Sequence[str]) -> int:  # noqa: ARG002 - the port's
        """Return the number of texts: nothing is limited here."""
        return len(texts)

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """See `aletheia.analysis.ports.Embedder.embed`; equal texts are embedded once."""
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
        job = Job(self.lifecycle.state(self._check_open(model)), texts)
        self.lifecycle.jobs.append(job)
        self.pool.wake()
        try:
            job.place = await self.lifecycle.enter(job.model)
            self.pool.wake()
            yield job
        finally:
            job.is_over = True
            with suppress(ValueError):
                self.lifecycle.jobs.remove(job)
            if job.place is not None:
                self.lifecycle.memory.leave(job.place)

    def _check_open(self, model: str) -> str:
        """Return a model's full name; `ModelUnavailable` if the embedder is not open."""
        name = self.canonical_model(model)
        if not self.is_open:
            raise ModelUnavailable(name, "the embedder is not open")
        return name


def _key(model: str) -> str:
    """Return what all names of one model have in common."""
    return re.sub(rf"^{HUB_ORGANISATION}/", "", model.casefold())
