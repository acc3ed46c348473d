"""Reads pages, takes the tasks off the pending list and puts them into Celery's queue.

python -m bench.rivals.celery_poller http://127.0.0.1:PORT/NAME REDIS_URL
"""

import contextlib
import sys
import time
from typing import Any

import httpx
from celery import Celery  # pyright: ignore[reportMissingTypeStubs] - celery has no stubs

TASK = "bench.embed"
"""Name of the worker's task."""

PAGE = 100
INTERVAL_S = 1.0


def main(base_url: str, redis_url: str) -> None:
    """Poll for ever."""
    queue: Any = Celery("bench", broker=redis_url)
    with httpx.Client(base_url=f"{base_url}/api/ai-tasks") as client:
        while True:
            page: list[dict[str, Any]] = client.get(f"/pending?limit={PAGE}").json()["data"]
            for task in page:
                client.patch(f"/{task['id']}", json={"state": "processing"}).raise_for_status()
                queue.send_task(TASK, (task["id"], task["data"]["text"]), ignore_result=True)
            if not page:
                time.sleep(INTERVAL_S)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
