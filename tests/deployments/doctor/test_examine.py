import asyncio
import json
from pathlib import Path

import pytest
from httpx import ConnectError, Request, Response
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks import (
    BrainCredentials,
    EventCredentials,
    LLMCredentials,
    StoreCredentials,
    UpstreamCredentials,
)
from deployments.configuration import find_faults
from deployments.doctor import dependencies, machine, probe, services, serving
from deployments.doctor.examine import CHECKS, examine
from deployments.doctor.results import CHECK_TIMEOUT_S, CheckFailed, CheckResult, run_check, show
from deployments.doctor.services import NETWORK_FILE_SYSTEMS, file_system
from deployments.local import Local
from deployments.setup import find_webhook_fault
from tests.deployments import printing
from tests.deployments.impostor import impersonating, signing_in

REQUEST = Request("GET", "http://127.0.0.1:1/api")


async def healthy() -> str:
    return "well"


async def fail() -> str:
    raise CheckFailed("ill", "rest")


async def broken() -> str:
    raise ValueError("password=hunter2")


def printed(results: list[CheckResult]) -> str:
    return printing.printed(lambda: show(results))


def test_every_check_is_a_row_of_the_doctor():
    written = {
        check
        for module in (dependencies, machine, probe, services, serving)
        for name, check in vars(module).items()
        if name.startswith("check_") and check.__module__ == module.__name__
    }
    assert written == {getattr(row.check, "func", row.check) for row in CHECKS}


async def test_a_check_says_what_it_found():
    assert await run_check("x", healthy, CHECK_TIMEOUT_S) == CheckResult("x", "ok", "well")


async def test_a_failed_check_says_what_to_do():
    result = await run_check("x", fail, CHECK_TIMEOUT_S)
    assert result == CheckResult("x", "failed", "ill", "rest")
    assert "→ rest" in printed([result])


async def test_a_broken_check_fails_alone_and_repeats_no_secret():
    result = await run_check("x", broken, CHECK_TIMEOUT_S)
    assert result.state == "failed"
    assert "ValueError" in result.found
    assert "hunter2" not in printed([result])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "loud"),
        ("CIRCUIT_BREAKER_THRESHOLD", "0"),
        ("LEASE_SECONDS", "inf"),
        ("SHIFT_SECONDS", "nan"),
        ("SUPPORTED_MODELS", "[hunter2"),
    ],
)
def test_a_setting_that_makes_no_sense_is_found_and_its_value_not_repeated(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
):
    assert find_faults() == []
    monkeypatch.setenv(name, value)
    (fault,) = find_faults()
    assert name in str(fault).upper()
    assert "hunter2" not in str(fault)


async def test_a_check_that_hangs_is_given_up():
    async def hanging() -> str:
        await asyncio.sleep(60)
        return ""

    assert (await run_check("x", hanging, 0.01)).state == "failed"


def test_the_verdict_counts_failures():
    well, ill = CheckResult("a", "ok", ""), CheckResult("b", "failed", "")
    assert "All checks passed" in printed([well])
    assert "1 check failed" in printed([well, ill])


def test_square_brackets_are_printed_as_they_are():
    assert "[red]" in printed([CheckResult("a", "failed", "[red]")])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="not Linux")
def test_the_kind_of_a_file_system_is_that_of_its_mount():
    assert file_system(Path("/proc/self")) == "proc"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs"])
def test_network_file_systems_are_known(kind: str):
    assert kind in NETWORK_FILE_SYSTEMS


@pytest.mark.parametrize(("mode", "state"), [(0o600, "ok"), (0o644, "failed"), (0o660, "failed")])
async def test_secrets_in_a_file_that_others_read_are_found(
    mode: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert (await run_check("x", machine.check_secrets_file, CHECK_TIMEOUT_S)).state == "ok"
    (tmp_path / ".env").write_text("API_TOKEN=hunter2\n")
    (tmp_path / ".env").chmod(mode)
    result = await run_check("x", machine.check_secrets_file, CHECK_TIMEOUT_S)
    assert result.state == state
    assert ("chmod 600" in result.advice) is (state == "failed")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("sign_in", "fault"), [("", "is not set"), ("aletheia:wrong", "is not what")]
)
def test_a_missing_and_a_wrong_password_are_said_with_the_variable(
    server: str, sign_in: str, fault: str
):
    with signing_in(f"{server}/api", sign_in):
        results = {result.check: result for result in examine(skip_run=True)}
    assert f"PREFECT_API_AUTH_STRING: {fault}" in results["Prefect server"].found
    assert "PREFECT_API_AUTH_STRING" in results["Prefect server"].advice
    assert results["worker"].state == "skipped"


@pytest.mark.parametrize(
    "trouble",
    [
        ConnectError("there is no server"),
        RuntimeError("no server is configured"),
        PrefectHTTPStatusError("401", request=REQUEST, response=Response(401, request=REQUEST)),
    ],
)
async def test_without_a_server_a_remote_provider_is_skipped(
    trouble: Exception, monkeypatch: pytest.MonkeyPatch
):
    async def load_block(block: object) -> None:
        del block
        raise trouble

    monkeypatch.setattr(machine, "load_block", load_block)
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    result = await run_check("x", machine.check_model, CHECK_TIMEOUT_S)
    assert result.state == "skipped"
    assert "openai, as PROCESSING_MODE says so" in result.found


async def test_a_chat_model_at_an_address_without_a_version_is_told_apart(
    server: str, monkeypatch: pytest.MonkeyPatch
):
    async def load_block(block: object) -> LLMCredentials:
        del block
        return LLMCredentials(openrouter_api_key=SecretStr("hunter2"), base_url=server)

    monkeypatch.setattr(dependencies, "load_block", load_block)
    result = await run_check("x", dependencies.check_llm, CHECK_TIMEOUT_S)
    assert result.state == "failed"
    assert "lists no models (404)" in result.found
    assert "/v1" in result.advice


def test_an_open_server_is_a_failure():
    with impersonating() as (port, _), signing_in(f"http://127.0.0.1:{port}/api", ""):
        result = asyncio.run(run_check("x", services.check_closed, CHECK_TIMEOUT_S))
    assert result.state == "failed"
    assert "is open" in result.found
    assert "PREFECT_SERVER_API_AUTH_STRING" in result.advice


@pytest.mark.timeout(300)
def test_keys_that_are_short_or_missing_are_failures(everything: Local, server: str):
    del everything, server
    EventCredentials(webhook_secret=SecretStr("short")).save("default", overwrite=True)
    BrainCredentials(
        service_base_url="http://127.0.0.1:1", service_api_key=SecretStr("k" * 15)
    ).save("default", overwrite=True)
    LLMCredentials(openrouter_api_key=SecretStr("hunter2"), base_url="http://127.0.0.1:1/v1").save(
        "default", overwrite=True
    )
    results = {result.check: result for result in examine(skip_run=True)}
    assert "WEBHOOK_SECRET has 5 characters" in results["webhooks"].found
    assert "BRAIN_SERVICE_API_KEY has 15 characters" in results["Brain"].found
    assert results["chat model"].state == "failed"
    assert "hunter2" not in str(results)
    EventCredentials(redis_url=SecretStr("redis://127.0.0.1:1")).save("default", overwrite=True)
    results = {result.check: result for result in examine(skip_run=True)}
    assert results["Redis"].state == "failed"
    assert results["webhooks"].state == "ok"
    for block in (EventCredentials(), BrainCredentials(), LLMCredentials()):
        block.save("default", overwrite=True)


@pytest.mark.parametrize(
    ("secret", "url", "is_fault"),
    [
        ("", "https://receiver.example", True),
        ("  ", "https://receiver.example", True),
        ("a secret of some length", "https://receiver.example", False),
        ("", None, False),
        ("", "", False),
    ],
)
def test_a_webhook_without_a_secret_is_a_fault(secret: str, url: str | None, is_fault: bool):
    fault = find_webhook_fault(secret, url)
    assert (fault is not None) is is_fault
    if fault is not None:
        assert "WEBHOOK_SECRET: is not set" in str(fault)


def test_without_a_server_what_needs_it_is_skipped():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        states = {result.check: result.state for result in examine()}
    assert states["Python"] == "ok"
    assert states["Prefect server"] == "failed"
    assert states["deployments"] == "skipped"


@pytest.mark.timeout(300)
def test_a_set_up_is_examined_end_to_end(everything: Local, server: str):
    del server
    upstream = everything.running("upstream")
    assert upstream is not None
    UpstreamCredentials(base_url=f"{upstream.url}").save("default", overwrite=True)
    StoreCredentials(data_dir=everything.directory).save("default", overwrite=True)
    results = {result.check: result for result in examine()}
    failed = [result for result in results.values() if result.state in ("failed", "skipped")]
    assert failed == []
    paused = set(results["deployments"].found.removeprefix("paused: ").split(", "))
    assert paused == {
        *("poll_tasks/poll_tasks", "system_reasoning/system_reasoning"),
        *("process_lane/media", "process_lane/llm"),
    }
    assert "cancelled after" in results["run scheduled, run, cancelled"].found
    with get_client(sync_client=True) as client:
        names = [deployment.name for deployment in client.read_deployments()]
    assert not [name for name in names if name.startswith("doctor-")]


@pytest.mark.timeout(300)
def test_what_is_wrong_is_told_apart(everything: Local, server: str, tmp_path: Path):
    del everything, server
    UpstreamCredentials(
        base_url="http://127.0.0.1:1", auth="token", token=SecretStr("hunter2")
    ).save("default", overwrite=True)
    (tmp_path / "file").write_text("in the way")
    StoreCredentials(data_dir=tmp_path / "file" / "data").save("default", overwrite=True)
    results = examine(skip_run=True)
    states = {result.check: result.state for result in results}
    assert states["upstream"] == states["store"] == states["data directory"] == "failed"
    assert states["Prefect server"] == "ok"
    assert "hunter2" not in json.dumps([result.found for result in results])
    assert all(result.advice for result in results if result.state == "failed")
