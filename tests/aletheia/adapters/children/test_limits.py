"""What a child process holds itself to."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aletheia.adapters.children.limits import (
    NICENESS,
    JobLimits,
    limit_process,
    limit_processor,
    resident_bytes,
)

BEGIN = "from aletheia.adapters.children.limits import *; import os, sys, resource, time; "


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_memory_beyond_the_limit_is_an_error_of_python():
    ran = run("limit_process(400_000_000); x = bytearray(350_000_000); y = bytearray(350_000_000)")
    assert "MemoryError" in ran.stderr


def test_files_are_few_and_small_and_there_is_no_core():
    code = (
        "limit_process(10**9); "
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0], "
        "resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1000, "
        "resource.getrlimit(resource.RLIMIT_FSIZE)[0] > 0)"
    )
    assert run(code).stdout.split() == ["0", "True", "True"]


def test_processor_time_counts_from_when_a_job_begins():
    code = (
        "t = time.process_time()\nwhile time.process_time() < t + 1.2: pass\n"
        "limit_processor(1)\nt = time.process_time()\nprint('began', flush=True)\n"
        "while time.process_time() < t + 0.7: pass\nprint('still there', flush=True)\n"
        "while time.process_time() < t + 9: pass\nprint('too late')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", BEGIN + "\n" + code], capture_output=True, text=True, check=False
    )
    assert ran.returncode == -24
    assert ran.stdout.splitlines() == ["began", "still there"]


def test_a_child_whose_parent_is_gone_already_ends_at_once():
    assert run("die_with(1 if os.getppid() != 1 else 2); print('alive')").stdout == ""
    assert run("die_with(os.getppid()); print('alive')").stdout == "alive\n"


def test_memory_that_is_used_is_seen():
    before = resident_bytes()
    held = bytearray(50_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert 30e6 < resident_bytes() - before < 80e6


def test_every_limit_is_set_and_only_as_long_as_a_job_is_that_of_the_processor(
    monkeypatch: pytest.MonkeyPatch,
):
    held: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", held.__setitem__)
    limit_process(10**9)
    limit_processor(2.5)
    assert held[resource.RLIMIT_AS] == (10**9, 10**9)
    assert held[resource.RLIMIT_CORE] == (0, 0)
    assert held[resource.RLIMIT_CPU][0] - time.process_time() >= 2.5
    assert held[resource.RLIMIT_CPU][1] == resource.getrlimit(resource.RLIMIT_CPU)[1]


def test_without_a_list_of_processes_the_peak_is_what_was_used(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", fail)
    assert resident_bytes() > 10_000_000


def test_limits_are_data():
    limits = JobLimits(processor_s=1, wall_s=2)
    assert limits.piece_s is None
    with pytest.raises(AttributeError):
        limits.wall_s = 3  # pyright: ignore[reportAttributeAccessIssue] - it is frozen


def test_a_child_yields_to_processes_that_somebody_waits_for():
    ran = run("yield_processor(); yield_processor(); print(os.nice(0))")
    assert int(ran.stdout) >= NICENESS, ran.stderr


LEAVE = """
import encodings.idna, json, socket, tempfile
from aletheia.adapters.children.child import path_of
server = socket.create_server(("127.0.0.1", 0))
{before}
opened = tempfile.TemporaryFile(dir="/tmp")
opened.write(b"kept"); opened.flush()
has_left = leave_network()
try:
    socket.create_connection(server.getsockname(), timeout=2).close()
    reached = True
except OSError:
    reached = False
with open(path_of(opened.fileno()), "rb") as again:
    print(json.dumps([has_left, reached, again.read().decode()]))
"""


@pytest.mark.parametrize("before", ["", "os.getuid() or os.setuid(65534)"])
def test_a_child_that_has_left_the_network_reaches_nobody_and_reads_its_files(before: str):
    ran = run(LEAVE.format(before=before))
    assert ran.returncode == 0, ran.stderr
    has_left, reached, kept = json.loads(ran.stdout)
    if not has_left:
        pytest.skip("this system lets no process leave the network")
    assert (reached, kept) == (False, "kept")
