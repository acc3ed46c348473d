"""The Prefect server of `up` is closed to everybody but its owner."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.workers.process import ProcessJobConfiguration
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from aletheia.errors import Misconfigured
from deployments import local as module
from deployments.declarations import read_declarations
from deployments.local import DIRECTORY_MARK, NAME_MARK, Local
from deployments.processes import ProgramFailed, free_port
from deployments.setup import GATHER, set_up
from tests.deployments.impostor import impersonating, signing_in

pytestmark = pytest.mark.timeout(300)

FOREIGN = "https://elsewhere.example"


@pytest.fixture
def url(everything: Local, server: str) -> str:
    """The server's API, with secrets in its blocks."""
    del everything
    return f"{server}/api"


def password_of(local: Local) -> str:
    return local.password_file.read_text().strip()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/block_types/slug/aletheia-upstream/block_documents?include_secrets=true", None),
        ("GET", "/admin/settings", None),
        ("GET", "/csrf-token?client=1", None),
        ("GET", "/work_pools/aletheia", None),
        ("POST", "/block_documents/filter", {"include_secrets": True}),
        ("POST", "/flow_runs/filter", {}),
        ("DELETE", "/work_pools/aletheia", None),
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic OnVzZXI="},
        {"Authorization": "Basic ======"},
        {"Authorization": "Bearer x"},
        {"Host": "elsewhere.example/api/health", "Origin": FOREIGN},
        {"X-Forwarded-For": "127.0.0.1", "X-Original-URL": "/api/health"},
    ],
)
def test_without_the_password_nothing_is_answered(
    url: str, method: str, path: str, body: Any, headers: dict[str, str]
):
    answer = httpx.request(method, f"{url}{path}", json=body, headers=headers, timeout=30)
    # Changes fail at the check for forgery first.
    assert answer.status_code == (401 if method == "GET" else 403)
    assert "aletheia" not in answer.text


@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://localhost:4200", "http://127.0.0.1"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_page_of_another_origin_is_refused(url: str, origin: str, method: str):
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    asked["Access-Control-Request-Headers"] = "authorization"
    answer = httpx.options(f"{url}/flow_runs/", headers=asked)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


def test_the_pages_of_the_server_itself_work(url: str, shared: Local):
    root = url.removesuffix("/api")
    asked = {"Origin": root, "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{url}/flow_runs/filter", headers=asked).status_code == 200
    settings = httpx.get(f"{root}/ui-settings").json()
    assert (settings["auth"], settings["csrf_enabled"]) == ("BASIC", True)
    # As the page does: the whole line is what a user types in.
    user, _, password = password_of(shared).partition(":")
    with httpx.Client(auth=(user, password), timeout=30) as page:
        token = page.get(f"{url}/csrf-token", params={"client": "page"}).json()["token"]
        headers = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "page"}
        assert page.post(f"{url}/flow_runs/filter", json={}, headers=headers).status_code == 200
        assert page.post(f"{url}/flow_runs/filter", json={}).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/events/in",
        "/events/out",
        "/logs/out",
        "/task_runs/subscriptions/scheduled",
        "/work_pools/aletheia/workers/connect",
    ],
)
@pytest.mark.parametrize("token", [None, "", "aletheia:wrong"])
async def test_a_socket_asks_for_the_password(url: str, path: str, token: str | None):
    address = url.replace("http", "ws", 1) + path
    with pytest.raises(WebSocketException):
        async with connect(address, subprotocols=[Subprotocol("prefect")]) as socket:
            await socket.send(json.dumps({"type": "auth", "token": token}))
            while True:
                assert "auth_success" not in str(await socket.recv())


def test_the_password_stands_nowhere_but_in_its_file(everything: Local):
    password = password_of(everything).partition(":")[2].encode()
    for file in everything.directory.rglob("*"):
        if file.is_file() and file != everything.password_file:
            assert password not in file.read_bytes(), file
    for process in everything.processes():
        assert password.decode() not in " ".join(process.cmdline())
        if any("examples" in word for word in process.cmdline()):
            assert password.decode() not in process.environ().values()


def test_nothing_below_the_directory_is_read_by_others(everything: Local):
    assert everything.directory.stat().st_mode & 0o077 == 0
    for name in ("password", "prefect/prefect.db", "logs/server.log", "logs/worker.log"):
        assert (everything.directory / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.parametrize(
    "variables",
    [
        {"command": "touch {file}"},
        {"working_dir": "/tmp"},
        {"env": {"PYTHONPATH": "/elsewhere"}},
        {"env.PYTHONPATH": "/elsewhere"},
        {"name": "{{ prefect.blocks.aletheia-upstream.default }}"},
    ],
)
async def test_a_job_variable_runs_nothing_and_changes_nothing(
    url: str, variables: dict[str, Any], tmp_path: Path
):
    del url
    file = tmp_path / "ran"
    given = json.loads(json.dumps(variables).replace("{file}", str(file)))
    async with get_client() as client:
        deployment = await client.read_deployment_by_name(GATHER)
        body = {"job_variables": given, "parameters": {"project_id": "p", "user_id": "u"}}
        with pytest.raises(PrefectHTTPStatusError, match="422"):
            await client.request(
                "POST",
                "/deployments/{id}/create_flow_run",
                path_params={"id": deployment.id},
                json=body,
            )
        # Other ways in are not checked by the server: there the template has no place for them.
        pool = await client.read_work_pool("aletheia")
        made = await ProcessJobConfiguration.from_template_and_values(
            pool.base_job_template, given, client=client
        )
    assert (made.command, made.working_dir, made.name) == (None, None, None)
    assert not file.exists()


async def test_a_pool_that_takes_commands_is_mended_by_the_set_up(url: str):
    del url
    declared = read_declarations().work_pools[0]
    open_template = {
        "job_configuration": {"command": "{{ command }}"},
        "variables": {"type": "object", "properties": {"command": {"type": "string"}}},
    }
    async with get_client() as client:
        body = {"base_job_template": open_template}
        await client.request(
            "PATCH", "/work_pools/{name}", path_params={"name": "aletheia"}, json=body
        )
        done = {row.name: row.outcome for row in await set_up([])}
        pool = await client.read_work_pool("aletheia")
    assert done["aletheia"] == "updated"
    assert pool.base_job_template == declared.base_job_template()


def test_whoever_answers_on_the_port_is_not_believed_and_told_nothing(
    local: Local, monkeypatch: pytest.MonkeyPatch
):
    answers = iter([True])
    is_free = module.is_free
    # The port was free at the first check.

    def seems_free(port: int) -> bool:
        return next(answers, False) or is_free(port)

    monkeypatch.setattr(module, "is_free", seems_free)
    with impersonating() as (port, seen):
        program = local.start_server(port=port)
    assert program.url != f"http://127.0.0.1:{port}"
    assert seen == []
    assert local.api.call("GET", "/admin/version")


def test_a_server_that_asks_for_no_password_is_not_used(local: Local):
    local.stop()  # makes the directory
    port = free_port()
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.deployments.impostor", str(port)],
        env=os.environ | {DIRECTORY_MARK: str(local.directory), NAME_MARK: "server"},
        stdin=subprocess.PIPE,
    )
    with program:
        record = {"name": "server", "pid": program.pid, "url": f"http://127.0.0.1:{port}"}
        (local.directory / "run" / "server.json").write_text(json.dumps(record))
        with pytest.raises(ProgramFailed, match="asks for no password"):
            local.start_server()
        program.kill()


def test_a_process_that_has_stopped_to_listen_is_no_server(local: Local):
    local.stop()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        program = subprocess.Popen(
            [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"],
            env=os.environ | {DIRECTORY_MARK: str(local.directory), NAME_MARK: "server"},
            stdout=subprocess.PIPE,
        )
        assert program.stdout is not None
        with program, program.stdout:
            program.stdout.readline()
            record = {"name": "server", "pid": program.pid, "url": f"http://127.0.0.1:{port}"}
            (local.directory / "run" / "server.json").write_text(json.dumps(record))
            assert local.running("server") is not None
            assert local.server_url() is None
            assert "PREFECT_API_AUTH_STRING" not in local.environment()
            program.kill()


@pytest.mark.parametrize(
    ("sign_in", "fault"), [("", "is not set, which the"), ("aletheia:wrong", "is not what the")]
)
async def test_a_set_up_without_the_password_says_which_variable(
    server: str, sign_in: str, fault: str
):
    with (
        signing_in(f"{server}/api", sign_in),
        pytest.raises(Misconfigured, match=f"PREFECT_API_AUTH_STRING: {fault}"),
    ):
        await set_up([])
