"""`aletheia doctor`: checks a set-up end to end, and says what to do about each failure.

Every check stands on its own: one that fails, hangs or raises does not keep the others from
running, except where they need the same thing. Nothing is changed, but for a probe deployment that
is gone at the end. No secret is printed.
"""

import asyncio
import importlib.metadata
import json
import os
import platform
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast
from uuid import UUID

import prefect
import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, WorkerFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Cancelling
from rich.console import Console
from rich.table import Table

from aletheia.adapters.local.source import HuggingFaceHub, find_model, full_name, packaged_copy
from aletheia.adapters.ollama.client import OllamaClient
from aletheia.adapters.ollama.embedder import short_name
from aletheia.errors import AletheiaError, ModelUnavailable
from aletheia.intake.ledger import ROWS
from aletheia.settings import EmbeddingSettings, IntakeSettings, OllamaSettings
from aletheia.store.format import check_format
from blocks import OpenAICredentials, StoreCredentials, UpstreamCredentials
from deployments.configuration import find_faults
from deployments.setup import DOCUMENT, read_declarations

State: TypeAlias = Literal["ok", "warning", "failed", "skipped"]

CHECK_TIMEOUT_S: Final = 60.0

SCHEDULE_TIMEOUT_S: Final = 45.0
"""For the server to schedule a run of a new deployment; it looks every 5 s, or every 60."""

START_TIMEOUT_S: Final = 90.0
"""For a scheduled run to be running; a worker looks every 10 s, and a process takes 10 to start."""

CANCEL_TIMEOUT_S: Final = 60.0

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "9p", "afs", "ceph", "lustre", "gpfs"),
        *("beegfs", "glusterfs", "ocfs2", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs"),
        *("fuse.rclone", "fuse.ceph", "fuse.davfs2", "fuse.gcsfuse", "fuse.grpcfuse"),
    }
)
"""Where locks, and with them the embedded store, cannot be relied on."""

B = TypeVar("B", bound=Block)


@dataclass(frozen=True, slots=True)
class Checkup:
    """The outcome of one check.

    Attributes:
        check: what was looked at.
        state: `warning` leaves the set-up usable; `skipped` needs something that failed.
        found: what was seen.
        advice: what to do about it; empty where there is nothing to do.
    """

    check: str
    state: State
    found: str
    advice: str = ""


class Unwell(Exception):
    """A check has found something.

    Args:
        found: what was seen.
        advice: what to do about it.
        state: how bad it is.
    """

    def __init__(self, found: str, advice: str, state: State = "failed") -> None:
        super().__init__(found, advice, state)
        self.found, self.advice = found, advice
        self.state: State = state


Check: TypeAlias = Callable[[], Awaitable[str]]
"""Returns what was found, or raises `Unwell`."""


def examine(console: Console | None = None, *, skip_run: bool = False) -> list[Checkup]:
    """Run all checks.

    Args:
        console: where each is named as it begins.
        skip_run: leave out the last, which takes half a minute.
    """
    return asyncio.run(_examine(console, skip_run=skip_run))


def show(checkups: list[Checkup], console: Console, *, as_json: bool = False) -> None:
    """Print what was found."""
    if as_json:
        print(json.dumps([asdict(checkup) for checkup in checkups], indent=2))
        return
    colours = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
    table = Table("check", "state", box=None, padding=(0, 2, 0, 0))
    table.add_column("found, and what to do", overflow="fold")
    for it in checkups:
        advice = f"\n[bold]→ {_plain(it.advice)}[/]" if it.advice else ""
        table.add_row(
            it.check, f"[{colours[it.state]}]{it.state}[/]", f"{_plain(it.found)}{advice}"
        )
    console.print(table)
    failed = sum(checkup.state == "failed" for checkup in checkups)
    checks = "1 check" if failed == 1 else f"{failed} checks"
    verdict = f"[bold red]{checks} failed.[/]" if failed else "[green]All is well.[/]"
    console.print(verdict)


async def run_check(name: str, check: Check, timeout_s: float) -> Checkup:
    """Run one check; whatever happens in it is its outcome."""
    try:
        async with asyncio.timeout(timeout_s):
            return Checkup(name, "ok", await check())
    except Unwell as found:
        return Checkup(name, found.state, found.found, found.advice)
    except TimeoutError:
        return Checkup(name, "failed", f"no answer within {timeout_s:.0f} s", "try again")
    except AletheiaError as error:
        return Checkup(name, "failed", str(error), "mend that, then run `aletheia doctor` again")
    except Exception as error:  # noqa: BLE001  whatever it is, the other checks still run
        # Its text may hold what a library was given, and so a secret.
        found = f"the check broke: {type(error).__name__}"
        return Checkup(name, "failed", found, "please report this")


async def _examine(console: Console | None, *, skip_run: bool) -> list[Checkup]:
    checkups: list[Checkup] = []

    async def run(name: str, check: Check, timeout_s: float = CHECK_TIMEOUT_S) -> bool:
        if console is not None:
            console.print(f"  {name} …", style="dim", highlight=False)
        checkup = await run_check(name, check, timeout_s)
        checkups.append(checkup)
        return checkup.state in ("ok", "warning")

    def skip(reason: str, *names: str) -> None:
        checkups.extend(Checkup(name, "skipped", reason) for name in names)

    await run("Python", _check_python)
    await run("versions", _check_versions)
    await run("settings", _check_settings)
    await run("default model", _check_model)
    if not await run("Prefect server", _check_server):
        needing = ("block aletheia-store", "block aletheia-upstream", "deployments", "worker")
        skip("needs the Prefect server", *needing, "run scheduled, run, cancelled")
        return checkups
    if await run("block aletheia-store", lambda: _check_block(StoreCredentials)):
        await run("data directory", _check_data_dir)
        await run("store", _check_store)
    else:
        skip("needs the block", "data directory", "store")
    if await run("block aletheia-upstream", lambda: _check_block(UpstreamCredentials)):
        await run("upstream", _check_upstream)
    else:
        skip("needs the block", "upstream")
    is_deployed = await run("deployments", _check_deployments)
    is_served = await run("worker", _check_worker)
    if skip_run:
        skip("not asked for", "run scheduled, run, cancelled")
    elif is_deployed and is_served:
        longest = SCHEDULE_TIMEOUT_S + START_TIMEOUT_S + CANCEL_TIMEOUT_S + CHECK_TIMEOUT_S
        await run("run scheduled, run, cancelled", _check_run, longest)
    else:
        skip("needs the deployments and a worker", "run scheduled, run, cancelled")
    return checkups


def _distribution() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution("aletheia")
    except importlib.metadata.PackageNotFoundError:
        raise Unwell("aletheia is not installed", "make install") from None


async def _check_python() -> str:
    wanted = _distribution().metadata["Requires-Python"]
    found = platform.python_version()
    if found not in SpecifierSet(wanted or ""):
        raise Unwell(f"{found}, needed is {wanted}", "make install PYTHON=/path/to/a/newer/python3")
    return found


async def _check_versions() -> str:
    wrong: list[str] = []
    wanted = [Requirement(line) for line in _distribution().requires or []]
    needed = [it for it in wanted if it.marker is None or it.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found}, needed is {requirement.specifier}")
    if wrong:
        raise Unwell("; ".join(wrong), "touch pyproject.toml && make install")
    return f"{len(needed)} packages within their bounds"


async def _check_settings() -> str:
    faults = find_faults()
    if faults:
        raise Unwell("; ".join(map(str, faults)), "mend .env; docs/configuration.md has all of it")
    return "every variable makes sense"


class _OnlyLooking(HuggingFaceHub):
    """The hub, of which only is asked whether it is there."""

    is_reachable = False

    def obstacle(self) -> str | None:
        obstacle = super().obstacle()
        self.is_reachable = obstacle is None
        return obstacle

    def download(self, model: str) -> Path:
        raise FileNotFoundError(f"{model} is not fetched by a check")


async def _check_model() -> str:
    settings = EmbeddingSettings()
    if settings.processing_mode == "mock":
        raise Unwell(
            "PROCESSING_MODE=mock: vectors mean nothing", "unset it, to use a model", "warning"
        )
    if settings.is_remote:
        return await _check_providers(settings)
    model, hub = full_name(settings.default_model), _OnlyLooking()
    try:
        files = await asyncio.to_thread(
            find_model,
            model,
            hub=hub,
            model_dir=settings.local_model_dir,
            is_default=True,
            packaged=packaged_copy(),
        )
    except ModelUnavailable as unavailable:
        if hub.is_reachable:
            return f"{model} comes from the hub, when it is first needed"
        raise Unwell(
            str(unavailable), "set LOCAL_MODEL_DIR to a directory that holds it, or reach the hub"
        ) from None
    return f"{model} from {files.source.replace('_', ' ')}, {files.path}"


async def _check_providers(settings: EmbeddingSettings) -> str:
    """Ask Ollama what it has, and look at OpenAI's key without spending anything."""
    found: list[str] = []
    if settings.processing_mode in {"openai", "hybrid"}:
        account = await _load(OpenAICredentials)
        if account.has_key:
            found.append(f"a key for {account.base_url}, not tried")
        elif settings.processing_mode == "openai":
            said = "the placeholder: the mock runs" if account.is_placeholder else "no key"
            raise Unwell(f"OPENAI_API_KEY: {said}", "set it, then aletheia setup", "warning")
        else:
            found.append("no key for OpenAI: nothing stands in while Ollama is down")
    if settings.processing_mode in {"ollama", "hybrid"}:
        found.append(await _check_ollama(settings))
    return "; ".join(found)


async def _check_ollama(settings: EmbeddingSettings) -> str:
    url = OllamaSettings().ollama_base_url
    client = OllamaClient(url, timeout_s=CHECK_TIMEOUT_S)
    await client.open()
    try:
        version = await client.version()
        installed = {short_name(one.name) for one in await client.installed()}
    except AletheiaError as error:
        raise Unwell(f"{url}: {error}", "start Ollama, or mend OLLAMA_BASE_URL") from None
    finally:
        await client.close()
    wanted = {short_name(name) for name in (settings.default_model, *settings.supported_models)}
    missing = sorted(wanted - installed)
    later = f", {', '.join(missing)} pulled when a shift starts" if missing else ""
    return f"Ollama {version} at {url} with {len(wanted) - len(missing)} of its models{later}"


async def _check_server() -> str:
    url = get_current_settings().api.url
    if url is None:
        raise Unwell("no server is configured", "make up, or set PREFECT_API_URL")
    async with get_client() as client:
        if await client.api_healthcheck() is not None:
            raise Unwell(f"{url} does not answer", "start it (make up), or mend PREFECT_API_URL")
        version = await client.api_version()
    found = f"{url}, Prefect {version}"
    # The server speaks its own API version where it is an older one.
    if _minor(version) != _minor(prefect.__version__):
        raise Unwell(
            f"{found}; installed here is {prefect.__version__}", "run the same on both sides"
        )
    return found


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


async def _check_block(block: type[B]) -> str:
    loaded = await _load(block)
    shown = getattr(loaded, "base_url", None) or getattr(loaded, "data_dir", None)
    return f"saved as {block.get_block_type_slug()}/{DOCUMENT}: {shown}"


async def _load(block: type[B]) -> B:
    try:
        return await cast("Awaitable[B]", block.aload(DOCUMENT))
    except ValueError:
        name = f"{block.get_block_type_slug()}/{DOCUMENT}"
        raise Unwell(f"{name} is not saved", "aletheia setup") from None


async def _check_data_dir() -> str:
    directory = (await _load(StoreCredentials)).data_dir
    if not directory.is_absolute():
        raise Unwell(f"{directory} is relative", "aletheia setup saves it as it should be")
    there = next(path for path in (directory, *directory.parents) if path.exists())
    kind = file_system(there)
    if kind in NETWORK_FILE_SYSTEMS:
        raise Unwell(
            f"{directory} is on {kind}, a network file system, which loses locks and data",
            "set ALETHEIA_DATA_DIR to a local disk, or MONGODB_URI; then aletheia setup",
        )
    probe = there / f".doctor-{secrets.token_hex(4)}"
    try:
        with probe.open("wb") as file:
            file.write(b"written")
            os.fsync(file.fileno())
    except OSError as error:
        raise Unwell(f"{there}: {error.strerror}", "make it writable for this user") from None
    finally:
        probe.unlink(missing_ok=True)
    return f"{directory}, writable, on {kind}"


def file_system(path: Path) -> str:
    """Name the kind of file system a path is on, as mounts call it."""
    place = path.resolve()
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[it] for it in (place, *place.parents) if it in mounts), "unknown")


async def _check_store() -> str:
    store = (await _load(StoreCredentials)).get_client()
    try:
        await store.open()
        await check_format(store)
        tasks = await store.count(ROWS, {})
        skew = await store.clock_skew_s()
    finally:
        await store.close()
    return f"opens, {tasks} tasks in the ledger{_check_skew('the store', skew)}"


async def _check_upstream() -> str:
    client = (await _load(UpstreamCredentials)).get_client()
    try:
        await client.open()
        entries = await client.pending(1)
        skew = client.clock_skew_s()
    finally:
        await client.close()
    pending = "tasks are pending" if entries else "nothing is pending"
    return f"signed in, {pending}{_check_skew('the upstream', skew)}"


def _check_skew(whose: str, skew: float | None) -> str:
    """Put a difference of clocks in words; leases tolerate only so much of it."""
    if skew is None:
        return ""
    tolerated = IntakeSettings().clock_skew_seconds
    if abs(skew) > tolerated:
        raise Unwell(
            f"the clock of {whose} is {skew:+.1f} s off ours, {tolerated:g} s are tolerated",
            "synchronise the clocks (NTP), or raise CLOCK_SKEW_SECONDS",
        )
    return f", clock {skew:+.1f} s"


async def _check_deployments() -> str:
    declared = read_declarations().deployments
    paused: list[str] = []
    async with get_client() as client:
        for deployment in declared:
            try:
                found = await client.read_deployment_by_name(deployment.full_name)
            except ObjectNotFound:
                raise Unwell(f"{deployment.full_name} is missing", "aletheia setup") from None
            off = {schedule.slug for schedule in deployment.schedules if not schedule.active}
            if found.paused or any(not it.active and it.slug not in off for it in found.schedules):
                paused.append(deployment.full_name)
    if paused:
        raise Unwell(
            f"paused: {', '.join(paused)}", "resume it in the Prefect UI, if you want", "warning"
        )
    return ", ".join(deployment.full_name for deployment in declared)


async def _check_worker() -> str:
    names: list[str] = []
    async with get_client() as client:
        for pool in read_declarations().definitions.work_pools:
            try:
                found = await client.read_work_pool(pool.name)
            except ObjectNotFound:
                raise Unwell(f"work pool {pool.name} is missing", "aletheia setup") from None
            if found.is_paused:
                raise Unwell(f"work pool {pool.name} is paused", "resume it in the Prefect UI")
            online = await client.read_workers_for_work_pool(
                pool.name,
                worker_filter=WorkerFilter.model_validate({"status": {"any_": ["ONLINE"]}}),
            )
            if not online:
                raise Unwell(
                    f"no worker is online for work pool {pool.name}",
                    f"make up, or: prefect worker start --pool {pool.name}",
                )
            names += [f"{worker.name} for {pool.name}" for worker in online]
    return f"online: {', '.join(names)}"


async def _check_run() -> str:
    """See a run through: scheduled by the server, started by a worker, cancelled."""
    async with get_client() as client, _probe_deployment(client) as deployment:
        began = time.monotonic()
        run = await _until(
            lambda: _first_run(client, deployment),
            SCHEDULE_TIMEOUT_S,
            "the server schedules no runs",
            "look for errors of the scheduler in the server's log, and check its versions",
        )
        scheduled = time.monotonic()
        await _until(
            lambda: _in_state(client, run.id, StateType.RUNNING),
            START_TIMEOUT_S,
            "a scheduled run is not started",
            "look into the worker's log; is the checkout where the deployment says?",
        )
        running = time.monotonic()
        await client.set_flow_run_state(run.id, Cancelling(message="aletheia doctor"))
        await _until(
            lambda: _in_state(client, run.id, StateType.CANCELLED),
            CANCEL_TIMEOUT_S,
            "a running run is not cancelled",
            "look into the worker's log for its cancellation observer",
        )
        cancelled = time.monotonic()
    return (
        f"scheduled after {scheduled - began:.0f} s, running after {running - scheduled:.0f} more, "
        f"cancelled after {cancelled - running:.0f} more"
    )


@asynccontextmanager
async def _probe_deployment(client: PrefectClient) -> AsyncGenerator[UUID]:
    """Have a deployment of the probe flow that is due soon, and every minute."""
    like = await _declared_deployment(client)
    # The server looks at new deployments every 5 s, and makes up for nothing that was due before.
    due = datetime.now(UTC) + timedelta(seconds=8)
    deployment = await client.create_deployment(
        await client.create_flow_from_name("probe"),
        f"doctor-{secrets.token_hex(4)}",
        entrypoint="flows/probe.py:probe",
        schedules=[
            DeploymentScheduleCreate(
                schedule=IntervalSchedule(interval=timedelta(minutes=1), anchor_date=due)
            )
        ],
        work_pool_name=like.work_pool_name,
        work_queue_name=like.work_queue_name,
        path=like.path,
        pull_steps=like.pull_steps,
        job_variables=like.job_variables,
        tags=["doctor"],
    )
    try:
        yield deployment
    finally:
        for run in await _runs(client, deployment):
            with suppress(ObjectNotFound):
                await client.delete_flow_run(run.id)
        await client.delete_deployment(deployment)


async def _declared_deployment(client: PrefectClient) -> DeploymentResponse:
    """Read a deployment that was set up: the probe's code is where its code is."""
    return await client.read_deployment_by_name(read_declarations().deployments[0].full_name)


async def _runs(client: PrefectClient, deployment: UUID) -> list[FlowRun]:
    wanted = {"deployment_id": {"any_": [str(deployment)]}}
    return await client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))


async def _first_run(client: PrefectClient, deployment: UUID) -> FlowRun | None:
    runs = await _runs(client, deployment)
    return min(runs, key=_due, default=None)


def _due(run: FlowRun) -> Any:
    return run.expected_start_time


async def _in_state(client: PrefectClient, run: UUID, wanted: StateType) -> FlowRun | None:
    found = await client.read_flow_run(run)
    if found.state_type == wanted:
        return found
    if found.state is not None and found.state.is_final():
        raise Unwell(
            f"a run that does nothing ended as {found.state.name}: {found.state.message}",
            "look into the worker's log",
        )
    return None


async def _until(
    look: Callable[[], Awaitable[FlowRun | None]], timeout_s: float, found: str, advice: str
) -> FlowRun:
    ends = time.monotonic() + timeout_s
    while (run := await look()) is None:
        if time.monotonic() > ends:
            raise Unwell(f"{found} within {timeout_s:.0f} s", advice)
        await asyncio.sleep(0.5)
    return run


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
