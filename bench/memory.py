"""Whether a poller grows with the tasks it does: `python -m bench.memory`.

One shift of `poll_tasks` with the mock, on a real server; prints a table, and one JSON object on
its last line.
"""

import argparse
import asyncio
from functools import partial
from typing import Final

import psutil
from rich.table import Table

from bench.figures import console, describe_machine, print_json
from bench.programs import BenchFailed
from bench.stage import START_TIMEOUT_S, Stage, perform, say

TASKS: Final = 50_000
BASE: Final = 5_000
"""After so many tasks everything that is loaded once has been loaded."""

MAX_GROWTH: Final = 1.10

POLL_EVERY_S: Final = 0.5
TIMEOUT_S: Final = 900.0


async def bench(tasks: int, base: int) -> None:
    """Measure, print the table, print the JSON object."""
    samples: list[tuple[int, int]] = []
    async with Stage.open() as stage:
        load = {"op": "load", "name": "pipeline", "tasks": tasks, "tag": "memory"}
        await stage.ask_upstream(START_TIMEOUT_S, **load)
        poller = await stage.start_pipeline("pipeline", PROCESSING_MODE="mock")
        process = psutil.Process(poller.pid)
        loop = asyncio.get_running_loop()
        began_at, ends_at = 0.0, loop.time() + TIMEOUT_S
        say(f"polling {tasks:,} tasks")
        reported = 0
        while not samples or samples[-1][0] < tasks:
            await asyncio.sleep(POLL_EVERY_S)
            progress = await stage.ask_upstream(30, op="progress", name="pipeline")
            try:
                resident = process.memory_info().rss
            except psutil.NoSuchProcess:
                raise poller.failed("ended") from None
            if loop.time() > ends_at:
                raise BenchFailed(f"{progress['done']:,} tasks after {TIMEOUT_S:.0f} s")
            done = progress["done"]
            if done:
                began_at = began_at or loop.time()
                samples.append((done, resident))
            if done >= reported + base:
                reported = done
                say(f"{done:,} tasks, {resident / 2**20:.0f} MiB")
        seconds = loop.time() - began_at
    at_base = next(resident for done, resident in samples if done >= base)
    at_end = samples[-1][1]
    growth = at_end / at_base
    table = Table(title=f"{tasks:,} tasks with the mock, {tasks / seconds:.0f} a second")
    for title in ("tasks", "resident MiB", "of that at the base"):
        table.add_column(title, justify="right")
    for mark in range(base, tasks + 1, base):
        done, resident = next(sample for sample in samples if sample[0] >= mark)
        table.add_row(f"{done:,}", f"{resident / 2**20:.1f}", f"{resident / at_base:.3f}")
    printer = console()
    printer.print()
    printer.print(table)
    printer.print(f"growth {growth:.3f}, must be at most {MAX_GROWTH:.2f}")
    print_json(
        {
            "growth": round(growth, 3),
            "missed": ["growth"] if growth > MAX_GROWTH else [],
            "resident_mib": {
                "base": round(at_base / 2**20, 1),
                "end": round(at_end / 2**20, 1),
                "peak": round(max(resident for _, resident in samples) / 2**20, 1),
            },
            "tasks": tasks,
            "base": base,
            "tasks_per_second": round(tasks / seconds, 1),
            **describe_machine(),
        }
    )


def main() -> None:
    """Read the command line and run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test with a fifth of it")
    options = parser.parse_args()
    perform(partial(bench, TASKS // 5 if options.quick else TASKS, BASE))


if __name__ == "__main__":
    main()
