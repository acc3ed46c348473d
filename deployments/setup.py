"""Set-up of a Prefect server: blocks from the environment, work pools, deployments.

Running it again changes what has changed and nothing else. A schedule that an operator has paused
or switched on stays so.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import yaml
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessWorker
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from aletheia.errors import AletheiaError, Misconfigured, Unavailable
from aletheia.settings import StoreSettings
from blocks import OpenAICredentials, UpstreamCredentials
from deployments import ROOT
from deployments.configuration import BLOCK_FIELDS
from deployments.environment import require_server

Outcome: TypeAlias = Literal["created", "updated", "unchanged"]

DOCUMENT = "default"
"""Name under which each block is saved, and by which flows load it."""

DEPLOY_TIMEOUT_S = 120.0


class DeployFailed(AletheiaError):
    """`prefect deploy` did not accept `prefect.yaml`.

    Args:
        output: what it printed.
    """

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


class _Declared(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class WorkQueue(_Declared):
    """A queue as `prefect.yaml` declares it; priority 1 is served first."""

    name: str
    priority: int = Field(ge=1)
    description: str = ""
    concurrency_limit: int | None = Field(default=None, ge=0)


class WorkPool(_Declared):
    """A work pool as `prefect.yaml` declares it."""

    name: str
    type: Literal["process"]
    description: str = ""
    queues: tuple[WorkQueue, ...] = ()


class _Definitions(_Declared):
    work_pools: tuple[WorkPool, ...] = ()


class Schedule(_Declared):
    """When a declared deployment starts by itself."""

    slug: str
    active: bool = True


class Deployment(_Declared):
    """What the set-up and its checks need of a declared deployment; the rest is Prefect's."""

    name: str
    entrypoint: str
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    schedules: tuple[Schedule, ...] = ()

    @property
    def full_name(self) -> str:
        """Flow and deployment, as other systems call it."""
        return f"{self.name}/{self.name}"


class Declarations(_Declared):
    """The parts of `prefect.yaml` that the set-up reads itself."""

    definitions: _Definitions = _Definitions()
    deployments: tuple[Deployment, ...] = ()


def read_declarations(root: Path = ROOT) -> Declarations:
    """Read `prefect.yaml`."""
    return Declarations.model_validate(yaml.safe_load((root / "prefect.yaml").read_text()))


def build_blocks(environment: Mapping[str, str], root: Path = ROOT) -> list[Block]:
    """Build every block from what is set.

    Args:
        environment: variables by upper-case name, none of them empty.
        root: a relative data directory is below it.

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


async def set_up(blocks: Sequence[Block], root: Path = ROOT) -> list[Done]:
    """Save blocks, create work pools, deploy what `prefect.yaml` declares.

    Raises:
        Misconfigured: no Prefect server is named. Prefect would start one of its own, for the
            time of this command.
        Unavailable: it does not answer.
        DeployFailed: Prefect does not accept `prefect.yaml`.
    """
    declared = read_declarations(root)
    require_server()
    async with get_client() as client:
        await check_server(client)
        done = [await _save_block(block) for block in blocks]
        for pool in declared.definitions.work_pools:
            done += await _ensure_pool(client, pool)
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


async def check_server(client: PrefectClient) -> None:
    """Check that the Prefect server answers.

    Raises:
        Unavailable: it does not.
    """
    trouble = await client.api_healthcheck()
    if trouble is not None:
        reason = f"{client.api_url} does not answer ({type(trouble).__name__})"
        raise Unavailable("Prefect server", reason)


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
    return ""


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
                base_job_template=ProcessWorker.get_default_base_job_template(),
            )
        )
        outcome: Outcome = "created"
    else:
        if found.type != pool.type:
            raise Misconfigured(
                f"work pool {pool.name!r}",
                f"is of type {found.type!r}, prefect.yaml says {pool.type!r}; delete it or rename",
            )
        outcome = "unchanged" if found.description == pool.description else "updated"
        if outcome == "updated":
            update = WorkPoolUpdate(description=pool.description)
            await client.update_work_pool(pool.name, update)
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
