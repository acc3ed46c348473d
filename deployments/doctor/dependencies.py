"""Checks of what runs work with: task types, the application, chat model, Brain, receivers."""

from http import HTTPStatus
from typing import Final

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from yarl import URL

from aletheia.adapters.http import HttpClient
from aletheia.brain.ports import BrainDepartment
from blocks import BrainCredentials, EventCredentials, LLMCredentials, PayloadCredentials
from blocks.secret_values import value_of
from deployments.doctor.results import DEPENDENCY_TIMEOUT_S, demand
from deployments.doctor.services import demand_length
from deployments.setup import GATHER, find_webhook_fault
from tasks.clients.processors import get_processors
from tasks.session import current_session, load_block

MAX_MODELS_BYTES: Final = 16 * 2**20
"""Longest list of models that is read, bytes; OpenRouter's has some hundred entries."""

SCRATCH: Final = "aletheia-doctor"
"""Project that is asked for at the Brain; nothing is saved in it."""


async def check_departments() -> str:
    """Check that the application lists departments."""
    block = await load_block(PayloadCredentials)
    if not block.base_url:
        return "not configured: gathering needs NEXT_PUBLIC_APP_URL"
    source = await current_session().clients.open(block.get_client())
    listed = await source.list_departments()
    found = f"{block.base_url} lists {len(listed.departments)} departments"
    faulty = f"{found}, and {len(listed.faults)} that cannot be used: {''.join(listed.faults[:1])}"
    demand(not listed.faults, faulty, "mend them in the application", "warning")
    demand(
        listed.departments,
        found,
        "set PAYLOAD_API_KEY to a key that may read them, or mark departments with gatherCheck and "
        "isActive",
        "warning",
    )
    return found


async def check_llm() -> str:
    """Check that the chat model's provider takes the key, without paying for anything."""
    block = await load_block(LLMCredentials)
    advice = "set OPENROUTER_API_KEY, OPENAI_API_KEY or ANTHROPIC_API_KEY, then aletheia setup"
    demand(block.choice != "mock", block.choice_in_words, advice, "warning")
    block.get_client()  # says what is wrong with key and address
    url = URL(block.url)
    # OpenRouter lists its models to anybody.
    url = url / ("key" if url.host == "openrouter.ai" else "models")
    headers = {"Authorization": f"Bearer {block.key}"}
    if block.choice == "anthropic":
        headers = {"x-api-key": block.key, "anthropic-version": "2023-06-01"}
    client = HttpClient(block.choice, address="LLM_PROVIDER", timeout_s=DEPENDENCY_TIMEOUT_S)
    await current_session().clients.open(client)
    answer = await client.exchange(
        "GET", url, headers=headers, secrets=(block.key,), max_bytes=MAX_MODELS_BYTES
    )
    demand(
        answer.status != HTTPStatus.NOT_FOUND,
        f"{block.choice} at {block.url} lists no models (404)",
        "set the address with its version, such as …/v1; then aletheia setup",
    )
    if not answer.is_success:
        raise answer.to_error(answer.excerpt())
    return f"{block.choice_in_words}; {url.host} takes the key"


async def check_brain() -> str:
    """Check that the Brain answers."""
    block = await load_block(BrainCredentials)
    if block.api_key:
        demand_length("BRAIN_SERVICE_API_KEY", block.api_key)
    if (service := block.get_service()) is not None:
        await current_session().clients.open(service)
        await service.read_context(SCRATCH, BrainDepartment(SCRATCH, SCRATCH), max_tokens=100)
        return f"the service at {block.service_base_url} answers"
    graph = await current_session().clients.open(block.get_graph())
    known = await graph.read_model()
    where = "Neo4j answers" if block.neo4j_uri else f"in files below {block.data_dir}"
    return f"{where}, {'nothing indexed yet' if known is None else f'vectors of {known[0]}'}"


async def check_redis() -> str:
    """Check that Redis answers."""
    client = (await load_block(EventCredentials)).get_client()
    if client is None:
        return "not configured: events are published where REDIS_URL is set"
    await current_session().clients.close_later(client).ping()
    return "answers"


async def check_webhooks() -> str:
    """Check that what is sent to webhooks can be signed."""
    secret = value_of((await load_block(EventCredentials)).webhook_secret)
    async with get_client() as client:
        try:
            parameters = (await client.read_deployment_by_name(GATHER)).parameters
        except ObjectNotFound:
            parameters = {}
    fault = find_webhook_fault(secret, parameters.get("webhook_url"))
    demand(fault is None, str(fault), "set it in .env, then aletheia setup")
    if not secret:
        return "not configured: runs with a webhook_url need WEBHOOK_SECRET"
    demand_length("WEBHOOK_SECRET", secret)
    return "a secret is set"


async def check_processors() -> str:
    """Check that every task type can be computed, those of users' packages among them."""
    processors = await get_processors()
    said = "; ".join(f"{name}: {fault}" for name, fault in processors.faults.items())
    advice = "mend or uninstall the package; until then tasks of its type stay pending"
    demand(not processors.faults, said, advice)
    return ", ".join(processors.types)
