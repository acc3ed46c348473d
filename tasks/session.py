"""What stays open while a run works: its settings and its clients.

One session a run, opened in the outermost context of its flow (docs/decisions/0011-session.md).
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, Final, ParamSpec, Protocol, TypeAlias, TypeVar, cast

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from aletheia.analysis.audio_settings import AudioSettings, SpeechSettings
from aletheia.analysis.file_settings import DecoderSettings, FileSettings
from aletheia.analysis.model_settings import ModelSettings
from aletheia.analysis.settings import WorkerSettings
from aletheia.errors import Misconfigured
from aletheia.logs import about_run, clean, use_json
from aletheia.reasoning.platform import PlatformSettings
from aletheia.reasoning.settings import FindingSettings, ReasoningSettings
from aletheia.redaction import SECRETS
from aletheia.settings import (
    BreakerSettings,
    BudgetSettings,
    BulkSettings,
    EmbeddingSettings,
    GatherSettings,
    IntakeSettings,
    LLMSettings,
    LogSettings,
    OllamaSettings,
    OpenAISettings,
    RateLimitSettings,
)
from aletheia.store.patience import Patience
from aletheia.telemetry import TelemetrySettings
from blocks.secret_values import value_of
from tasks.cancelling import WATCH_RARELY_S, Watch, watching
from tasks.clients.telemetry import exporting_traces
from tasks.ends import soften_ends

_LOGGERS: Final = (
    "",
    "aletheia",
    "prefect",
    "prefect.extra",
    "prefect.flow_runs",
    "prefect.task_runs",
)
"""Loggers that have handlers: what those write goes to a terminal, or to Prefect's pages."""

Key: TypeAlias = tuple[Hashable, ...]
"""What builds a client, and what it is built for: a project, a model …"""


class Closable(Protocol):
    """Something that is closed once."""

    async def close(self) -> None:
        """Release every resource. Idempotent."""
        ...


class Openable(Closable, Protocol):
    """Something that is opened once and closed once."""

    async def open(self) -> None:
        """Prepare for work."""
        ...


BlockT = TypeVar("BlockT", bound=Block)
BuildP = ParamSpec("BuildP")
ClientT = TypeVar("ClientT")
ClosableT = TypeVar("ClosableT", bound=Closable)
OpenableT = TypeVar("OpenableT", bound=Openable)
SharedT = TypeVar("SharedT")


class RunSettings:
    """The settings of a run; each area is read, and checked, when it is first asked for."""

    breakers = cached_property(lambda _: BreakerSettings())
    budgets = cached_property(lambda _: BudgetSettings())
    bulk = cached_property(lambda _: BulkSettings())
    embedding = cached_property(lambda _: EmbeddingSettings())  # before a provider is chosen
    decoders = cached_property(lambda _: DecoderSettings())
    audio = cached_property(lambda _: AudioSettings())
    speech = cached_property(lambda _: SpeechSettings())
    files = cached_property(lambda _: FileSettings())
    findings = cached_property(lambda _: FindingSettings())
    gather = cached_property(lambda _: GatherSettings())
    intake = cached_property(lambda _: IntakeSettings())
    limits = cached_property(lambda _: RateLimitSettings())
    llm = cached_property(lambda _: LLMSettings())
    log = cached_property(lambda _: LogSettings())
    models = cached_property(lambda _: ModelSettings())
    ollama = cached_property(lambda _: OllamaSettings())
    openai = cached_property(lambda _: OpenAISettings())
    telemetry = cached_property(lambda _: TelemetrySettings())
    platform = cached_property(lambda _: PlatformSettings())
    reasoning = cached_property(lambda _: ReasoningSettings())
    workers = cached_property(lambda _: WorkerSettings())


class Clients:
    """The clients of a session, each built on first use and closed in the opposite order."""

    def __init__(self) -> None:
        self._built: dict[Key, Any] = {}
        self._locks = defaultdict[Key, asyncio.Lock](asyncio.Lock)
        self._closing = contextlib.AsyncExitStack()

    async def build(self, key: Key, build: Callable[[], Awaitable[ClientT]]) -> ClientT:
        """Return the client with this key; build it if there is none."""
        if key not in self._built:
            async with self._locks[key]:
                if key not in self._built:
                    self._built[key] = await build()
        return cast("ClientT", self._built[key])

    async def open(self, client: OpenableT) -> OpenableT:
        """Open a client, and close it at the end of the session, or at once if that fails."""
        try:
            await client.open()
        except BaseException:
            await client.close()
            raise
        return self.close_later(client)

    def close_later(self, client: ClosableT) -> ClosableT:
        """Close a client at the end of the session; whoever uses it opens it."""
        self._closing.push_async_callback(client.close)
        return client

    def share(self, shared: object, *key: Hashable) -> None:
        """Hand what a flow has opened to its tasks, which find it by its type and key."""
        self._built[(type(shared), *key)] = shared

    def find(self, shared_type: type[SharedT], *key: Hashable) -> SharedT:
        """Return what the flow shares. Raises `RuntimeError`: nothing of this type and key."""
        shared = self._built.get((shared_type, *key))
        if shared is None:
            raise RuntimeError(f"the flow has opened no {shared_type.__name__} for {key!r}")
        return cast("SharedT", shared)

    async def close(self, key: Key) -> None:
        """Close one client now, if it was opened; the next one who asks gets another."""
        client: Closable | None = self._built.pop(key, None)
        if client is not None:
            await client.close()

    async def close_all(self) -> None:
        """Close all clients, the newest first."""
        self._built.clear()
        await self._closing.aclose()


@dataclass(frozen=True, slots=True)
class Session:
    """What one run works with."""

    run_id: str | None  # the flow run, which pays for what its clients use; `None` outside of runs
    patience: Patience | None = None  # how the store is waited for; `None` where it is not
    watch: Watch | None = None  # hears that the run is cancelled; `None` outside of runs
    settings: RunSettings = field(default_factory=RunSettings)
    clients: Clients = field(default_factory=Clients)


_current: Final = ContextVar[Session]("session")


@contextlib.asynccontextmanager
async def open_session(
    run_id: str | None = None, *, patience: Patience | None = None, watch: Watch | None = None
) -> AsyncGenerator[Session]:
    """Open the session of a run, or of a command. Raises `RuntimeError`: one is open here."""
    if _current.get(None) is not None:
        raise RuntimeError("a session is open here: a run has one")
    patience = watch.patience if patience is None and watch is not None else patience
    session = Session(run_id or flow_run.id, patience, watch)
    if session.run_id is not None:
        _configure_logs(session.settings.log)
    _clean_logs()
    token = _current.set(session)
    try:
        async with _observed(session):
            yield session
    finally:
        _current.reset(token)
        await session.clients.close_all()


@contextlib.asynccontextmanager
async def _observed(session: Session) -> AsyncGenerator[None]:
    """Mark what a run logs, and send its traces where an endpoint is set."""
    with about_run(session.run_id):
        if session.run_id is None:
            yield
            return
        async with exporting_traces(session.settings.telemetry):
            yield


@contextlib.asynccontextmanager
async def open_watched_session() -> AsyncGenerator[Session]:
    """Open the session of a run, and end it soon if the run is cancelled or terminated."""
    async with watching(every_s=WATCH_RARELY_S) as watch, open_session(watch=watch) as session:
        yield session


def _configure_logs(settings: LogSettings) -> None:
    """Log from the level that is set, and what goes to the console in the form that is set."""
    logging.getLogger("aletheia").setLevel(settings.log_level)
    logging.getLogger("prefect.task_runs").addFilter(_says_more_than_done)
    soften_ends()
    root = logging.getLogger()
    consoles = [found for found in root.handlers if isinstance(found, PrefectConsoleHandler)]
    for console in consoles if settings.log_format == "json" else ():
        # In its place, since it draws what it is given: `:key:` in a line would be an emoji.
        plain = logging.StreamHandler(console.stream)
        plain.setLevel(console.level)
        use_json(plain)
        root.removeHandler(console)
        root.addHandler(plain)


def _clean_logs() -> None:
    """Make every handler write lines without secrets and what controls a terminal. Idempotent."""
    api = get_current_settings().api
    for secret in (api.auth_string, api.key):
        SECRETS.add(value_of(secret).partition(":")[2])  # of a name and a password
    for name in _LOGGERS:
        for handler in logging.getLogger(name).handlers:
            clean(handler)


def _says_more_than_done(record: logging.LogRecord) -> bool:
    """Drop Prefect's line for a task run that went well: four an iteration, and all the same."""
    return record.msg != "Finished in state Completed()"


def current_session() -> Session:
    """Return the session of this run. Raises `RuntimeError`: none is open."""
    session = _current.get(None)
    if session is None:
        raise RuntimeError("no session is open; see tasks.session.open_session")
    return session


def once(
    build: Callable[BuildP, Awaitable[ClientT]],
) -> Callable[BuildP, Coroutine[Any, Any, ClientT]]:
    """Build a client once a session for equal arguments; whoever asks later gets the same one."""

    @wraps(build)
    async def get(*args: BuildP.args, **kwargs: BuildP.kwargs) -> ClientT:
        key = (get, *args, *kwargs.items())
        return await current_session().clients.build(key, lambda: build(*args, **kwargs))

    return get


async def read_block(block_type: type[BlockT]) -> BlockT:
    """Read the block of a type as it is now; raises as `load_block`."""
    slug = block_type.get_block_type_slug()
    try:
        async with get_client() as client:
            document = await client.read_block_document_by_name("default", slug)
        return block_type.model_validate(document.data)
    except (ObjectNotFound, ValueError) as missing:
        reason = "is not saved; run `aletheia setup`"
        raise Misconfigured(f"block {slug}/default", reason) from missing


@once
async def load_block(block_type: type[BlockT]) -> BlockT:
    """Load the block of a type. Raises `Misconfigured`: none is saved, or one of another type."""
    return await read_block(block_type)
