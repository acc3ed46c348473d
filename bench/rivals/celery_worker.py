"""Celery with Redis: two worker processes, each one task at a time on one torch thread.

python -m bench.rivals.celery_worker http://127.0.0.1:PORT/NAME MODEL_DIR REDIS_URL
"""

import sys
from typing import Any

import httpx
import torch
from celery import Celery  # pyright: ignore[reportMissingTypeStubs] - celery has no stubs
from celery import signals as celery_signals  # pyright: ignore[reportMissingTypeStubs] - celery has no stubs
from sentence_transformers import SentenceTransformer

from bench.rivals.celery_poller import TASK

PROCESSES = 2


def main(base_url: str, model_dir: str, redis_url: str) -> None:
    """Work until the end."""
    app: Any = Celery("bench", broker=redis_url)
    app.conf.update(
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=60,
        broker_connection_retry_on_startup=True,
    )
    of_process: dict[str, Any] = {}

    def open_process(**_: Any) -> None:
        torch.set_num_threads(1)
        of_process["model"] = SentenceTransformer(model_dir, device="cpu", local_files_only=True)
        of_process["client"] = httpx.Client(base_url=f"{base_url}/api/ai-tasks")

    def embed(task_id: str, text: str) -> None:
        vector = of_process["model"].encode(text, show_progress_bar=False)
        result = {
            "embedding": vector.tolist(),
            "model": "sentence-transformers/all-MiniLM-L6-v2",
            "provider": "local",
            "dimensions": len(vector),
        }
        body = {"state": "succeeded", "result": result}
        of_process["client"].patch(f"/{task_id}", json=body).raise_for_status()

    signals: Any = celery_signals
    signals.worker_process_init.connect(open_process, weak=False)
    app.task(embed, name=TASK)
    options = ["--pool", "prefork", "--concurrency", str(PROCESSES), "--loglevel", "WARNING"]
    app.worker_main(["worker", *options, "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    main(*sys.argv[1:])
