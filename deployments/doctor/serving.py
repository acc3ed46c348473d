"""Checks of the service: whether it runs, whom it lets in, and who may read its metrics."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from yarl import URL

from aletheia.adapters.http import HttpClient
from aletheia.adapters.http_answers import Answer, load_object
from aletheia.adapters.jwks import KeyDocument
from aletheia.errors import Refused, Unavailable
from aletheia.service.guarding import MIN_KEY_BYTES
from aletheia.service.keys import SecretKey, read_keys
from aletheia.service.settings import ServiceSettings
from blocks import ServiceCredentials
from blocks.secret_values import value_of
from deployments.doctor.results import DEPENDENCY_TIMEOUT_S, CheckFailed, demand
from deployments.doctor.services import demand_length
from deployments.environment import local_servers
from tasks.session import current_session, load_block

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what a setting may say

MAX_PAGE_BYTES: Final = 2**20
"""Longest answer that is read: the page of metrics has 500 lines."""


def find_service() -> URL:
    """Return where the service is: the one that runs on this machine, or the one that is set."""
    running = local_servers().running("service")
    if running is not None and running.url is not None:
        return URL(running.url)
    settings = ServiceSettings()
    host = "127.0.0.1" if settings.service_host in EVERY_ADDRESS else settings.service_host
    return URL.build(scheme="http", host=host, port=settings.metrics_port)


async def check_service() -> str:
    """Check that the service answers, and that it has what it needs."""
    root = find_service()
    await _get(root / "health")
    answer = await _get(root / "health" / "ready")
    found = load_object(answer.body)
    checks: list[dict[str, Any]] = found["checks"]
    failed = [f"{it['name']} ({it['reason']})" for it in checks if it["status"] == "failed"]
    # Of providers, those are missing that nothing uses.
    lacks = [it["reason"] for it in checks if it["status"] == "missing" and not _is_provider(it)]
    said = "; ".join(
        [
            f"{root} answers",
            *([f"failed: {', '.join(failed)}"] if failed else []),
            *([f"not set: {', '.join(lacks)}"] if lacks else []),
        ]
    )
    demand(found["status"] == "ready", said, "mend what is named; its log says more")
    return said


def _is_provider(check: Mapping[str, Any]) -> bool:
    return str(check["name"]).startswith("provider ")


async def check_sign_in() -> str:
    """Check that the service can check tokens, and that the issuer's keys can be had."""
    settings, block = ServiceSettings(), await load_block(ServiceCredentials)
    client = block.get_client()
    whose = f"of {settings.auth_issuer!r} for {settings.auth_audience!r}"
    if isinstance(client, SecretKey):
        return f"tokens {whose}, signed with AUTH_JWT_SECRET"
    document: KeyDocument = await current_session().clients.open(client)
    try:
        count = len(read_keys(await document.read()))
    except (Unavailable, Refused) as error:
        advice = "correct AUTH_JWKS_URL, or let this machine reach it"
        raise CheckFailed(str(error), advice) from None
    demand(count, f"{settings.auth_jwks_url} has no key for RS256 or ES256", "ask the issuer")
    return f"tokens {whose}; {settings.auth_jwks_url} has {count} keys"


async def check_metrics() -> str:
    """Check that whoever knows the token can read the metrics, and nobody else."""
    token = value_of((await load_block(ServiceCredentials)).metrics_token)
    page = find_service() / "metrics"
    if not token:
        is_near = ServiceSettings().service_host in LOOPBACK
        advice = "set METRICS_TOKEN, then aletheia setup"
        demand(is_near, "open to whoever reaches the service", advice, "warning")
        demand((await _get(page)).is_success, f"{page} cannot be read", "its log says why")
        return "open to this machine"
    demand_length("METRICS_TOKEN", token, at_least=MIN_KEY_BYTES)
    advice = "a token that was changed holds half a minute after `aletheia setup`"
    said = f"{page} does not take METRICS_TOKEN"
    demand((await _get(page, token)).is_success, said, advice)
    stranger = await _get(page)
    closed = stranger.status == HTTPStatus.UNAUTHORIZED
    demand(closed, f"{page} answers {stranger.status} without a token", advice)
    return "read with METRICS_TOKEN, and not without it"


async def check_hooks() -> str:
    """Check that webhooks that are sent to the service can be verified."""
    block = await load_block(ServiceCredentials)
    if not value_of(block.webhook_in_secret):
        return "not configured: webhooks to the service need WEBHOOK_IN_SECRET"
    block.get_hook_secret()  # says what is wrong with it
    return "their signatures are verified"


async def _get(url: URL, token: str = "") -> Answer:
    """Get a page of the service. Raises `CheckFailed`: it does not answer."""
    client = HttpClient("service", address="SERVICE_HOST", timeout_s=DEPENDENCY_TIMEOUT_S)
    await current_session().clients.open(client)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return await client.exchange(
            "GET", url, headers=headers, secrets=(token,) if token else (), max_bytes=MAX_PAGE_BYTES
        )
    except Unavailable as error:
        advice = "aletheia serve (make up starts it); or set SERVICE_HOST and METRICS_PORT"
        raise CheckFailed(str(error), advice, "warning") from None
