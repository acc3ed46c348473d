"""The models of an Ollama server: listed, pulled, loaded and unloaded, under a bound on memory."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from aletheia.adapters.ollama.client import (
    OLLAMA,
    OllamaClient,
    ServerModel,
    model_key,
    short_name,
)
from aletheia.analysis.model_manager import (
    ModelEvent,
    ModelRecords,
    ModelRow,
    PullProgress,
)
from aletheia.analysis.model_uses import ModelUses
from aletheia.errors import InvalidTask, Misconfigured, ModelUnavailable
from aletheia.store.clock import SYSTEM_CLOCK

log = logging.getLogger(__name__)

POLL_S: Final = 0.2
"""From one question who uses a model to the next, seconds."""

KEEP_ALIVE_S: Final = 1800.0
"""How long a model stays in memory after each use; Ollama's own default is 300."""


class OllamaModelManager:
    """The models of an Ollama server, and the `supported_models` it should have.

    Only models that Aletheia loaded count against `memory_max_bytes` (0: no bound).
    """

    provider: str = OLLAMA
    unload_wait_s: float = 60.0  # for other processes to end their use of a model

    def __init__(
        self,
        client: OllamaClient,
        records: ModelRecords,
        *,
        supported_models: Sequence[str] = (),
        memory_max_bytes: int = 0,
        uses: ModelUses | None = None,
        clock: Callable[[], float] = SYSTEM_CLOCK.unix_s,
    ) -> None:
        self._client, self._records, self._clock = client, records, clock
        self._uses = uses
        self._supported = [short_name(name) for name in supported_models]
        self._memory_max_bytes = memory_max_bytes
        self._loading = asyncio.Lock()  # two loads must not both count on the same memory

    async def rows(self) -> list[ModelRow]:
        """List the models on the server's disk, and the supported ones that are not."""
        installed = await self._client.installed()
        loaded = {model_key(model.name): model for model in await self._client.loaded()}
        held = {model_key(record.model) for record in await self._read_held()}
        rows: list[ModelRow] = []
        for model in installed:
            key = model_key(model.name)
            row = ModelRow(OLLAMA, short_name(model.name), "installed", size_bytes=model.size_bytes)
            if there := loaded.get(key):
                detail = f"until {there.expires_at}" if key in held else "loaded by others"
                if users := await self._list_users(model.name):
                    detail += f", in use by {', '.join(users)}"
                row = replace(row, state="loaded", memory_bytes=there.size_bytes, detail=detail)
                if key in held:
                    row = replace(row, last_used=self._used_at(there))
            rows.append(row)
        there_are = {model_key(model.name) for model in installed}
        missing = [name for name in self._supported if model_key(name) not in there_are]
        return rows + [
            ModelRow(OLLAMA, name, "available", detail="supported, not pulled yet")
            for name in dict.fromkeys(missing)
        ]

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Download a model to the server, see `OllamaClient.pull`."""
        return self._client.pull(model)

    async def load(self, model: str) -> None:
        """See `ModelHolder.load`."""
        async with self._loading:
            found = await self._find(model)
            name, key = short_name(found.name), model_key(found.name)
            records = {
                model_key(record.model): record for record in await self._records.read(OLLAMA)
            }
            loaded = {model_key(model.name): model for model in await self._client.loaded()}
            held = await self._list_held(records, loaded)
            held = [record for record in held if model_key(record.model) != key]
            if key in loaded:
                await self._client.load(found.name, keep_alive_s=KEEP_ALIVE_S)
                return
            record = records.get(key)
            expected = (record.memory_bytes if record else None) or found.size_bytes
            self._check(name, expected)
            await self._free_memory(held, expected)
            there, load_s = await self._client.load(found.name, keep_alive_s=KEEP_ALIVE_S)
            sizes = (there.size_bytes, found.size_bytes)
            await self._records.note(
                ModelEvent(OLLAMA, name, "loaded", load_s, *sizes, used_at=self._clock())
            )
            try:
                self._check(name, there.size_bytes)
            except ModelUnavailable:
                await self._client.unload(found.name)
                await self._records.note(ModelEvent(OLLAMA, name, "unloaded"))
                raise
            await self._free_memory(held, there.size_bytes)

    async def unload(self, model: str) -> None:
        """See `ModelHolder.unload`; whoever loaded it, its requests end first.

        Raises:
            Misconfigured: other processes use it, and still do after `unload_wait_s`.
        """
        found = await self._find(model)
        await self._wait_for_users(found.name)
        if await self._client.find_loaded(found.name):
            await self._client.unload(found.name)
        name = short_name(found.name)
        if any(record.model == name for record in await self._read_held()):
            await self._records.note(ModelEvent(OLLAMA, name, "unloaded"))

    async def _list_users(self, model: str) -> list[str]:
        return [] if self._uses is None else await self._uses.others(OLLAMA, short_name(model))

    async def _wait_for_users(self, model: str) -> None:
        ends_at = asyncio.get_running_loop().time() + self.unload_wait_s
        while users := await self._list_users(model):
            if asyncio.get_running_loop().time() >= ends_at:
                reason = f"{short_name(model)} is in use by {', '.join(users)}"
                raise Misconfigured("unload", f"{reason}; try again when those runs have ended")
            await asyncio.sleep(POLL_S)

    async def _find(self, model: str) -> ServerModel:
        wanted = model_key(model)
        for installed in await self._client.installed():
            if model_key(installed.name) == wanted:
                return installed
        raise InvalidTask("model_not_found", f"Ollama does not have {model!r}; pull it first")

    async def _read_held(self) -> list[ModelRow]:
        return [record for record in await self._records.read(OLLAMA) if record.state == "loaded"]

    async def _list_held(
        self, records: dict[str, ModelRow], loaded: dict[str, ServerModel]
    ) -> list[ModelRow]:
        """List what Aletheia has in memory, least recently used first; record what is gone."""
        held: list[tuple[datetime, ModelRow]] = []
        for key, record in records.items():
            if record.state != "loaded":
                continue
            if there := loaded.get(key):
                used_at = self._used_at(there)
                used_at = max(used_at, record.last_used or used_at)
                now = replace(record, memory_bytes=there.size_bytes, last_used=used_at)
                held.append((used_at, now))
            else:
                await self._records.note(ModelEvent(OLLAMA, record.model, "unloaded"))
        return [record for _, record in sorted(held, key=lambda entry: entry[0])]

    def _used_at(self, model: ServerModel) -> datetime:
        """Return when a model loaded here was last used, by the time it stays."""
        try:
            used_at = datetime.fromisoformat(model.expires_at).timestamp() - KEEP_ALIVE_S
        except (ValueError, OverflowError):
            used_at = 0.0
        return datetime.fromtimestamp(max(0.0, min(self._clock(), used_at)), UTC)

    def _check(self, model: str, size_bytes: int) -> None:
        if size_bytes > (self._memory_max_bytes or size_bytes):
            limit = f"MODEL_MEMORY_MAX is {self._memory_max_bytes:,}"
            raise ModelUnavailable(model, f"it takes {size_bytes:,} bytes, {limit}")

    async def _free_memory(self, held: list[ModelRow], size_bytes: int) -> None:
        """Unload the first of `held` that nobody else uses, until so much memory is free."""
        used = sum(record.memory_bytes or 0 for record in held) + size_bytes
        for victim in list(held):
            if used <= (self._memory_max_bytes or used):
                return
            if users := await self._list_users(victim.model):
                log.info("%s stays loaded, in use by %s", victim.model, ", ".join(users))
                continue
            held.remove(victim)
            used -= victim.memory_bytes or 0
            await self._client.unload(victim.model)
            used_at = victim.last_used.timestamp() if victim.last_used else None
            await self._records.note(ModelEvent(OLLAMA, victim.model, "evicted", used_at=used_at))
