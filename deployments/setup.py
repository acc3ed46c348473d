"""The command `setup`; a second time it changes what has changed, and leaves schedules alone."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import typer
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import get_current_settings
from pydantic import ValidationError
from rich.markup import escape

from aletheia.errors import AletheiaError, Misconfigured, Unavailable
from aletheia.settings import StoreSettings
from blocks import EventCredentials, LLMCredentials, OpenAICredentials, UpstreamCredentials
from blocks.secret_values import value_of
from deployments import ROOT
from deployments.configuration import BLOCK_FIELDS, find_faults
from deployments.console import console
from deployments.declarations import Deployment, WorkPool, WorkQueue, read_declarations
from deployments.environment import (
    explain_refused_sign_in,
    is_server_of,
    local_servers,
    make_secrets,
    read_environment,
    require_server,
)
from deployments.explaining import plain_table
from deployments.processes import run_module

Outcome: TypeAlias = Literal["created", "updated", "unchanged"]

app = typer.Typer()

DOCUMENT = "default"
"""Name under which each block is saved, and by which flows load it."""

DEPLOY_TIMEOUT_S = 120.0

GATHER: Final = "automated_gather_creation/automated_gather_creation"

MIN_KEY_LENGTH: Final = 16
"""Shortest key or password that is not called short, characters."""

RACE_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)

COLOURS: Final[Mapping[Outcome, str]] = {
    "created": "green",
    "updated": "yellow",
    "unchanged": "dim",
}

_ESSENTIAL: Final = (
    *("description", "parameters", "parameter_openapi_schema", "tags", "job_variables", "paused"),
    *("work_pool_name", "work_queue_name", "path", "pull_steps", "entrypoint"),
    "concurrency_options",
)

ESSENCE: Final[dict[str, Any]] = dict.fromkeys(_ESSENTIAL, True) | {
    "global_concurrency_limit": {"limit": True},
    "schedules": {"__all__": {"schedule", "active", "slug", "parameters"}},
}
"""What makes a deployment another one, of all that Prefect keeps of it."""

T = TypeVar("T")


@dataclass(eq=False)
class DeployFailed(AletheiaError):
    """`prefect deploy` did not accept `prefect.yaml`; `output` is what it printed."""

    output: str
    code = "deploy_failed"
    sentence = "`prefect deploy` failed:\n{output}"


@dataclass(frozen=True, slots=True)
class Done:
    """What the set-up did about one thing."""

    kind: str
    name: str
    outcome: Outcome
    detail: str = ""


@app.command()
def setup() -> None:
    """Save blocks from the environment and .env, create work pools, deploy the flows."""
    if faults := find_faults():
        raise faults[0]
    table = plain_table("what", "name", "", "", whole="name")
    for done in asyncio.run(set_up(build_blocks(_read_known()))):
        outcome = f"[{COLOURS[done.outcome]}]{done.outcome}[/]"
        table.add_row(done.kind, done.name, outcome, f"[dim]{escape(done.detail)}[/]")
    console.print(table)


def _read_known() -> dict[str, str]:
    """Read what is set, and the secrets of this machine's servers where those are meant."""
    known, local = read_environment(), local_servers()
    return known | make_secrets(local, known) if is_server_of(local) else known


def build_blocks(environment: Mapping[str, str], root: Path = ROOT) -> list[Block]:
    """Build every block from variables; what is missing or makes no sense is `Misconfigured`."""
    default = root / StoreSettings.model_fields["aletheia_data_dir"].default
    environment = {"ALETHEIA_DATA_DIR": str(default)} | dict(environment)
    blocks: list[Block] = []
    for block_type, fields in BLOCK_FIELDS.items():
        values: dict[str, Any] = {
            field: environment[name] for name, field in fields.items() if name in environment
        }
        if "data_dir" in values:
            values["data_dir"] = (root / Path(values["data_dir"]).expanduser()).resolve()
        try:
            block = block_type(**values)
        except ValidationError as invalid:
            problem = invalid.errors(include_input=False, include_url=False)[0]
            name = next((n for n, f in fields.items() if f == problem["loc"][0]), str(problem))
            if problem["type"] == "missing":
                raise Misconfigured(name, "is not set; put it into .env") from None
            raise Misconfigured(name, problem["msg"]) from None
        for name, field in fields.items():
            # Only what a block holds as a secret stays out of what Prefect and `doctor` show.
            if has_credentials(getattr(block, field)):
                raise Misconfigured(
                    name, "must not hold credentials: they have settings of their own"
                )
        if isinstance(block, UpstreamCredentials) and block.has_upstream:
            block.get_client()  # says what is wrong with the address and the sign-in
        blocks.append(block)
    return blocks


def has_credentials(value: object) -> bool:
    """Check whether a value that is no secret is an address with a user or a password."""
    if not isinstance(value, str) or "://" not in value:
        return False
    try:
        address = urlsplit(value)
    except ValueError:
        return False
    return address.username is not None or address.password is not None


def find_webhook_fault(secret: str, webhook_url: object) -> Misconfigured | None:
    """Return what is wrong where gather runs have a webhook and nothing to sign with."""
    if not webhook_url or secret.strip():
        return None
    return Misconfigured("WEBHOOK_SECRET", f"is not set, and {GATHER} has a webhook_url")


async def set_up(blocks: Sequence[Block], root: Path = ROOT) -> list[Done]:
    """Save blocks, create work pools, deploy what `prefect.yaml` declares.

    Raises what `check_server` raises, `Misconfigured` for a webhook without a key, `DeployFailed`.
    """
    declared = read_declarations(root)
    require_server()
    secrets = [value_of(it.webhook_secret) for it in blocks if isinstance(it, EventCredentials)]
    urls = [deployment.parameters.get("webhook_url") for deployment in declared.deployments]
    for secret, url in product(secrets, urls):
        if fault := find_webhook_fault(secret, url):
            raise fault
    async with get_client() as client:
        await check_server(client)
        done = [await _ensure(partial(_save_block, block)) for block in blocks]
        for pool in declared.work_pools:
            done += await _ensure(partial(_ensure_pool, client, pool))
        if not declared.deployments:
            return done
        before = await _read_deployments(client, declared.deployments)
        await _deploy(root)
        await _keep_schedules(client, before, declared.deployments)
        after = await _read_deployments(client, declared.deployments)
        return done + [
            Done("deployment", name, _compare(before.get(name), now), _schedule_words(now))
            for name, now in after.items()
        ]


async def check_server(client: PrefectClient) -> str:
    """Check that the Prefect server answers and lets us in; return its version.

    Raises `Unavailable` and, where our password is missing or wrong, `Misconfigured`.
    """
    trouble = await client.api_healthcheck()
    if trouble is not None:
        reason = f"{client.api_url} does not answer ({type(trouble).__name__})"
        raise Unavailable("Prefect server", reason)
    try:
        return await client.api_version()
    except PrefectHTTPStatusError as refusal:
        if refusal.response.status_code not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise
        raise explain_refused_sign_in() from None


async def _ensure(step: Callable[[], Awaitable[T]]) -> T:
    """Run a step that checks before it creates; again where Prefect created the same meanwhile."""
    for pause_s in RACE_PAUSES_S:
        try:
            return await step()
        except ObjectAlreadyExists:
            await asyncio.sleep(pause_s)
    return await step()


async def _save_block(block: Block) -> Done:
    slug = block.get_block_type_slug()
    name = f"{slug}/{DOCUMENT}"
    try:
        saved = await type(block).aload(DOCUMENT)
    except ValueError:
        saved = None
    detail = _explain(block)
    values = {field: getattr(block, field) for field in type(block).model_fields}
    if saved is not None and not _find_changes(saved, values):
        return Done("block", name, "unchanged", detail)
    # Tasks keep connections open by a block's update time: only a change touches it.
    await block.asave(DOCUMENT, overwrite=True)
    return Done("block", name, "created" if saved is None else "updated", detail)


def _explain(block: Block) -> str:
    """Return what follows from a block, and why, where nothing says it outright."""
    if isinstance(block, UpstreamCredentials):
        auth, why = block.choose_auth()
        return f"sign-in: {auth}, as {why}"
    if isinstance(block, OpenAICredentials):
        settings, why = block.choose_mode()
        return f"embedding: {settings.processing_mode}, as {why}"
    return block.choice_in_words if isinstance(block, LLMCredentials) else ""


def _find_changes(found: object, wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if getattr(found, name) != value}


async def _ensure_pool(client: PrefectClient, pool: WorkPool) -> list[Done]:
    wanted: dict[str, Any] = {
        "description": pool.description,
        "base_job_template": pool.base_job_template(),
    }
    outcome: Outcome = "unchanged"
    try:
        found = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        await client.create_work_pool(WorkPoolCreate(name=pool.name, type=pool.type, **wanted))
        outcome = "created"
    else:
        if found.type != pool.type:
            raise Misconfigured(
                f"work pool {pool.name!r}",
                f"is of type {found.type!r}, prefect.yaml says {pool.type!r}; delete it or rename",
            )
        if changes := _find_changes(found, wanted):
            await client.update_work_pool(pool.name, WorkPoolUpdate(**changes))
            outcome = "updated"
    queues = [await _ensure_queue(client, pool.name, queue) for queue in pool.queues]
    return [Done("work pool", pool.name, outcome, f"type {pool.type}"), *queues]


async def _ensure_queue(client: PrefectClient, pool: str, queue: WorkQueue) -> Done:
    wanted = queue.model_dump(exclude={"name"})
    outcome: Outcome = "unchanged"
    try:
        found = await client.read_work_queue_by_name(queue.name, pool)
    except ObjectNotFound:
        await client.create_work_queue(queue.name, work_pool_name=pool, **wanted)
        outcome = "created"
    else:
        if changes := _find_changes(found, wanted):
            await client.update_work_queue(found.id, **changes)
            outcome = "updated"
    limit = queue.concurrency_limit
    detail = f"priority {queue.priority}{'' if limit is None else f', {limit} at once'}"
    return Done("work queue", f"{pool}/{queue.name}", outcome, detail)


async def _read_deployments(
    client: PrefectClient, declared: Sequence[Deployment]
) -> dict[str, DeploymentResponse]:
    found: dict[str, DeploymentResponse] = {}
    for name in (deployment.full_name for deployment in declared):
        with suppress(ObjectNotFound):
            found[name] = await client.read_deployment_by_name(name)
    return found


async def _deploy(root: Path) -> None:
    """Deploy everything with Prefect; its own reading of `prefect.yaml` is the one that counts."""
    # Settings may have been set in this process alone, and .env is read by Prefect as well.
    environment = os.environ | get_current_settings().to_environment_variables(exclude_unset=True)
    command = ["prefect", "--no-prompt", "deploy", "--all"]
    if fault := await asyncio.to_thread(run_module, command, root, environment, DEPLOY_TIMEOUT_S):
        raise DeployFailed(fault)


async def _keep_schedules(
    client: PrefectClient, before: Mapping[str, DeploymentResponse], declared: Sequence[Deployment]
) -> None:
    """Pause again what was paused, and switch on what was; Prefect replaces schedules."""
    was_active = {
        (name, schedule.slug): schedule.active
        for name, deployment in before.items()
        for schedule in deployment.schedules
    }
    for name, deployment in (await _read_deployments(client, declared)).items():
        if name in before and before[name].paused and not deployment.paused:
            await client.pause_deployment(deployment.id)
        for schedule in deployment.schedules:
            wanted = was_active.get((name, schedule.slug), schedule.active)
            if schedule.active is not wanted:
                await client.update_deployment_schedule(deployment.id, schedule.id, active=wanted)


def _compare(before: DeploymentResponse | None, after: DeploymentResponse) -> Outcome:
    if before is None:
        return "created"
    is_same = before.model_dump(include=ESSENCE) == after.model_dump(include=ESSENCE)
    return "unchanged" if is_same else "updated"


def _schedule_words(deployment: DeploymentResponse) -> str:
    words = [
        f"{_rhythm(schedule.schedule)}{'' if schedule.active else ', paused'}"
        for schedule in deployment.schedules
    ]
    said = "; ".join(words) or "started by hand"
    return f"{said}; paused" if deployment.paused else said


def _rhythm(schedule: object) -> str:
    if isinstance(schedule, IntervalSchedule):
        return f"every {schedule.interval.total_seconds():.0f} s"
    return str(getattr(schedule, "cron", schedule))
