"""A project with items to evaluate, a chat model, and a deployment to start runs of."""

import json
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.flow_engine import run_flow_async

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.documents import Document, Documents
from aletheia.items.content import Automation, Item, item_id, make_item
from aletheia.quality.evaluation import EvaluationReport
from aletheia.quality.evaluation_store import EVALUATIONS, REQUESTS, EvaluationStore
from aletheia.quality.scores import PARTS
from aletheia.store.clock import Clock
from aletheia.text.normalisation import content_hash
from blocks import (
    BrainCredentials,
    EventCredentials,
    LLMCredentials,
    PayloadCredentials,
    StoreCredentials,
)
from flows.evaluate import evaluate_department
from tests.fakes.openai_chat import FakeChatServer, serve_fake_chat
from tests.fakes.payload_cms import FakePayload, serve_fake_payload

__all__ = ["setup"]

NAME = "evaluate_department"
ROOT = Path(__file__).parents[2]
ASKED = 4
"""Questions of a whole evaluation: three judges, and one for findings and suggestions."""


@dataclass
class EvaluationSetup:
    """What the saved blocks lead to, seen from outside.

    Attributes:
        project_id: a project that no other test has.
    """

    project_id: str
    payload: FakePayload
    chat: FakeChatServer
    documents: Documents
    content: EmbeddedContent

    async def add_items(self, department: str, *texts: str) -> list[str]:
        """Save items of a department; give their ids."""
        await self.content.insert_items(
            [
                make_item(
                    Item(content=text, summary="A gist.", context="Where it belongs."),
                    Automation("r1", 1, department, 1, "m", None, content_hash(text), mock=False),
                    "user-1",
                    datetime.now(UTC),
                )
                for text in texts
            ]
        )
        return [item_id(text) for text in texts]

    async def evaluate(
        self, number: int | None, project_id: str | None = None, **parameters: Any
    ) -> EvaluationReport:
        """Run the flow by hand."""
        running = evaluate_department(project_id or self.project_id, number, "user-1", **parameters)
        found = await cast("Awaitable[object]", running)
        assert isinstance(found, EvaluationReport)
        return found

    async def execute(self, run: FlowRun) -> EvaluationReport:
        """Do what a worker does with a run that was started."""
        running = run_flow_async(
            cast("Any", evaluate_department),
            flow_run=run,
            parameters=run.parameters,
            return_type="result",
        )
        found = await cast("Awaitable[object]", running)
        assert isinstance(found, EvaluationReport)
        return found

    def store(self, clock: datetime | None = None) -> EvaluationStore:
        """Open the requests of the project, by a clock that stands still if one is given."""
        now = datetime.now(UTC) if clock is None else clock
        return EvaluationStore(self.documents, self.project_id, clock=Clock(now.timestamp))

    async def requests(self) -> list[Document]:
        """Read all requests, oldest first."""
        return await self.documents.find(REQUESTS, {}, sort="requested_at")

    async def evaluations(self) -> list[Document]:
        """Read all evaluations."""
        return await self.documents.find(EVALUATIONS, {})


def judge(body: Mapping[str, Any]) -> str:
    """Answer as a judge: scores where scores are asked for, and else one finding."""
    if body["response_format"]["json_schema"]["name"] == "judged_quality":
        return json.dumps({part: {"score": 85, "reason": "It is so."} for part in PARTS})
    return json.dumps({"findings": [], "suggestions": []})


@pytest.fixture
async def setup(
    prefect_server: None,  # noqa: ARG001 - it only has to be there
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[EvaluationSetup]:
    for name, value in {
        "PROCESSING_MODE": "mock",
        "MAX_RETRIES": "0",
        "RETRY_BASE_SECONDS": "0",
        "GATHER_RETRY_BASE_SECONDS": "0",
        "CIRCUIT_BREAKER_THRESHOLD": "1000",
        "WEBHOOK_ALLOWED_HOSTS": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    project_id = f"p{uuid4().hex[:12]}"
    async with serve_fake_payload() as payload, serve_fake_chat() as chat:
        chat.write = judge
        payload.add("legal", 1, description="Reviews contracts and licences.")
        payload.add("support", 2, description="Answers customers and collects feedback.")
        store = StoreCredentials(data_dir=tmp_path)
        await store.asave("default", overwrite=True)
        await PayloadCredentials(base_url=payload.url).asave("default", overwrite=True)
        await BrainCredentials(data_dir=tmp_path).asave("default", overwrite=True)
        await with_model(chat)
        events = EventCredentials(webhook_secret="s3cret")  # pyright: ignore[reportArgumentType] - pydantic makes it a secret
        await events.asave("default", overwrite=True)
        documents, content = store.get_client(), store.get_content_client(project_id)
        assert isinstance(content, EmbeddedContent)
        await documents.open()
        await content.open()
        yield EvaluationSetup(project_id, payload, chat, documents, content)
        await content.close()
        await documents.close()


async def with_model(chat: FakeChatServer | None) -> None:
    """Choose this server as the judge, or the mock."""
    block = LLMCredentials()
    if chat is not None:
        block = LLMCredentials(openrouter_api_key=cast("Any", chat.api_key), base_url=chat.url)
    await block.asave("default", overwrite=True)


@asynccontextmanager
async def deployed(pool: str | None = None, queue: str | None = None) -> AsyncGenerator[UUID]:
    """Deploy the flow, for as long as the block lasts."""
    async with get_client() as client:
        deployment = await client.create_deployment(
            flow_id=await client.create_flow_from_name(NAME),
            name=NAME,
            entrypoint="flows/evaluate.py:evaluate_department",
            work_pool_name=pool,
            work_queue_name=queue,
            pull_steps=[
                {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
            ],
        )
        try:
            yield deployment
        finally:
            await client.delete_deployment(deployment)


async def started_runs(deployment: UUID) -> Sequence[FlowRun]:
    """List the runs of a deployment as a queue works them off."""
    async with get_client() as client:
        return await client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        )
