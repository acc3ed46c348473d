"""What gathering costs beside the models it waits for: `python -m bench.gather`.

Real flow runs in warm processes, on a real Prefect server and the embedded store, every step,
event and artifact included; a mock writes the items and makes up the vectors. Prints a table, and
one JSON object on its last line.

    ms_per_iteration  a run of 50 iterations over 7 departments, from its first event to that of
                      its last department, over its iterations: with an LLM that answers at once;
                      to open and close a run takes `seconds_around` on top
    ms_beside_100000  time from one iteration to the next, the median of a run beside 100,000 items,
                      their vectors in memory; `growth` is this over the same beside 1,000 items
    minutes           the same run with an LLM behind HTTP that takes a tenth of 8 s, times ten
    vs_one            wall time of three runs at once over that of one, an LLM that takes 0.8 s
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from statistics import median
from typing import Any, Final

import yaml
from rich.table import Table

from bench.figures import console, describe_machine, print_json
from bench.programs import BenchFailed, Message, Program
from bench.stage import START_TIMEOUT_S, Stage, perform, say
from deployments import ROOT

ITERATIONS: Final = 50
ROUNDS: Final = 3
FEW, MANY = 1_000, 100_000

SLOW_S: Final = 8.0
LATENCY_S: Final = 0.8
"""Of the chat model: a tenth of `SLOW_S`, so that the bench itself does not take minutes."""

AT_ONCE: Final = 3
SHORT: Final = 14
"""Iterations of a run that is worked beside others: two for each department."""

RUN_TIMEOUT_S: Final = 600.0

MAX: Final[Mapping[str, float]] = {
    "ms_per_iteration": 60,
    "ms_beside_100000": 80,
    "minutes": 10,
    "vs_one": 1.3,
}

_projects = (f"bench-{number}" for number in count(1))


async def bench(existing: int) -> None:
    """Measure, print the table, print the JSON object."""
    async with Stage.open() as stage:
        application = await stage.start("application", ["bench.application"])
        addresses = await application.listen(START_TIMEOUT_S)
        say("starting a process that gathers")
        own = await start_gatherer(stage, "own", addresses["payload"], "")
        figures, extra = await measure_instant(own, existing)
        await own.stop()
        say(f"starting {AT_ONCE} processes that gather with an LLM behind HTTP")
        await application.ask(START_TIMEOUT_S, latency_s=0)
        several = [
            await start_gatherer(stage, f"http-{number}", addresses["payload"], addresses["llm"])
            for number in range(1, AT_ONCE + 1)
        ]
        await application.ask(START_TIMEOUT_S, latency_s=LATENCY_S)
        more, further = await measure_slow(several)
    figures, extra = figures | more, extra | further
    table = Table(title="Gathering, without its models")
    for title in ("figure", "measured", "at most"):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for name, value in figures.items():
        is_good = value <= MAX[name]
        shown = f"{value:.2f}" if is_good else f"[bold red]{value:.2f}[/]"
        table.add_row(name, shown, f"{MAX[name]:g}")
    printer = console()
    printer.print()
    printer.print(table)
    for name, value in extra.items():
        printer.print(f"{name}: {value}", highlight=False)
    print_json(
        {
            **{name: round(value, 3) for name, value in figures.items()},
            "missed": [name for name, value in figures.items() if value > MAX[name]],
            **extra,
            **describe_machine(),
        }
    )


async def start_gatherer(stage: Stage, name: str, payload_url: str, llm_url: str) -> Program:
    """Start a process and let it work a first run, so that everything is imported."""
    command = ["bench.gatherer", payload_url, llm_url, str(stage.directory / "data")]
    program = await stage.start(name, command, PROCESSING_MODE="mock", **read_job_environment())
    await program.listen(START_TIMEOUT_S)
    await gather(program, SHORT)
    return program


def read_job_environment() -> dict[str, str]:
    """Read what `prefect.yaml` puts into the environment of every run."""
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return declared["definitions"]["work_pools"][0]["env"]


async def gather(program: Program, iterations: int, project: str | None = None) -> Message:
    """Run a project in a process of its own, by default a new one."""
    return await program.ask(
        RUN_TIMEOUT_S, op="gather", project=project or next(_projects), iterations=iterations
    )


async def measure_instant(own: Program, existing: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Measure what an iteration costs, and how that grows with what is there."""
    runs: list[Message] = []
    for number in range(1, ROUNDS + 1):
        runs.append(await gather(own, ITERATIONS))
        say(f"run {number}: {_describe(runs[-1])}")
    medians: list[float] = []
    for items in (FEW, existing):
        project = next(_projects)
        say(f"filling a project with {items:,} items")
        await own.ask(RUN_TIMEOUT_S, op="fill", project=project, items=items)
        run = await gather(own, ITERATIONS, project)
        medians.append(median(run["iteration_ms"]))
        say(f"beside {items:,} items: {medians[-1]:.1f} ms an iteration; {_describe(run)}")
    figures = {
        "ms_per_iteration": median(run["worked_ms"] / run["iterations"] for run in runs),
        "ms_beside_100000": medians[1],
    }
    extra = {
        "rounds": [round(run["worked_ms"] / run["iterations"], 1) for run in runs],
        "seconds_around": round(median(r["seconds"] - r["worked_ms"] / 1000 for r in runs), 2),
        "iterations": [run["iterations"] for run in runs],
        "growth": round(medians[1] / medians[0], 2),
        f"ms_beside_{FEW}": round(medians[0], 1),
        "existing": existing,
    }
    return figures, extra


async def measure_slow(several: Sequence[Program]) -> tuple[dict[str, float], dict[str, Any]]:
    """Measure how much of the model's time a run waits for, and runs beside each other."""
    slow = await gather(several[0], ITERATIONS)
    if slow["iterations"] < ITERATIONS:
        raise BenchFailed(f"the run came to {slow['iterations']} iterations, not {ITERATIONS}")
    say(f"with an LLM that takes {LATENCY_S:g} s: {_describe(slow)}")
    shares: list[float] = []
    for number in range(1, ROUNDS + 1):
        alone = await gather(several[0], SHORT)
        together = await asyncio.gather(*(gather(project, SHORT) for project in several))
        slowest = max(run["seconds"] for run in together)
        # Each of them has about as many iterations, and none more than the others' longest.
        shares.append(slowest / alone["seconds"])
        say(f"round {number}: one {alone['seconds']:.1f} s, {AT_ONCE} at once {slowest:.1f} s")
    figures = {
        "minutes": slow["seconds"] * SLOW_S / LATENCY_S / 60,
        "vs_one": median(shares),
    }
    extra = {
        "slow_iterations": slow["iterations"],
        "slow_seconds": round(slow["seconds"], 1),
        "vs_one_rounds": [round(share, 3) for share in shares],
    }
    return figures, extra


def _describe(run: Message) -> str:
    return f"{run['iterations']} iterations, {run['items']} items, {run['seconds']:.1f} s"


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.gather", description=__doc__)
    parser.add_argument("--existing", type=int, default=MANY, help="items of `ms_beside_100000`")
    asked = parser.parse_args()
    perform(partial(bench, asked.existing))


if __name__ == "__main__":
    main()
