"""Checks of what gather runs talk to: the application, the chat model, the Brain, the receivers."""

from http import HTTPStatus
from typing import Final

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from yarl import URL

from aletheia.adapters.http import HttpClient
from aletheia.brain.ports import BrainDepartment
from blocks import BrainCredentials, EventCredentials, LLMCredentials, PayloadCredentials
from deployments.doctor.results import DEPENDENCY_TIMEOUT_S, CheckFailed
from deployments.doctor.services import load_block
from deployments.setup import GATHER, MIN_KEY_LENGTH, find_webhook_fault

MAX_MODELS_BYTES: Final = 16 * 2**20
"""Longest list of models that is read, bytes; OpenRouter's has some hundred entries."""

SCRATCH: Final = "aletheia-doctor"
"""Project that is asked for at the Brain; nothing is saved in it."""


async def check_departments() -> str:
    """Check that the application lists departments."""
    block = await load_block(PayloadCredentials)
    if not block.base_url:
        return "not configured: gathering needs NEXT_PUBLIC_APP_URL"
    source = block.get_client()
    await source.open()
    try:
        listed = await source.list_departments()
    finally:
        await source.close()
    found = f"{block.base_url} lists {len(listed.departments)} departments"
    if listed.faults:
        raise CheckFailed(
            f"{found}, and {len(listed.faults)} that cannot be used: {listed.faults[0].message}",
            "mend them in the application",
            "warning",
        )
    if not listed.departments:
        advice = (
            "set PAYLOAD_API_KEY to a key that may read them, or mark departments with gatherCheck "
            "and isActive"
        )
        raise CheckFailed(found, advice, "warning")
    return found


async def check_llm() -> str:
    """Check that the chat model's provider takes the key, without paying for anything."""
    block = await load_block(LLMCredentials)
    if block.choice == "mock":
        advice = "set OPENROUTER_API_KEY, OPENAI_API_KEY or ANTHROPIC_API_KEY, then aletheia setup"
        raise CheckFailed(block.choice_in_words, advice, "warning")
    block.get_client()  # says what is wrong with key and address
    url = URL(block.url)
    # OpenRouter lists its models to anybody.
    url = url / ("key" if url.host == "openrouter.ai" else "models")
    client = HttpClient(block.choice, address="LLM_PROVIDER", timeout_s=DEPENDENCY_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {block.key}"}
    if block.choice == "anthropic":
        headers = {"x-api-key": block.key, "anthropic-version": "2023-06-01"}
    await client.open()
    try:
        answer = await client.exchange(
            "GET", url, headers=headers, secrets=(block.key,), max_bytes=MAX_MODELS_BYTES
        )
    finally:
        await client.close()
    if answer.status == HTTPStatus.NOT_FOUND:
        advice = "set the address with its version, such as …/v1; then aletheia setup"
        raise CheckFailed(f"{block.choice} at {block.url} lists no models (404)", advice)
    if not answer.is_success:
        raise answer.to_error(answer.excerpt())
    return f"{block.choice_in_words}; {url.host} takes the key"


async def check_brain() -> str:
    """Check that the Brain answers."""
    block = await load_block(BrainCredentials)
    if block.api_key:
        _check_length("BRAIN_SERVICE_API_KEY", block.api_key)
    if (service := block.get_service()) is not None:
        await service.open()
        try:
            await service.read_context(SCRATCH, BrainDepartment(SCRATCH, SCRATCH), max_tokens=100)
        finally:
            await service.close()
        return f"the service at {block.service_base_url} answers"
    graph = block.get_graph()
    try:
        await graph.open()
        known = await graph.read_model()
    finally:
        await graph.close()
    where = "Neo4j answers" if block.neo4j_uri else f"in files below {block.data_dir}"
    return f"{where}, {'nothing indexed yet' if known is None else f'vectors of {known[0]}'}"


async def check_redis() -> str:
    """Check that Redis answers."""
    client = (await load_block(EventCredentials)).get_client()
    if client is None:
        return "not configured: events are published where REDIS_URL is set"
    try:
        await client.ping()
    finally:
        await client.close()
    return "answers"


async def check_webhooks() -> str:
    """Check that what is sent to webhooks can be signed."""
    secret = (await load_block(EventCredentials)).webhook_secret
    async with get_client() as client:
        try:
            parameters = (await client.read_deployment_by_name(GATHER)).parameters
        except ObjectNotFound:
            parameters = {}
    value = "" if secret is None else secret.get_secret_value().strip()
    if fault := find_webhook_fault(value, parameters.get("webhook_url")):
        raise CheckFailed(str(fault), "set it in .env, then aletheia setup")
    if not value:
        return "not configured: runs with a webhook_url need WEBHOOK_SECRET"
    _check_length("WEBHOOK_SECRET", value)
    return "a secret is set"


def _check_length(name: str, key: str) -> None:
    if len(key) < MIN_KEY_LENGTH:
        found = f"{name} has {len(key)} characters, {MIN_KEY_LENGTH} are needed"
        raise CheckFailed(found, "openssl rand -hex 32 makes one; then aletheia setup")
