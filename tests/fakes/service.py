"""The whole service over the embedded store, with tokens for it."""

import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import OctKey

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.events.webhook import Webhooks
from aletheia.adapters.gpus import read_gpus
from aletheia.brain.index import IndexedBrain
from aletheia.documents import Documents
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending
from aletheia.reasoning.engine import Reasoner
from aletheia.reasoning.history import History
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter
from aletheia.service.assembly import ServiceParts, build_service
from aletheia.service.health import Ping, Readings
from aletheia.service.keys import SecretKey, VerificationKeys
from aletheia.service.metric_sources import gpu_source, own_sources, reasoning_source
from aletheia.service.metrics import MetricsPage
from aletheia.service.parts import Part, fixed
from aletheia.service.ports import CheckCallback, Orchestrator
from aletheia.service.settings import ServiceSettings
from aletheia.settings import BudgetSettings, IntakeSettings
from tests.fakes.brain import DIMENSIONS, MODEL, FakeEmbed
from tests.fakes.clock import MovableClock
from tests.fakes.orchestrator import FakeOrchestrator
from tests.fakes.reasoning import Sources, make_reasoner
from tests.fakes.serving import serving

SECRET = "a-secret-of-the-tests-of-32-bytes-or-more"
HOOK_SECRET = "a-secret-of-webhooks-in"
BRAIN_KEY = "a-key-of-the-brain-that-is-long-enough"
TASKS_KEY = "a-key-of-tasks-that-is-long-enough-too"
ISSUER = "https://issuer.example"
AUDIENCE = "aletheia"
SETTINGS = {"auth_issuer": ISSUER, "auth_audience": AUDIENCE}


def make_claims(*roles: str, **claims: Any) -> dict[str, Any]:
    """Return claims that the service takes; a claim that is `None` is left out."""
    now_s = int(time.time())
    usual: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "somebody",
        "iat": now_s,
        "exp": now_s + 600,
        "roles": list(roles or ("viewer",)),
    }
    return {name: value for name, value in (usual | claims).items() if value is not None}


def make_token(*roles: str, **claims: Any) -> str:
    """Return a token that the service takes."""
    key = OctKey.import_key(SECRET)
    return jwt.encode({"alg": "HS256"}, make_claims(*roles, **claims), key, algorithms=["HS256"])


@dataclass
class FakeService:
    """The service, before it is served.

    Attributes:
        store: its store, open.
        directory: below which the store and the items of projects are.
        app: the application.
        orchestrator: what starts runs.
        sources: what reasoning sees of the system.
    """

    store: Documents
    directory: Path
    app: FastAPI
    orchestrator: FakeOrchestrator = field(default_factory=FakeOrchestrator)
    sources: Sources = field(default_factory=Sources)


def make_page(store: Documents) -> MetricsPage:
    """Make the page of metrics of a store."""
    budgets = BudgetSettings()
    sources = own_sources(
        store,
        CircuitBreaker(store, threshold=2, cooldown_s=60),
        RateLimiter(store, None),
        Spending(store, PriceTable.from_settings(budgets), budgets),
    )
    reasoning = reasoning_source(History(store).health)
    return MetricsPage(store, {**sources, "reasoning": reasoning, "gpus": gpu_source(read_gpus)})


def make_service(
    directory: Path,
    store: Documents,
    *,
    keys: Part[VerificationKeys] | None = None,
    orchestrator: FakeOrchestrator | None = None,
    settings: Mapping[str, Any] | None = None,
    metrics_token: str = "",
    build_reasoner: Callable[[Documents], Awaitable[Reasoner]] | None = None,
    pings: Sequence[Ping] = (),
) -> FakeService:
    """Build the service over an open store."""
    known = orchestrator or FakeOrchestrator()
    verification: VerificationKeys = SecretKey(SECRET)
    starter: Orchestrator = known
    sources = Sources()
    webhooks = Webhooks("a-secret", allowed_hosts=("127.0.0.1",))

    def check_callback(address: str) -> None:
        webhooks.check(address)

    checking: CheckCallback = check_callback

    async def build_brain() -> IndexedBrain:
        return IndexedBrain(EmbeddedGraph(directory), FakeEmbed(), MODEL, DIMENSIONS)

    @contextlib.asynccontextmanager
    async def open_content(project_id: str) -> AsyncGenerator[EmbeddedContent]:
        content = EmbeddedContent(directory, project_id)
        await content.open()
        try:
            yield content
        finally:
            await content.close()

    async def open_reasoner() -> Reasoner:
        if build_reasoner is not None:
            return await build_reasoner(store)
        reasoner = make_reasoner(store, sources, MovableClock())
        await reasoner.prepare()
        return reasoner

    async def read_readings() -> Readings:
        breakers = CircuitBreaker(store, threshold=2, cooldown_s=60)
        return Readings({}, await breakers.states())

    parts = ServiceParts(
        store=fixed(store),
        orchestrator=fixed(starter),
        keys=keys or fixed(verification),
        hook_secret=fixed(HOOK_SECRET),
        brain_key=fixed(BRAIN_KEY),
        metrics_token=fixed(metrics_token),
        tasks_key=fixed(TASKS_KEY),
        check_callback=fixed(checking),
        metrics=fixed(make_page(store)),
        reasoner=Part(open_reasoner),
        build_brain=build_brain,
        open_content=open_content,
        read_readings=read_readings,
        pings=pings,
    )
    values = ServiceSettings.model_validate({**SETTINGS, **(settings or {})})
    app = build_service(parts, values, IntakeSettings())
    return FakeService(store, directory, app, known, sources)


@contextlib.asynccontextmanager
async def open_service(directory: Path, **options: Any) -> AsyncGenerator[FakeService]:
    """Build the service over a store of its own."""
    store = EmbeddedDocuments(directory)
    await store.open()
    try:
        yield make_service(directory, store, **options)
    finally:
        await store.close()


class Client:
    """Calls the service as a front end would, with a token of some role."""

    def __init__(self, session: aiohttp.ClientSession, role: str = "viewer") -> None:
        self.session = session
        self.headers = {"Authorization": f"Bearer {make_token(role)}"}

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """Make a call; return status and answer."""
        sent = {**self.headers, **{name.replace("_", "-"): to for name, to in headers.items()}}
        data = None
        if body is not None:
            data, sent["Content-Type"] = orjson.dumps(body), "application/json"
        async with self.session.request(method, path, data=data, headers=sent) as response:
            return response.status, orjson.loads(await response.read())

    async def get(self, path: str) -> tuple[int, Any]:
        """Read something."""
        return await self.call("GET", path)

    def as_role(self, role: str, **claims: Any) -> "Client":
        """Return a client with a token of another role."""
        other = Client(self.session, role)
        if claims:
            other.headers = {"Authorization": f"Bearer {make_token(role, **claims)}"}
        return other


@contextlib.asynccontextmanager
async def calling(service: FakeService, *, is_bounded: bool = False) -> AsyncGenerator[Client]:
    """Serve the service and call it."""
    async with (
        serving(service.app, is_bounded=is_bounded) as url,
        aiohttp.ClientSession(
            url,
            timeout=aiohttp.ClientTimeout(total=20),
            connector=aiohttp.TCPConnector(limit=0),
        ) as session,
    ):
        yield Client(session)
