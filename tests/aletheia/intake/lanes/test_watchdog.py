"""A worker whose event loop stands still ends."""

import asyncio
import subprocess
import sys

from aletheia.intake.lanes.watchdog import ending_if_blocked

PROGRAM = """
import asyncio, sys, time
from aletheia.intake.lanes.watchdog import ending_if_blocked

def compute_for_ever():
    while True:
        pass

async def main():
    async with ending_if_blocked(0.3):
        await asyncio.sleep(0.5)
        print("alive", flush=True)
        if sys.argv[1] == "blocks":
            compute_for_ever()

asyncio.run(main())
time.sleep(0.6)
print("done")
"""


def run(how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, how]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_loop_that_stands_still_ends_its_process_and_says_where():
    ran = run("blocks")
    assert (ran.returncode, ran.stdout) == (1, "alive\n")
    assert "compute_for_ever" in ran.stderr


def test_a_loop_that_turns_goes_on_and_nothing_is_left_behind():
    ran = run("turns")
    assert (ran.returncode, ran.stdout) == (0, "alive\ndone\n"), ran.stderr


async def test_it_can_be_used_in_a_process_that_goes_on():
    async with ending_if_blocked(60):
        await asyncio.sleep(0)
