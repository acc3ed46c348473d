"""Works gather runs in processes of their own, forked from one that has imported everything.

Reads JSON objects, one a line: `{"run_id", "environment", "log"}`. For each it forks a process that
works the run as a worker's would, and prints the number of that process. Started by a command, a
process would take seconds, nearly all of it for imports.
"""

import asyncio
import json
import os
import signal
import sys
from uuid import UUID

import openai
from prefect.client.orchestration import get_client
from prefect.engine import handle_engine_signals
from prefect.flow_engine import run_flow

from flows.gather import automated_gather_creation

IMPORTED = openai.__version__
"""What a run would otherwise import when it is under way."""


def work(run_id: UUID) -> None:
    """Work one run, as the child of `prefect flow-run execute` does."""
    with handle_engine_signals(run_id):
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(run_id)
        running = run_flow(automated_gather_creation, flow_run=flow_run)
        assert asyncio.iscoroutine(running)
        asyncio.run(running)


def main() -> None:
    """Serve orders until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ |= order["environment"]
            try:
                work(UUID(order["run_id"]))
            finally:
                os._exit(0)
        print(child, flush=True)  # noqa: T201 - the answer to whoever started this


if __name__ == "__main__":
    main()
