"""The whole service, put together from parts that may be missing."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute

from aletheia.brain.index import IndexedBrain
from aletheia.documents import Documents
from aletheia.errors import AletheiaError
from aletheia.items.content import ContentStore
from aletheia.reasoning.engine import Reasoner
from aletheia.service.actions import RunStarter, make_actions_router, make_intake_router
from aletheia.service.app import create_app
from aletheia.service.authentication import Authenticator, RoleGuard, caller_of
from aletheia.service.brain import BrainSource, make_brain_router
from aletheia.service.capacity import make_capacity_router
from aletheia.service.guarding import LateKey, Slots, guarded_by
from aletheia.service.health import Ping, ReadReadings
from aletheia.service.hooks import (
    HookGuard,
    HookParts,
    make_deliveries_routers,
    make_hooks_router,
)
from aletheia.service.keys import VerificationKeys
from aletheia.service.live import make_live_router, make_ticket_router
from aletheia.service.metrics import MetricsPage, make_metrics_router
from aletheia.service.operations import make_operations_router
from aletheia.service.pages.mounting import mount_pages
from aletheia.service.parts import Part, missing
from aletheia.service.ports import CheckCallback, OpenContent, Orchestrator
from aletheia.service.project_list import make_project_list_router
from aletheia.service.projects import make_projects_router
from aletheia.service.reasoning import make_reasoning_router
from aletheia.service.refusal_counts import RefusalCounts
from aletheia.service.repetitions import make_repetitions_routers
from aletheia.service.roles import MANAGERS, Caller
from aletheia.service.settings import ServiceSettings
from aletheia.service.tasks import make_push_router, make_task_router
from aletheia.service.token_routes import TokenRoutes
from aletheia.service.upkeep import Upkeep
from aletheia.settings import IntakeSettings
from aletheia.store.format import META

API_KEY: Final = "BRAIN_SERVICE_API_KEY"
TASKS_KEY: Final = "TASKS_API_KEY"
METRICS_TOKEN: Final = "METRICS_TOKEN"  # noqa: S105 - the name of a setting
"""The settings that refusals name."""

CARRY_OUT_PLAN: Final = "carry_out_plan/carry_out_plan"
"""The deployment that an approved plan is carried out by."""

SECONDS_A_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """The parts that the service works with."""

    store: Part[Documents]
    orchestrator: Part[Orchestrator]
    keys: Part[VerificationKeys]
    hook_secret: Part[str]  # key of the signatures of webhooks
    brain_key: Part[str]  # empty: nobody may call the Brain
    metrics_token: Part[str]  # empty: `/metrics` is open
    tasks_key: Part[str]  # empty: nobody may push tasks
    check_callback: Part[CheckCallback]
    metrics: Part[MetricsPage]
    reasoner: Part[Reasoner]
    build_brain: Callable[[], Awaitable[IndexedBrain]]  # not open yet
    open_content: OpenContent
    read_readings: ReadReadings
    pings: Sequence[Ping] = ()  # of what the service itself does not work with


def build_service(
    parts: ServiceParts, settings: ServiceSettings, intake: IntakeSettings
) -> FastAPI:
    """Build the application over its parts, whether they are there or not."""
    refusals, slots = RefusalCounts(), Slots()
    authenticator = Authenticator(
        parts.keys,
        issuer=settings.auth_issuer,
        audience=settings.auth_audience,
        roles_claim=settings.auth_roles_claim,
        refusals=refusals,
    )
    hooks = HookParts(parts.store, parts.orchestrator, parts.hook_secret, refusals, slots)
    routes = TokenRoutes(authenticator, slots)
    brain, brain_key = BrainSource(parts.build_brain), LateKey(parts.brain_key, API_KEY, refusals)
    tasks_key = LateKey(parts.tasks_key, TASKS_KEY, refusals)
    metrics_key = LateKey(parts.metrics_token, METRICS_TOKEN, refusals, is_open_without=True)
    hook_guard = HookGuard(hooks)
    upkeep = Upkeep(hooks, hooks_kept_s=settings.hook_retention_days * SECONDS_A_DAY)
    pings = [
        Ping("store", lambda: parts.store.ping(_ping_store)),
        Ping("brain", brain.ping),
        Ping("brain key", brain_key.ping, is_needed=False),
        Ping("tasks key", tasks_key.ping, is_needed=False),
        Ping("sign-in", authenticator.ping, is_needed=False),
        Ping("webhooks in", hook_guard.ping, is_needed=False),
        *parts.pings,
    ]
    routers = [
        upkeep.make_router(),
        make_brain_router(brain, guarded_by(brain_key, slots=slots)),
        make_push_router(tasks_key, slots, parts.store, parts.check_callback, intake),
        make_task_router(routes, tasks_key, parts.store, intake),
        *_make_token_routers(routes, parts, hooks, intake),
        make_live_router(
            authenticator,
            parts.store,
            origins=settings.allowed_origins,
            max_sockets=settings.service_max_sockets,
        ),
        make_hooks_router(hooks, hook_guard),
        _make_metrics_router(parts, guarded_by(metrics_key)),
        _make_reasoning_router(routes, parts),
    ]
    app = create_app(
        routers,
        RoleGuard(authenticator, MANAGERS),
        pings,
        read_readings=parts.read_readings,
        origins=settings.allowed_origins,
    )
    mount_pages(app, authenticator, parts.store)
    return app


def _make_token_routers(
    routes: TokenRoutes, parts: ServiceParts, hooks: HookParts, intake: IntakeSettings
) -> list[APIRouter]:
    """Return the routers for bearers of tokens."""
    starter = RunStarter(parts.store, parts.orchestrator)
    return [
        make_project_list_router(routes, parts.store),
        make_capacity_router(routes, parts.store),
        *make_repetitions_routers(routes, parts.store, parts.open_content, starter),
        make_projects_router(routes, parts.store, parts.open_content),
        make_operations_router(routes, parts.store, parts.orchestrator),
        make_intake_router(routes, parts.store, intake),
        make_actions_router(routes, parts.store, starter, intake),
        *make_deliveries_routers(routes, hooks),
        make_ticket_router(routes, parts.store),
    ]


def _make_metrics_router(parts: ServiceParts, route_class: type[APIRoute]) -> APIRouter:
    async def read() -> bytes:
        return await (await parts.metrics.get()).read()

    return make_metrics_router(read, route_class)


def _make_reasoning_router(routes: TokenRoutes, parts: ServiceParts) -> APIRouter:
    def identify(request: Request) -> Caller:
        return caller_of(request)

    async def start_plan(plan_id: str, approval_id: str) -> str:
        wanted = {"plan_id": plan_id, "approval_id": approval_id}
        starter = await parts.orchestrator.get()
        return await starter.start(CARRY_OUT_PLAN, wanted, idempotency_key=f"plan:{approval_id}")

    router = routes.make_router("reasoning", MANAGERS)
    return make_reasoning_router(router, parts.reasoner.get, identify, start_plan)


async def _ping_store(store: Documents) -> None:
    """Check that the store answers."""
    await store.get(META, ["format"])


def no_parts(error: AletheiaError) -> ServiceParts:
    """Return parts none of which can be had, for the same reason."""

    async def fail(*_: Any) -> Any:
        raise error

    @contextlib.asynccontextmanager
    async def open_content(_: str) -> AsyncGenerator[ContentStore]:
        yield await fail()

    part = missing(error)
    return ServiceParts(
        store=part,
        orchestrator=part,
        keys=part,
        hook_secret=part,
        brain_key=part,
        metrics_token=part,
        tasks_key=part,
        check_callback=part,
        metrics=part,
        reasoner=part,
        build_brain=fail,
        open_content=open_content,
        read_readings=fail,
        pings=(),
    )
