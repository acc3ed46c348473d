"""The checks of `aletheia doctor`, in order.

A check that fails, hangs or raises does not keep the others from running, except where they need
the same thing. Nothing is changed, but for a probe deployment that is gone at the end. No secret is
printed.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from rich.console import Console

from blocks import StoreCredentials, UpstreamCredentials
from deployments.doctor import dependencies, machine, services
from deployments.doctor.clocks import check_clocks
from deployments.doctor.probe import PROBE_TIMEOUT_S, check_run
from deployments.doctor.results import (
    CHECK_TIMEOUT_S,
    DEPENDENCY_TIMEOUT_S,
    Check,
    CheckResult,
    run_check,
)

PROBE_RUN: Final = "run scheduled, run, cancelled"

DEPENDENCIES: Final[Mapping[str, Check]] = {
    "departments": dependencies.check_departments,
    "chat model": dependencies.check_llm,
    "Brain": dependencies.check_brain,
    "Redis": dependencies.check_redis,
    "webhooks": dependencies.check_webhooks,
}

NEED_SERVER: Final = (
    *("closed to strangers", "block aletheia-store", "data directory", "store", "clocks"),
    *("block aletheia-upstream", "upstream", *DEPENDENCIES, "deployments", "worker"),
)


def examine(console: Console | None = None, *, skip_run: bool = False) -> list[CheckResult]:
    """Run all checks, and name each on the console; the last one takes half a minute."""
    return asyncio.run(_examine(console, skip_run=skip_run))


async def _examine(console: Console | None, *, skip_run: bool) -> list[CheckResult]:
    results: list[CheckResult] = []

    async def run(name: str, check: Check, timeout_s: float = CHECK_TIMEOUT_S) -> bool:
        if console is not None:
            console.print(f"  {name} …", style="dim")
        result = await run_check(name, check, timeout_s)
        results.append(result)
        return result.state in ("ok", "warning")

    def skip(reason: str, *names: str) -> None:
        results.extend(CheckResult(name, "skipped", reason) for name in names)

    await run("Python", machine.check_python)
    await run("versions", machine.check_versions)
    await run("settings", machine.check_settings)
    await run(".env", machine.check_secrets_file)
    await run("default model", machine.check_model)
    if not await run("Prefect server", services.check_server):
        skip("needs the Prefect server", *NEED_SERVER, PROBE_RUN)
        return results
    await run("closed to strangers", services.check_closed)
    if await run("block aletheia-store", lambda: services.check_block(StoreCredentials)):
        await run("data directory", services.check_data_dir)
        await run("store", services.check_store)
        await run("clocks", check_clocks)
    else:
        skip("needs the block", "data directory", "store", "clocks")
    if await run("block aletheia-upstream", lambda: services.check_block(UpstreamCredentials)):
        await run("upstream", services.check_upstream)
    else:
        skip("needs the block", "upstream")
    for name, check in DEPENDENCIES.items():
        await run(name, check, DEPENDENCY_TIMEOUT_S)
    is_deployed = await run("deployments", services.check_deployments)
    is_served = await run("worker", services.check_worker)
    if skip_run:
        skip("not asked for", PROBE_RUN)
    elif is_deployed and is_served:
        await run(PROBE_RUN, check_run, PROBE_TIMEOUT_S)
    else:
        skip("needs the deployments and a worker", PROBE_RUN)
    return results
