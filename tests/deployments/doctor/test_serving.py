"""The doctor's checks of the service, as it runs and as it does not."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from yarl import URL

from blocks import ServiceCredentials
from deployments.doctor import serving as checks
from deployments.doctor.results import CheckResult, run_check
from tests.fakes.service import open_service
from tests.fakes.serving import serving

TOKEN = "a-token-of-the-metrics-that-is-long-enough"


def use(monkeypatch: pytest.MonkeyPatch, url: str, **values: Any) -> None:
    """Point the checks to a service and its credentials."""

    async def load_block(block: object) -> ServiceCredentials:
        del block
        secrets = {name: SecretStr(value) for name, value in values.items()}
        return ServiceCredentials(**secrets)

    monkeypatch.setattr(checks, "load_block", load_block)
    monkeypatch.setattr(checks, "find_service", lambda: URL(url))


async def check(name: str) -> CheckResult:
    return await run_check(name, getattr(checks, f"check_{name}"))


async def test_a_service_that_runs_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with open_service(tmp_path) as service, serving(service.app) as url:
        use(monkeypatch, url)
        result = await check("service")
        assert (result.state, url in result.found) == ("ok", True)
        assert (await check("metrics")).state == "ok"


@pytest.mark.parametrize("name", ["service", "metrics"])
async def test_one_that_does_not_run_is_a_warning_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str
):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    use(monkeypatch, f"http://127.0.0.1:{port}", metrics_token=TOKEN)
    result = await check(name)
    assert result.state == "warning"
    assert "aletheia serve" in result.advice


@pytest.mark.parametrize(
    ("known", "state", "said"),
    [
        (TOKEN, "ok", "not without it"),
        (TOKEN + "-of-before", "failed", "does not take METRICS_TOKEN"),
        ("short", "failed", "METRICS_TOKEN has 5 characters"),
    ],
)
async def test_the_token_of_the_metrics_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str, state: str, said: str
):
    async with (
        open_service(tmp_path, metrics_token=TOKEN) as service,
        serving(service.app) as url,
    ):
        use(monkeypatch, url, metrics_token=known)
        result = await check("metrics")
    assert (result.state, said in result.found) == (state, True), result
    assert TOKEN not in result.found


async def test_a_token_that_is_not_asked_for_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with open_service(tmp_path) as service, serving(service.app) as url:
        use(monkeypatch, url, metrics_token=TOKEN)
        result = await check("metrics")
    assert (result.state, "answers 200 without a token" in result.found) == ("failed", True)


async def test_metrics_that_are_open_to_a_network_are_a_warning(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("SERVICE_HOST", "0.0.0.0")
    result = await check("metrics")
    assert (result.state, result.found) == ("warning", "open to whoever reaches the service")


async def test_tokens_may_be_signed_by_a_secret(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, "", auth_jwt_secret="a-secret-of-32-characters-or-more-than-that")
    assert "AUTH_JWT_SECRET" in (await check("sign_in")).found
    use(monkeypatch, "", auth_jwt_secret="short")
    assert (await check("sign_in")).state == "failed"
    use(monkeypatch, "")
    assert (await check("sign_in")).state == "failed"


@pytest.mark.parametrize(
    ("keys", "state", "said"),
    [
        ([RSAKey.generate_key(2048).as_dict(private=False)], "ok", "has 1 keys"),
        ([], "failed", "has no key"),
        ("none", "failed", "no JWK set"),
    ],
    ids=["one", "none", "no set"],
)
async def test_the_keys_of_an_issuer_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keys: Any, state: str, said: str
):
    async with open_service(tmp_path) as service:

        @service.app.get("/jwks")
        async def read_keys() -> Any:
            return json.loads(json.dumps({"keys": keys}))

        async with serving(service.app) as url:
            monkeypatch.setenv("AUTH_JWKS_URL", f"{url}/jwks")
            use(monkeypatch, url)
            result = await check("sign_in")
    assert (result.state, said in result.found) == (state, True), result


async def test_an_issuer_that_is_away_is_a_failure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AUTH_JWKS_URL", "http://127.0.0.1:9/jwks")
    use(monkeypatch, "")
    result = await check("sign_in")
    assert (result.state, "AUTH_JWKS_URL" in result.advice) == ("failed", True)


async def test_webhooks_in_need_a_secret_that_is_long_enough(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, "")
    assert "not configured" in (await check("hooks")).found
    use(monkeypatch, "", webhook_in_secret="short")
    assert (await check("hooks")).state == "failed"
    use(monkeypatch, "", webhook_in_secret="a-secret-of-webhooks-in")
    assert (await check("hooks")).state == "ok"
