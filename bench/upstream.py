"""The example upstream for a bench: every contender has one of its own, new for each round.

    python -m bench.upstream

serves all of them from one process, at `/NAME/api/ai-tasks/…`, and takes requests on stdin:

    {"op": "load", "name", "corpus", "tag"}    list the texts of a corpus as tasks
    {"op": "load", "name", "tasks", "tag"}     list so many tasks, whose reports are forgotten
    {"op": "finish", "name"}                   answer when every task was reported
    {"op": "progress", "name"}                 answer at once
    {"op": "vectors", "name", "path"}          write what was reported, `(n, 384)` float32

A round begins when the first GET arrives that is answered with tasks, and ends when the last report
is accepted.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import numpy as np
import orjson
import uvloop
from aiohttp import web

from bench.corpora import DIMENSIONS, make_texts, read_texts, task_entry, task_id
from bench.programs import Message, answer_requests_async, say
from deployments.examples.upstream import ExampleUpstream, refuse

EMPTY = b'{"data":[]}'
"""The page that holds no tasks."""

REPORTS_A_TASK = 2
"""`processing`, and how it ended."""

DIFFERENT_TEXTS = 2000


@dataclass(slots=True)
class Round:
    """One contender's upstream.

    Attributes:
        upstream: the tasks, and what is known of them.
        tag: what their ids begin with.
        size: how many there are.
        reports: how many reports were accepted.
        began_at: when the first GET arrived that got tasks, seconds on a clock of this process.
        ended_at: when the last report was accepted.
        is_over: every task was reported.
    """

    upstream: ExampleUpstream
    tag: str = ""
    size: int = 0
    reports: int = 0
    began_at: float | None = None
    ended_at: float | None = None
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of the API, and note when it came."""
        arrived_at = time.perf_counter()
        response = await self.upstream.handle(request)
        if request.method == "PATCH":
            if response.status == HTTPStatus.OK:
                self._note_report()
        elif self.began_at is None and self.size and getattr(response, "body", EMPTY) != EMPTY:
            self.began_at = arrived_at
        return response

    def _note_report(self) -> None:
        self.reports += 1
        # To read every task after every report would cost more than answering it.
        if self.reports >= REPORTS_A_TASK * self.size and self.count_final() == self.size:
            self.ended_at = time.perf_counter()
            self.is_over.set()

    def count_final(self) -> int:
        """Count the tasks whose end was reported."""
        return sum(task.state in {"succeeded", "failed"} for task in self.upstream.tasks.values())

    def read_vectors(self) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], list[str]]:
        """Read the reported vectors, `(size, 384)` in the tasks' order, and what is wrong."""
        vectors = np.zeros((self.size, DIMENSIONS), np.float32)
        faults: list[str] = []
        for number in range(self.size):
            task = self.upstream.tasks[task_id(self.tag, number)]
            if task.state != "succeeded" or task.report is None:
                faults.append(f"{task.id} is {task.state}: {(task.report or b'').decode()[:200]}")
                continue
            vector = orjson.loads(task.report)["result"]["embedding"]
            if len(vector) != DIMENSIONS:
                faults.append(f"{task.id} has {len(vector)} dimensions")
                continue
            vectors[number] = vector
        return vectors, faults


class Rounds:
    """The upstreams of all contenders."""

    def __init__(self) -> None:
        self._rounds: dict[str, Round] = {}

    def current(self, name: str) -> Round:
        """Return the round of a contender that is under way, or was the last."""
        return self._rounds[name]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass a request on to the upstream of the contender that its path begins with."""
        name = request.rel_url.raw_path.split("/", 2)[1]
        current = self._rounds.get(name)
        if current is None:
            if request.method == "GET":
                current = self._rounds[name] = Round(ExampleUpstream(prefix=f"/{name}"))
            else:
                return refuse(HTTPStatus.NOT_FOUND, f"no contender {name}")
        return await current.answer(request)

    async def control(self, request: Message) -> Message:
        """Do what the bench asks for."""
        name = request["name"]
        if request["op"] == "load":
            return self._load(request)
        current = self._rounds[name]
        if request["op"] == "finish":
            await current.is_over.wait()
            assert current.began_at is not None
            assert current.ended_at is not None
            return {"seconds": current.ended_at - current.began_at, "reports": current.reports}
        if request["op"] == "progress":
            return {"done": current.count_final()}
        vectors, faults = current.read_vectors()
        np.save(Path(request["path"]), vectors)
        return {"faults": faults[:5], "faulty": len(faults)}

    def _load(self, request: Message) -> Message:
        name, tag = request["name"], request["tag"]
        is_checked = "corpus" in request
        if is_checked:
            texts: Sequence[str] = read_texts(Path(request["corpus"]))
        else:
            different = make_texts(DIFFERENT_TEXTS, 20)
            texts = [different[number % DIFFERENT_TEXTS] for number in range(request["tasks"])]
        upstream = ExampleUpstream(
            (task_entry(tag, number, text) for number, text in enumerate(texts)),
            keeps_results=is_checked,
            prefix=f"/{name}",
        )
        self._rounds[name] = Round(upstream, tag, len(texts))
        return {"tasks": len(texts)}


async def main() -> None:
    """Serve until stdin ends."""
    rounds = Rounds()
    runner = web.ServerRunner(web.Server(rounds.answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    say(url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        await answer_requests_async(rounds.control)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
