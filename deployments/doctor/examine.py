"""The command `doctor`: its checks, in order. They change nothing, and print no secret."""

import asyncio
from functools import partial
from typing import Annotated, Final, NamedTuple

import typer

from blocks import StoreCredentials, UpstreamCredentials
from deployments.console import console
from deployments.doctor import dependencies, machine, services, serving
from deployments.doctor.probe import PROBE_TIMEOUT_S, check_run
from deployments.doctor.results import (
    CHECK_TIMEOUT_S,
    DEPENDENCY_TIMEOUT_S,
    Check,
    CheckResult,
    run_check,
    show,
)
from deployments.explaining import JsonOption

app = typer.Typer()


class Row(NamedTuple):
    """A check by its name, and the checks before it without which it is skipped."""

    name: str
    check: Check
    needs: tuple[str, ...] = ()
    timeout_s: float = CHECK_TIMEOUT_S


PREFECT: Final = "Prefect server"
STORE: Final = "block aletheia-store"
UPSTREAM: Final = "block aletheia-upstream"
PROBE_RUN: Final = "run scheduled, run, cancelled"

CHECKS: Final = (
    Row("Python", machine.check_python),
    Row("versions", machine.check_versions),
    Row("settings", machine.check_settings),
    Row(".env", machine.check_secrets_file),
    Row("default model", machine.check_model),
    Row(PREFECT, services.check_server),
    Row("closed to strangers", services.check_closed, (PREFECT,)),
    Row(STORE, partial(services.check_block, StoreCredentials), (PREFECT,)),
    Row("data directory", services.check_data_dir, (STORE,)),
    Row("store", services.check_store, (STORE,)),
    Row("clocks", services.check_clocks, (STORE,)),
    Row(UPSTREAM, partial(services.check_block, UpstreamCredentials), (PREFECT,)),
    Row("upstream", services.check_upstream, (UPSTREAM,)),
    Row("task types", dependencies.check_processors, (STORE,), DEPENDENCY_TIMEOUT_S),
    Row("departments", dependencies.check_departments, (PREFECT,), DEPENDENCY_TIMEOUT_S),
    Row("chat model", dependencies.check_llm, (PREFECT,), DEPENDENCY_TIMEOUT_S),
    Row("Brain", dependencies.check_brain, (PREFECT,), DEPENDENCY_TIMEOUT_S),
    Row("Redis", dependencies.check_redis, (PREFECT,), DEPENDENCY_TIMEOUT_S),
    Row("webhooks", dependencies.check_webhooks, (PREFECT,), DEPENDENCY_TIMEOUT_S),
    Row("service", serving.check_service, (PREFECT,), DEPENDENCY_TIMEOUT_S),
    Row("sign-in", serving.check_sign_in, (PREFECT,), DEPENDENCY_TIMEOUT_S),
    Row("metrics", serving.check_metrics, (PREFECT,), DEPENDENCY_TIMEOUT_S),
    Row("webhooks in", serving.check_hooks, (PREFECT,)),
    Row("deployments", services.check_deployments, (PREFECT,)),
    Row("worker", services.check_worker, (PREFECT,)),
    Row(PROBE_RUN, check_run, ("deployments", "worker"), PROBE_TIMEOUT_S),
)


@app.command()
def doctor(
    as_json: JsonOption = False,
    skip_run: Annotated[bool, typer.Option(help="Do not try a run, which takes longest.")] = False,
) -> None:
    """Check a set-up end to end, and say what to do about each failure."""
    results = examine(is_quiet=as_json, skip_run=skip_run)
    show(results, as_json=as_json)
    if any(result.state == "failed" for result in results):
        raise typer.Exit(1)


def examine(*, is_quiet: bool = True, skip_run: bool = False) -> list[CheckResult]:
    """Run all checks, and name each on the console; the last one takes half a minute."""
    results: list[CheckResult] = []
    for row in CHECKS:
        passed = {result.check for result in results if result.state in ("ok", "warning")}
        if row.name == PROBE_RUN and skip_run:
            result = CheckResult(row.name, "skipped", "not asked for")
        elif not passed.issuperset(row.needs):
            result = CheckResult(row.name, "skipped", f"needs {', '.join(row.needs)}")
        else:
            if not is_quiet:
                console.print(f"  {row.name} …", style="dim")
            result = asyncio.run(run_check(row.name, row.check, row.timeout_s))
        results.append(result)
    return results
