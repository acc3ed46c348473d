import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from aletheia.errors import Misconfigured
from deployments.local import DIRECTORY_MARK, NAME_MARK, Local
from deployments.private_files import make_sign_in
from deployments.processes import ProgramFailed, request

FEW = ("--tasks", "1", "--no-faults")


def test_nothing_runs_at_first(local: Local):
    assert local.running("server") is None
    assert local.processes() == []
    assert local.stop() == []


def test_a_started_program_answers_at_its_address(local: Local):
    program = local.start_example("upstream", FEW)
    assert request("GET", f"{program.url}/stats")["tasks"] == 1
    assert local.running("upstream") == program


def test_what_programs_write_is_read_by_nobody_else(local: Local):
    local.start_example("upstream", FEW)
    assert stat.S_IMODE(local.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(local.log("upstream").stat().st_mode) & 0o077 == 0


def test_starting_a_program_twice_starts_it_once(local: Local):
    assert local.start_example("upstream", FEW) == local.start_example("upstream", FEW)
    assert local.start_example("payload") == local.start_example("payload")
    assert len(local.processes()) == 2


def test_the_example_application_answers_at_its_address_and_is_stopped_with_the_others(
    local: Local,
):
    local.start_example("upstream", FEW)
    program = local.start_example("payload")
    assert request("GET", f"{program.url}/api/departments")["totalDocs"] > 3
    assert local.stop() == ["example upstream", "example application"]
    assert not psutil.pid_exists(program.pid)


def test_another_command_finds_what_runs(local: Local):
    program = local.start_example("upstream", FEW)
    assert Local(local.directory).running("upstream") == program


def test_stopping_ends_the_process(local: Local):
    program = local.start_example("upstream", FEW)
    assert local.stop() == ["example upstream"]
    assert not psutil.pid_exists(program.pid)
    assert local.running("upstream") is None


def test_a_killed_program_is_started_anew(local: Local):
    killed = local.start_example("upstream", FEW)
    os.kill(killed.pid, signal.SIGKILL)
    while local.running("upstream") is not None:
        time.sleep(0.01)
    program = local.start_example("upstream", FEW)
    assert program.pid != killed.pid
    assert request("GET", f"{program.url}/stats")["tasks"] == 1


@pytest.mark.parametrize(
    "record",
    [
        json.dumps({"name": "upstream", "pid": os.getpid(), "url": "http://127.0.0.1:1"}),
        json.dumps({"name": "upstream", "pid": 2**22 + 1, "url": "http://127.0.0.1:1"}),
        json.dumps({"pid": os.getpid()}),
        "[]",
        "",
    ],
    ids=["somebody else's process", "no process", "incomplete", "no record", "empty"],
)
def test_a_stale_record_is_not_believed(local: Local, record: str):
    local.stop()
    (local.directory / "run" / "upstream.json").write_text(record)
    assert local.running("upstream") is None


def test_what_a_killed_program_has_left_is_ended(local: Local):
    marks = {DIRECTORY_MARK: str(local.directory), NAME_MARK: "worker"}
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"],
        env=os.environ | marks,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert orphan.stdout is not None
    with orphan, orphan.stdout:
        orphan.stdout.readline()
        assert [process.pid for process in local.processes()] == [orphan.pid]
        local.stop()
        assert not psutil.pid_exists(orphan.pid)


def test_servers_of_another_directory_are_left_alone(local: Local, tmp_path: Path):
    other = Local(tmp_path / "other")
    program = local.start_example("upstream", FEW)
    assert other.stop() == []
    assert local.running("upstream") == program


def test_a_program_that_ends_at_once_says_why(local: Local):
    with pytest.raises(ProgramFailed) as failure:
        local.start_example("upstream", ["--no-such-option"])
    assert "unrecognized arguments" in failure.value.tail
    assert str(local.log("upstream")) in str(failure.value)


def test_servers_are_ended_whatever_has_become_of_their_password(local: Local):
    local.stop()  # makes the directory
    make_sign_in(local.password_file)
    local.password_file.chmod(0o644)
    with pytest.raises(Misconfigured, match="make down"):
        local.start_server()
    marks = {DIRECTORY_MARK: str(local.directory), NAME_MARK: "worker"}
    command = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    worker = subprocess.Popen(command, env=os.environ | marks, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    with worker, worker.stdout:
        worker.stdout.readline()
        record = json.dumps({"name": "worker", "pid": worker.pid})
        (local.directory / "run" / "worker.json").write_text(record)
        assert local.stop() == ["worker"]


def test_a_long_log_is_put_aside(local: Local):
    log = local.log("upstream")
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * 10_000_001)
    local.start_example("upstream", FEW)
    assert log.stat().st_size < 10_000
    assert log.with_suffix(".log.old").stat().st_size == 10_000_001


def test_a_server_configured_for_something_else_is_never_touched(
    local: Local, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_API_URL", "https://production/api")
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql://production")
    environment = local.environment("http://127.0.0.1:1")
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert "production" not in json.dumps(environment)
    assert "PREFECT_API_KEY" not in environment


def test_a_proxy_is_not_asked_for_this_machine(local: Local, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert local.environment()["NO_PROXY"] == "example.org,127.0.0.1,localhost"


def test_nobody_is_informed_about_our_use(local: Local):
    environment = local.environment()
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"


@pytest.mark.timeout(180)
def test_the_browser_finds_the_api_at_the_servers_own_port(shared: Local):
    server = shared.running("server")
    assert server is not None
    settings = request("GET", f"{server.url}/ui-settings")
    assert settings["api_url"] == f"{server.url}/api"


@pytest.mark.timeout(180)
def test_a_server_that_runs_is_not_started_again(shared: Local):
    assert shared.start_server() == shared.running("server")
