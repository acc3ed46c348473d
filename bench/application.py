"""What gather runs of a bench talk to: an application with departments, and a chat model.

    python -m bench.application

listens on two ports of 127.0.0.1 and prints one JSON line with `payload` and `llm`, their
addresses. On standard input it takes `{"latency_s": seconds}`, how long each answer of the chat
model takes from then on, and says how many it has given so far.

The chat model is the mock behind HTTP: what it writes costs a millisecond.
"""

import asyncio
import contextlib
import json
from typing import Any, Final

import orjson
import uvloop
from aiohttp import web

from aletheia.adapters.mock.chat import MOCK_MODEL, Write, write_items
from aletheia.adapters.mock.judge import WRITERS
from aletheia.gather.prompts.generate_items import FORM
from aletheia.llm.messages import read_quoted
from bench.programs import Message, answer_requests_async, say
from deployments.examples.payload import ExamplePayload
from deployments.examples.server import LoopbackServer, answer

DEPARTMENTS: Final = {
    "Support": "Answers customers by mail and phone, handles refunds and complaints, and collects "
    "feedback on each release.",
    "Legal": "Reviews contracts and licences, watches data protection, and answers authorities.",
    "Logistics": "Plans deliveries, keeps the warehouse, and settles customs and returns.",
    "Finance": "Prepares budgets and forecasts, pays suppliers, and audits travel expenses.",
    "Recruiting": "Writes job offers, leads interviews, and prepares onboarding of new colleagues.",
    "Security": "Monitors intrusions, patches servers, and trains staff against phishing.",
    "Research": "Runs experiments, publishes reports, and tests prototypes with customers.",
}
"""Seven, with enough aspects that a few batches do not cover them."""

UNREACHED: Final = 100
"""Quality that the mock's items never have, so that every department goes on until it stalls."""


class ChatModel(LoopbackServer):
    """Answers chat completions in OpenAI's form, each after the same time."""

    def __init__(self) -> None:
        super().__init__(prefix="/v1")
        self.latency_s = 0.0
        self.answers = 0
        self._writers: dict[str, Write] = {FORM.name: write_items, **WRITERS}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        due = asyncio.get_running_loop().time() + self.latency_s
        body: dict[str, Any] = orjson.loads(await request.content.read())
        form: str = body["response_format"]["json_schema"]["name"]
        asked = "\n".join(message["content"] for message in body["messages"])
        text = json.dumps(self._writers[form](read_quoted(asked)))
        tokens = {"prompt_tokens": len(asked.split()), "completion_tokens": len(text.split())}
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
        }
        written = {
            "id": f"chatcmpl-{self.answers}",
            "object": "chat.completion",
            "created": 0,
            "model": MOCK_MODEL,
            "choices": [choice],
            "usage": {**tokens, "total_tokens": sum(tokens.values())},
        }
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        self.answers += 1
        return answer(orjson.dumps(written))

    async def control(self, message: Message) -> Message:
        """Change the latency."""
        self.latency_s = message["latency_s"]
        return {"answers": self.answers}


def departments() -> list[dict[str, Any]]:
    """Make the departments as Payload lists them."""
    return [
        {
            "id": f"{number:024x}",
            "slug": name.lower(),
            "name": name,
            "description": description,
            "codeDepNumber": number,
            "gatherCheck": True,
            "isActive": True,
            "defaultModel": None,
            "coordinationSettings": {"minQualityThreshold": UNREACHED},
        }
        for number, (name, description) in enumerate(DEPARTMENTS.items(), start=1)
    ]


async def main() -> None:
    """Serve until there are no more requests on standard input."""
    payload, chat = ExamplePayload(departments()), ChatModel()
    say(payload=await payload.start(), llm=await chat.start())
    await answer_requests_async(chat.control)
    await chat.stop()
    await payload.stop()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
