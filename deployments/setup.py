"""Set-up of a Prefect server: blocks from the environment, work pools, deployments.

Running it again changes what has changed and nothing else. A schedule that an operator has paused
or switched on stays so.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import get_current_settings
from pydantic import SecretStr, ValidationError

from aletheia.errors import AletheiaError, Misconfigured, Unavailable
from aletheia.settings import StoreSettings
from blocks import EventCredentials, LLMCredentials, OpenAICredentials, UpstreamCredentials
from deployments import ROOT
from deployments.configuration import BLOCK_FIELDS
from deployments.declarations import Deployment, WorkPool, WorkQueue, read_declarations
from deployments.environment import explain_refused_sign_in, require_server

Outcome: TypeAlias = Literal["created", "updated", "unchanged"]

DOCUMENT = "default"
"""Name under which each block is saved, and by which flows load it."""

DEPLOY_TIMEOUT_S = 120.0

GATHER: Final = "automated_gather_creation/automated_gather_creation"

MIN_KEY_LENGTH: Final = 16
"""Shortest key or password that is not called short, characters."""

RACE_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)

T = TypeVar("T")


class DeployFailed(AletheiaError):
    """`prefect deploy` did not accept `prefect.yaml`; `output` is what it printed."""

    code = "deploy_failed"

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output

    def __str__(self) -> str:
        return f"`prefect deploy` failed:\n{self.output}"


@dataclass(frozen=True, slots=True)
class Done:
    """What the set-up did about one thing."""

    kind: str
    name: str
    outcome: Outcome
    detail: str = ""


def build_blocks(environment: Mapping[str, str], root: Path = ROOT) -> list[Block]:
    """Build every block from variables by upper-case name, none of them empty.

    Raises:
        Misconfigured: a variable is missing or makes no sense; its value is not repeated.
    """
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
        if isinstance(block, UpstreamCredentials):
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

    Raises:
        Misconfigured: no Prefect server is named, where Prefect would start one of its own, or it
            refuses our password; or gather runs have a webhook and nothing to sign with.
        Unavailable: it does not answer.
        DeployFailed: Prefect does not accept `prefect.yaml`.
    """
    declared = read_declarations(root)
    require_server()
    for deployment in declared.deployments:
        for events in (block for block in blocks if isinstance(block, EventCredentials)):
            secret = events.webhook_secret
            value = "" if secret is None else secret.get_secret_value()
            if fault := find_webhook_fault(value, deployment.parameters.get("webhook_url")):
                raise fault
    async with get_client() as client:
        await check_server(client)
        done = [await _ensure(partial(_save_block, block)) for block in blocks]
        for pool in declared.definitions.work_pools:
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

    Raises:
        Unavailable: it does not answer.
        Misconfigured: it asks for a password, and ours is missing or wrong.
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
    """Run a step that looks before it creates; again where somebody else created it meanwhile.

    Prefect registers types of blocks itself for a while after its start.
    """
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
    if saved is not None and _reveal(saved) == _reveal(block):
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


def _reveal(block: Block) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in ((name, getattr(block, name)) for name in type(block).model_fields)
    }


async def _ensure_pool(client: PrefectClient, pool: WorkPool) -> list[Done]:
    try:
        found = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        await client.create_work_pool(
            WorkPoolCreate(
                name=pool.name,
                type=pool.type,
                description=pool.description,
                base_job_template=pool.base_job_template(),
            )
        )
        outcome: Outcome = "created"
    else:
        if found.type != pool.type:
            raise Misconfigured(
                f"work pool {pool.name!r}",
                f"is of type {found.type!r}, prefect.yaml says {pool.type!r}; delete it or rename",
            )
        wanted: dict[str, Any] = {
            "description": pool.description,
            "base_job_template": pool.base_job_template(),
        }
        is_same = all(getattr(found, name) == value for name, value in wanted.items())
        outcome = "unchanged" if is_same else "updated"
        if not is_same:
            await client.update_work_pool(pool.name, WorkPoolUpdate(**wanted))
    queues = [await _ensure_queue(client, pool.name, queue) for queue in pool.queues]
    return [Done("work pool", pool.name, outcome, f"type {pool.type}"), *queues]


async def _ensure_queue(client: PrefectClient, pool: str, queue: WorkQueue) -> Done:
    wanted = queue.model_dump(exclude={"name"})
    try:
        found = await client.read_work_queue_by_name(queue.name, pool)
    except ObjectNotFound:
        await client.create_work_queue(queue.name, work_pool_name=pool, **wanted)
        outcome: Outcome = "created"
    else:
        changed = {name: value for name, value in wanted.items() if getattr(found, name) != value}
        if changed:
            await client.update_work_queue(found.id, **changed)
        outcome = "updated" if changed else "unchanged"
    limit = queue.concurrency_limit
    detail = f"priority {queue.priority}{'' if limit is None else f', {limit} at once'}"
    return Done("work queue", f"{pool}/{queue.name}", outcome, detail)


async def _read_deployments(
    client: PrefectClient, declared: Sequence[Deployment]
) -> dict[str, DeploymentResponse]:
    found: dict[str, DeploymentResponse] = {}
    for deployment in declared:
        try:
            name = deployment.full_name
            found[name] = await client.read_deployment_by_name(name)
        except ObjectNotFound:
            continue
    return found


async def _deploy(root: Path) -> None:
    """Deploy everything with Prefect; its own reading of `prefect.yaml` is the one that counts."""
    # Settings may have been set in this process alone, and .env is read by Prefect as well.
    environment = os.environ | get_current_settings().to_environment_variables(exclude_unset=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"),
        cwd=root,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), DEPLOY_TIMEOUT_S)
    except TimeoutError:
        raise DeployFailed(f"no end within {DEPLOY_TIMEOUT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise DeployFailed(output.decode(errors="replace").strip())


async def _keep_schedules(
    client: PrefectClient,
    before: Mapping[str, DeploymentResponse],
    declared: Sequence[Deployment],
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
    return "unchanged" if _essence(before) == _essence(after) else "updated"


def _essence(deployment: DeploymentResponse) -> dict[str, Any]:
    names = {
        "description",
        "parameters",
        "parameter_openapi_schema",
        "tags",
        "job_variables",
        "work_pool_name",
        "work_queue_name",
        "path",
        "pull_steps",
        "entrypoint",
        "concurrency_options",
        "paused",
    }
    essence = deployment.model_dump(include=names)
    limit = deployment.global_concurrency_limit
    essence["limit"] = None if limit is None else limit.limit
    essence["schedules"] = [
        schedule.model_dump(include={"schedule", "active", "slug", "parameters"})
        for schedule in deployment.schedules
    ]
    return essence


def _schedule_words(deployment: DeploymentResponse) -> str:
    words = [
        f"{_rhythm(cast('Any', schedule.schedule))}{'' if schedule.active else ', paused'}"
        for schedule in deployment.schedules
    ]
    said = "; ".join(words) or "started by hand"
    return f"{said}; paused" if deployment.paused else said


def _rhythm(schedule: Any) -> str:
    interval = getattr(schedule, "interval", None)
    if interval is not None:
        return f"every {interval.total_seconds():.0f} s"
    return str(getattr(schedule, "cron", None) or getattr(schedule, "rrule", schedule))
