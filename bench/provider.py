"""A server that speaks OpenAI's embeddings and does nothing but wait, on a port of 127.0.0.1.

    python -m bench.provider LATENCY_S

Vectors are chosen from a pool by the position of their text, so that an answer costs the server
as little as it can. Its address is in the first line it prints; on every line it reads it says how
many requests there were.
"""

import asyncio
import base64
import contextlib
import sys
from typing import Any, Final

import numpy as np
import orjson
from aiohttp import web

from bench.programs import Message, answer_requests_async, say

DIMENSIONS: Final = (384, 1536)
"""What a small local model gives, and what text-embedding-3-small does; the first goes without
being asked for."""

POOL: Final = 64


class Provider:
    """Answers every request after the same time.

    Args:
        latency_s: from the last byte of a request to the first of its answer, seconds.
    """

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        random = np.random.default_rng(7)
        self._encoded = {
            dimensions: [
                base64.b64encode(vector.tobytes()).decode()
                for vector in random.standard_normal((POOL, dimensions)).astype("<f4")
            ]
            for dimensions in DIMENSIONS
        }
        self._answers: dict[tuple[int, int], bytes] = {}
        self.requests = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer a request for embeddings."""
        due = asyncio.get_running_loop().time() + self._latency_s
        body: dict[str, Any] = orjson.loads(await request.content.read())
        self.requests += 1
        key = len(body["input"]), body.get("dimensions", DIMENSIONS[0])
        if key not in self._answers:
            self._answers[key] = self._write(*key, body["model"])
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        return web.Response(body=self._answers[key], content_type="application/json")

    async def count(self, message: Message) -> Message:
        """Return how many requests there were."""
        del message
        return {"requests": self.requests}

    def _write(self, count: int, dimensions: int, model: str) -> bytes:
        encoded = self._encoded[dimensions]
        data = [
            {"object": "embedding", "index": i, "embedding": encoded[i % POOL]}
            for i in range(count)
        ]
        usage = {"prompt_tokens": 20 * count, "total_tokens": 20 * count}
        return orjson.dumps({"object": "list", "data": data, "model": model, "usage": usage})


async def main(latency_s: float) -> None:
    """Serve until there are no more requests on standard input."""
    provider = Provider(latency_s)
    runner = web.ServerRunner(web.Server(provider.answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    say(url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
    await answer_requests_async(provider.count)
    await runner.cleanup()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(float(sys.argv[1])))
