"""Checks of what a set-up talks to: Prefect, the blocks, the store, the upstream."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import prefect
import psutil
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import WorkerFilter
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import get_current_settings

from aletheia.errors import Misconfigured, Unavailable
from aletheia.intake.ledger import Ledger
from aletheia.intake.rows import ROWS
from blocks import StoreCredentials, UpstreamCredentials
from deployments import setup
from deployments.declarations import read_declarations
from deployments.doctor.results import CheckFailed, demand
from deployments.doctor.scratch import check_operations
from deployments.setup import DOCUMENT, MIN_KEY_LENGTH
from tasks.clients.store import get_store
from tasks.session import current_session, load_block

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "9p", "afs", "ceph", "lustre", "gpfs"),
        *("beegfs", "glusterfs", "ocfs2", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs"),
        *("fuse.rclone", "fuse.ceph", "fuse.davfs2", "fuse.gcsfuse", "fuse.grpcfuse"),
    }
)
"""File systems whose locks, and with them the embedded store, are not reliable."""

FOREIGN_ORIGIN: Final = "https://elsewhere.example"


async def check_server() -> str:
    """Check that the Prefect server answers, lets us in, and is of our version."""
    url = get_current_settings().api.url
    demand(url, "no server is configured", "make up, or set PREFECT_API_URL")
    async with get_client() as client:
        try:
            version = await setup.check_server(client)
        except Unavailable as error:
            raise CheckFailed(str(error), "start it (make up), or fix PREFECT_API_URL") from None
        except Misconfigured as error:
            raise CheckFailed(str(error), f"set {error.name} in .env") from None
    found = f"{url}, Prefect {version}"
    # The server speaks its own API version where it is an older one.
    is_ours = version.split(".")[:2] == prefect.__version__.split(".")[:2]
    other = f"{found}; installed here is {prefect.__version__}"
    demand(is_ours, other, "run the same on both sides")
    return found


async def check_closed() -> str:
    """Check that the Prefect server keeps out who has no password, and pages of other origins."""
    api = get_current_settings().api
    async with PrefectClient(api.url or "") as stranger:
        try:
            await stranger.api_version()
        except PrefectHTTPStatusError:
            pass
        else:
            raise CheckFailed(
                f"{api.url} is open: who reaches it reads every secret and runs code in the worker",
                "make down, make up; or start it with PREFECT_SERVER_API_AUTH_STRING=user:password "
                "and set PREFECT_API_AUTH_STRING here",
            )
        answer = await stranger.request("GET", "/health", headers={"Origin": FOREIGN_ORIGIN})
    demand(
        answer.headers.get("Access-Control-Allow-Origin") not in ("*", FOREIGN_ORIGIN),
        f"{api.url} answers pages of any origin",
        "start it with PREFECT_SERVER_CORS_ALLOWED_ORIGINS set to its own address",
        "warning",
    )
    password = (api.auth_string.get_secret_value() if api.auth_string else "").partition(":")[2]
    if password:
        demand_length("its password", password, "set it on both sides")
    return "asks for a password, and refuses pages of other origins"


def demand_length(
    name: str, key: str, advice: str = "then aletheia setup", *, at_least: int = MIN_KEY_LENGTH
) -> None:
    """Raise `CheckFailed` if a key or password is short."""
    found = f"{name} has {len(key)} characters, {at_least} are needed"
    demand(len(key) >= at_least, found, f"openssl rand -hex 32 makes one; {advice}")


async def check_block(block: type[Block]) -> str:
    """Check that a block is saved."""
    loaded = await load_block(block)
    shown = getattr(loaded, "base_url", None) or getattr(loaded, "data_dir", None)
    return f"saved as {block.get_block_type_slug()}/{DOCUMENT}: {shown}"


async def check_data_dir() -> str:
    """Check that the data directory is writable and on a local disk."""
    directory = (await load_block(StoreCredentials)).data_dir
    advice = "run aletheia setup, which saves an absolute path"
    demand(directory.is_absolute(), f"{directory} is relative", advice)
    there = next(path for path in (directory, *directory.parents) if path.exists())
    kind = file_system(there)
    demand(
        kind not in NETWORK_FILE_SYSTEMS,
        f"{directory} is on {kind}, a network file system, which loses locks and data",
        "set ALETHEIA_DATA_DIR to a local disk, or MONGODB_URI; then aletheia setup",
    )
    try:
        with TemporaryFile(dir=there) as file:
            file.write(b"written")
            os.fsync(file.fileno())
    except OSError as error:
        raise CheckFailed(f"{there}: {error.strerror}", "make it writable for this user") from None
    return f"{directory}, writable, on {kind}"


def file_system(path: Path) -> str:
    """Return the kind of file system a path is on, as mounts name it."""
    place = path.resolve()
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[it] for it in (place, *place.parents) if it in mounts), "unknown")


async def check_store() -> str:
    """Check that the store opens, and its clock."""
    store = await get_store()
    await check_operations(store)
    tasks = await store.count(ROWS, {})
    skew = await store.clock_skew_s()
    return f"opens, {tasks} tasks in the ledger{_check_skew('the store', skew)}"


async def check_clocks() -> str:
    """Check that no poller's clock was ahead of another one's during the last day."""
    ledger = Ledger(await get_store(), current_session().settings.intake, owner="doctor")
    ahead = await ledger.claims.strays.find_clock_ahead()
    advice = "synchronise the clocks of all machines (NTP)"
    demand(ahead is None, str(ahead), advice, "warning")
    return "no poller's clock was ahead of another one's"


async def check_upstream() -> str:
    """Check that the upstream lists tasks, and its clock."""
    block = await load_block(UpstreamCredentials)
    if not block.has_upstream:
        return "none is polled: API_BASE_URL says so; tasks are pushed"
    auth, why = block.choose_auth()
    client = await current_session().clients.open(block.get_client())
    entries = await client.pending(1)
    pending = "tasks are pending" if entries else "nothing is pending"
    skew = _check_skew("the upstream", client.clock_skew_s())
    return f"signed in ({auth}, as {why}), {pending}{skew}"


def _check_skew(whose: str, skew: float | None) -> str:
    """Return a difference of clocks in words; leases tolerate a part of it only."""
    if skew is None:
        return ""
    tolerated = current_session().settings.intake.clock_skew_seconds
    demand(
        abs(skew) <= tolerated,
        f"the clock of {whose} is {skew:+.1f} s off ours, {tolerated:g} s are tolerated",
        "synchronise the clocks (NTP), or raise CLOCK_SKEW_SECONDS",
    )
    return f", clock {skew:+.1f} s"


@contextmanager
def _existing(name: str) -> Generator[None]:
    try:
        yield
    except ObjectNotFound:
        raise CheckFailed(f"{name} is missing", "aletheia setup") from None


async def check_deployments() -> str:
    """Check that everything is deployed, and nothing paused."""
    declared = read_declarations().deployments
    paused: list[str] = []
    async with get_client() as client:
        for deployment in declared:
            with _existing(deployment.full_name):
                found = await client.read_deployment_by_name(deployment.full_name)
            off = {schedule.slug for schedule in deployment.schedules if not schedule.active}
            if found.paused or any(not it.active and it.slug not in off for it in found.schedules):
                paused.append(deployment.full_name)
    advice = "resume it in the Prefect UI, if you want"
    demand(not paused, f"paused: {', '.join(paused)}", advice, "warning")
    return ", ".join(deployment.full_name for deployment in declared)


async def check_worker() -> str:
    """Check that each work pool has a worker online."""
    names: list[str] = []
    online = WorkerFilter.model_validate({"status": {"any_": ["ONLINE"]}})
    async with get_client() as client:
        for pool in read_declarations().work_pools:
            name = f"work pool {pool.name}"
            with _existing(name):
                found = await client.read_work_pool(pool.name)
            is_declared = found.base_job_template == pool.base_job_template()
            other = f"the job template of {name} is not the declared one"
            demand(is_declared, other, "aletheia setup")
            demand(not found.is_paused, f"{name} is paused", "resume it in the Prefect UI")
            workers = await client.read_workers_for_work_pool(pool.name, worker_filter=online)
            advice = f"make up, or: prefect worker start --pool {pool.name}"
            demand(workers, f"no worker is online for {name}", advice)
            names += [f"{worker.name} for {pool.name}" for worker in workers]
    return f"online: {', '.join(names)}"
