"""Celery with Redis: two worker processes, each one task at a time, one torch thread each.

    python -m bench.rivals.celery_worker http://127.0.0.1:PORT/NAME MODEL_DIR REDIS_URL
"""

import sys
from typing import Any

TASK = "bench.embed"
PROCESSES = 2


def main(base_url: str, model_dir: str, redis_url: str) -> None:
    """Work until the end."""
    import httpx  # noqa: PLC0415 - the poller needs none of it
    import torch  # noqa: PLC0415
    from celery import Celery  # noqa: PLC0415
    from celery.signals import worker_process_init  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    app: Any = Celery("bench", broker=redis_url)
    app.conf.update(
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=60,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    of_process: dict[str, Any] = {}

    @worker_process_init.connect
    def open_process(**_: Any) -> None:
        torch.set_num_threads(1)
        of_process["model"] = SentenceTransformer(model_dir, device="cpu", local_files_only=True)
        of_process["client"] = httpx.Client(base_url=f"{base_url}/api/ai-tasks")

    @app.task(name=TASK)
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

    options = ["--pool", "prefork", "--concurrency", str(PROCESSES), "--loglevel", "WARNING"]
    app.worker_main(["worker", *options, "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    main(*sys.argv[1:])
