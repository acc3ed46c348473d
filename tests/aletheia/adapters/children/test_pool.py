"""Jobs in child processes: what they yield, and what becomes of those that fail."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import NOT_STARTED, Children, Job
from aletheia.analysis.time_limits import next_within
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask, TooSlow

LIMITS = JobLimits(processor_s=20, wall_s=30)
MEMORY = 500_000_000


def job(name: str, limits: JobLimits = LIMITS, **arguments: Any) -> Job:
    return Job(f"tests.fakes.jobs:{name}", limits, arguments)


@pytest.fixture
async def children() -> AsyncGenerator[Children]:
    opened = Children(MEMORY, count=2)
    await opened.open()
    yield opened
    await opened.close()
    left = [child.pid for child in psutil.Process().children() if "child" in " ".join(_line(child))]
    assert left == []


def _line(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


async def run(children: Children, job: Job) -> list[Any]:
    async with aclosing(children.run(job)) as pieces:
        return [piece async for piece in pieces]


async def fail(children: Children, job: Job) -> tuple[list[Any], AletheiaError]:
    """What a job yielded before it failed, and its error."""
    got: list[Any] = []
    with pytest.raises((InvalidTask, ComputeFailed)) as failed:
        async with aclosing(children.run(job)) as pieces:
            async for piece in pieces:
                got.append(piece)  # noqa: PERF401 - what came before the error is the point
    return got, failed.value


async def test_a_child_does_one_job_after_another(children: Children):
    assert await run(children, job("count", upto=5)) == [0, 1, 2, 3, 4]
    (pid,) = children.idle_pids
    assert await run(children, job("count", upto=0)) == []
    assert children.idle_pids == (pid,)


async def test_the_time_limit_of_a_task_does_not_count_the_jobs_of_others():
    alone = Children(MEMORY, count=1)
    await alone.open()
    await run(alone, job("count", upto=1))

    async def compute() -> AsyncGenerator[list[Any]]:
        yield await run(alone, job("nap", seconds=1.0))

    answers = [next_within(compute(), 1.6, "it") for _ in range(3)]
    assert await asyncio.gather(*answers) == [[1]] * 3
    with pytest.raises(TooSlow):
        await next_within(compute(), 0.3, "it")
    await alone.close()


async def test_a_job_reads_files_that_have_no_name(children: Children):
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as two:
        for file, text in ((one, b"one"), (two, b"two")):
            file.write(text)
            file.flush()
        read = Job("tests.fakes.jobs:read", LIMITS, {}, (one.fileno(), two.fileno()))
        assert await run(children, read) == ["one", "two"]
        (before,) = await run(children, job("describe"))
        assert await run(children, read) == ["one", "two"]
        (after,) = await run(children, job("describe"))
        assert after["open"] == before["open"], "a child keeps none of them"


async def test_a_child_gets_no_secret_and_stands_nowhere(
    children: Children, monkeypatch: pytest.MonkeyPatch
):
    for name in ("OPENAI_API_KEY", "PREFECT_API_KEY", "WEBHOOK_SECRET", "MONGODB_URI", "HOME"):
        monkeypatch.setenv(name, "s3cret")
    (found,) = await run(children, job("describe"))
    assert "s3cret" not in str(found)
    assert found["directory"] == "/"
    assert found["pid"] != os.getpid()


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("refuse", {}, "encrypted"),
        ("break_down", {}, "decoder_error"),
        ("crash", {"after": 1}, "decoder_died"),
        ("leave", {}, "decoder_died"),
        ("be_killed", {}, "decoder_died"),
        ("allocate", {"size": 10_000_000}, "too_large"),
        ("abort_without_memory", {}, "too_large"),
        ("no_such_job", {}, "decoder_error"),
    ],
)
async def test_what_fails_has_its_code_and_keeps_what_it_had(
    children: Children, name: str, arguments: Mapping[str, Any], code: str
):
    got, error = await fail(children, job(name, **arguments))
    assert error.code == code
    assert len(got) == (0 if name == "no_such_job" else 1)
    assert await run(children, job("count", upto=2)) == [0, 1], "the next one is none the worse"


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("hang", JobLimits(processor_s=20, wall_s=0.5)),
        ("hang", JobLimits(processor_s=20, wall_s=20, piece_s=0.5)),
        ("spin", JobLimits(processor_s=1, wall_s=90)),
        ("flood", JobLimits(processor_s=20, wall_s=1)),
    ],
    ids=["wall", "piece", "processor", "flood"],
)
async def test_what_takes_too_long_is_ended_and_its_child_with_it(
    children: Children, name: str, limits: JobLimits
):
    await run(children, job("count", upto=1))
    (pid,) = children.idle_pids
    began = time.monotonic()
    got, error = await fail(children, job(name, limits))
    assert (got, error.code) == ([1], "too_slow")
    # Children yield to others: a second of a busy processor is some ten of theirs.
    assert time.monotonic() - began < 60
    assert not psutil.pid_exists(pid)


async def test_time_that_the_reader_takes_is_not_the_jobs(children: Children):
    limits = JobLimits(processor_s=20, wall_s=0.6, piece_s=0.6)
    got: list[int] = []
    async with aclosing(children.run(job("count", limits, upto=4))) as pieces:
        async for piece in pieces:
            got.append(piece)
            await asyncio.sleep(0.3)
    assert got == [0, 1, 2, 3]


async def test_a_result_without_end_ends(children: Children):
    limits = JobLimits(processor_s=20, wall_s=30, result_bytes=1_000_000)
    got, error = await fail(children, job("answer_for_ever", limits))
    assert error.code == "too_large"
    assert sum(map(len, got)) <= 1_000_000


async def test_a_job_that_floods_its_log_takes_little_from_the_others(children: Children):
    async def measure() -> float:
        began = time.process_time()
        await asyncio.sleep(1.0)
        return time.process_time() - began

    await run(children, job("count", upto=1))
    quiet = await measure()
    flood = asyncio.create_task(fail(children, job("flood", JobLimits(20, wall_s=2))))
    await asyncio.sleep(0.5)  # what is free of it has passed
    assert await measure() < quiet + 0.15
    assert await run(children, job("count", upto=3)) == [0, 1, 2]
    await flood


async def test_a_talkative_job_is_none_the_slower(children: Children):
    assert await run(children, job("chatter", lines=20_000)) == [20_000]


async def test_a_job_that_is_left_early_is_ended(children: Children):
    async with aclosing(children.run(job("hang"))) as pieces:
        assert await anext(pieces) == 1
        running = [child.pid for child in psutil.Process().children()]
    assert not any(map(psutil.pid_exists, running)) or children.idle_pids == ()
    assert children.idle_pids == ()


async def test_a_job_that_is_cancelled_is_ended(children: Children):
    task = asyncio.create_task(run(children, job("spin")))
    await asyncio.sleep(0.7)
    (running,) = [
        child for child in psutil.Process().children() if "child" in " ".join(_line(child))
    ]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running.is_running()


async def test_no_more_children_work_at_once_than_may(children: Children):
    limits = JobLimits(20, wall_s=1)
    began = time.monotonic()
    tasks = [asyncio.create_task(fail(children, job("hang", limits))) for _ in range(3)]
    await asyncio.sleep(0.6)
    alive = [c for c in psutil.Process().children() if "children.child" in " ".join(_line(c))]
    assert len(alive) <= 2
    await asyncio.gather(*tasks)
    assert time.monotonic() - began >= 2


async def test_a_child_that_holds_on_to_much_is_replaced(children: Children):
    (first,) = await run(children, job("keep", size=MEMORY // 10))
    assert children.idle_pids == (first,)
    (again,) = await run(children, job("keep", size=6 * MEMORY // 10))
    assert again == first
    assert children.idle_pids == ()


async def test_a_child_is_replaced_after_many_jobs():
    children = Children(MEMORY, max_jobs=2)
    await children.open()
    pids: list[tuple[int, ...]] = []
    for _ in range(4):
        await run(children, job("count", upto=1))
        pids.append(children.idle_pids)
    await children.close()
    assert pids[1] == pids[3] == ()
    assert pids[0] != pids[2]


async def test_a_child_that_died_while_it_was_idle_costs_no_job(children: Children):
    await run(children, job("count", upto=1))
    (pid,) = children.idle_pids
    psutil.Process(pid).kill()
    await asyncio.sleep(0.3)
    assert await run(children, job("count", upto=1)) == [0]


@pytest.mark.parametrize("command", [("/no/such/program",), ("false",)])
async def test_a_child_that_does_not_start_is_an_error_of_the_job(command: tuple[str, ...]):
    children = Children(MEMORY, command=command)
    await children.open()
    _, error = await fail(children, job("count", upto=1))
    assert (error.code, error.retryable) == (NOT_STARTED, True)
    await children.close()


async def test_what_a_child_has_started_ends_with_it(children: Children):
    got, error = await fail(children, job("start_another", JobLimits(20, wall_s=1)))
    assert error.code == "too_slow"
    assert not psutil.pid_exists(got[0]) or psutil.Process(got[0]).status() == "zombie"


@pytest.mark.timeout(120)
def test_children_work_the_same_on_the_loop_of_pollers():
    async def main() -> list[object]:
        children = Children(MEMORY, count=2)
        await children.open()
        found: list[object] = [await run(children, job("count", upto=3))]
        for name, limits in (
            ("refuse", LIMITS),
            ("be_killed", LIMITS),
            ("hang", JobLimits(20, wall_s=0.5)),
            ("flood", JobLimits(20, wall_s=0.5)),
        ):
            got, error = await fail(children, job(name, limits))
            found.append((got, error.code))
        with tempfile.TemporaryFile() as file:
            file.write(b"read")
            file.flush()
            read = Job("tests.fakes.jobs:read", LIMITS, {}, (file.fileno(),))
            both = await asyncio.gather(run(children, read), run(children, read))
        cancelled = asyncio.create_task(run(children, job("spin")))
        await asyncio.sleep(0.5)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        await children.close()
        return [*found, *both, cancelled.cancelled()]

    assert uvloop.run(main()) == [
        *([0, 1, 2], ([1], "encrypted"), ([1], "decoder_died")),
        *(([1], "too_slow"), ([1], "too_slow"), ["read"], ["read"], True),
    ]


async def test_children_end_with_their_parent(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, script, stdout=asyncio.subprocess.PIPE, env=_with_path()
    )
    assert parent.stdout
    pids = [int(await parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    await parent.wait()
    for _ in range(100):
        if not any(psutil.pid_exists(pid) for pid in pids):
            break
        await asyncio.sleep(0.05)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def _with_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


PARENT = """
import asyncio
from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import Children, Job

async def main():
    children = Children(500_000_000, count=2)
    await children.open()
    limits = JobLimits(100, 100)
    async for piece in children.run(Job("tests.fakes.jobs:describe", limits)):
        print(piece["pid"], flush=True)
    spin = children.run(Job("tests.fakes.jobs:report_and_spin", limits))
    print(await anext(spin), flush=True)
    await asyncio.sleep(100)

asyncio.run(main())
"""
