"""What gather runs of the tests work with: departments that are never filled, and a slow model."""

import json
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from blocks import EventCredentials, LLMCredentials, PayloadCredentials, StoreCredentials
from tests.fakes.openai_chat import FakeChatServer, serve_fake_chat
from tests.fakes.payload_cms import serve_fake_payload

ITEMS: Final = 6

ANSWER_S: Final = 0.15
"""How long the model takes: about half of an iteration, so that half of the stops are in it."""

ENVIRONMENT: Final = {
    "PROCESSING_MODE": "mock",
    "MAX_RETRIES": "0",
    "RATE_LIMIT_ENABLED": "false",
    "GATHER_BATCH_ITEMS": str(ITEMS),
    "GATHER_RETRY_BASE_SECONDS": "0",
}

WORDS = """
answer archive audit budget calendar chart clause client copy court customer deadline draft
expense feedback file folder forecast goal guide handover invoice journal ledger letter list
loan manual market meeting memo notice offer order owner page partner payment plan policy
price project question quote receipt record refund release report request review risk rule
salary sample schedule sheet signature source summary supplier survey tax team template
ticket tool total training update vendor version visit voucher warning week workshop
"""


def write_items(body: Mapping[str, Any]) -> str:
    """Make items of a question: the same ones of the same question, and others of another one."""
    draw = random.Random(json.dumps(body["messages"]))
    items: list[dict[str, str]] = []
    for _ in range(ITEMS):
        words = draw.sample(WORDS.split(), 9)
        content = (
            f"Check the {words[0]} and the {words[1]} every Monday, compare the {words[2]} with "
            f"the {words[3]}, and send the {words[4]} to the {words[5]} before the {words[6]}."
        )
        items.append(
            {"content": content, "summary": f"Check the {words[0]}.", "context": "For the week."}
        )
    return json.dumps({"items": items})


@asynccontextmanager
async def serve_application(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[FakeChatServer]:
    """Serve eight departments and a model, save the blocks that lead there, and yield the model."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    async with serve_fake_payload() as payload, serve_fake_chat() as chat:
        chat.write, chat.delay_s = write_items, ANSWER_S
        for number in range(8):
            slug = f"department-{number}"
            payload.add(slug, number, coordinationSettings={"minQualityThreshold": 100})
        await StoreCredentials(data_dir=data_dir).asave("default", overwrite=True)
        await PayloadCredentials(base_url=payload.url).asave("default", overwrite=True)
        account = LLMCredentials.model_validate(
            {"base_url": chat.url, "openrouter_api_key": chat.api_key}
        )
        await account.asave("default", overwrite=True)
        await EventCredentials().asave("default", overwrite=True)
        yield chat
