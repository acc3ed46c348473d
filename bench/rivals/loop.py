"""A plain asyncio poller: pages of 10, 5 tasks in flight, one text at a time in a thread.

    python -m bench.rivals.loop http://127.0.0.1:PORT/NAME MODEL_DIR

It speaks HTTP with aiohttp, which costs the least of the usual clients.
"""

import asyncio
import contextlib
import sys
from typing import Any

import aiohttp
from sentence_transformers import SentenceTransformer

PAGE = 100
IN_FLIGHT = 5
INTERVAL_S = 1.0


class Poller:
    """Works off pending tasks, page by page."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, model: Any) -> None:
        self._session, self._url, self._model = session, f"{base_url}/api/ai-tasks", model
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def poll(self) -> int:
        """Do one page; say how many tasks were on it."""
        async with self._session.get(f"{self._url}/pending?limit={PAGE}") as response:
            response.raise_for_status()
            page: list[dict[str, Any]] = (await response.json())["data"]
        await asyncio.gather(*(self._work(task) for task in page))
        return len(page)

    async def _work(self, task: dict[str, Any]) -> None:
        async with self._slots:
            await self._report(task["id"], {"state": "processing"})
            text = task["data"]["text"]
            vector = await asyncio.to_thread(self._model.encode, text, show_progress_bar=False)
            result = {
                "embedding": vector.tolist(),
                "model": "sentence-transformers/all-MiniLM-L6-v2",
                "provider": "local",
                "dimensions": len(vector),
            }
            await self._report(task["id"], {"state": "succeeded", "result": result})

    async def _report(self, task_id: str, body: dict[str, Any]) -> None:
        async with self._session.patch(f"{self._url}/{task_id}", json=body) as response:
            response.raise_for_status()


async def main(base_url: str, model_dir: str) -> None:
    """Poll for ever."""
    model = SentenceTransformer(model_dir, device="cpu", local_files_only=True)
    async with aiohttp.ClientSession() as session:
        poller = Poller(session, base_url, model)
        while True:
            if not await poller.poll():
                await asyncio.sleep(INTERVAL_S)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
