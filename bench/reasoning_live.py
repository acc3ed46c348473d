"""Live events: what is missed or doubled by clients that are cut off, and what a stuck one costs.

Three figures for `bench.reasoning`: `ws_missed`, `ws_doubled` and `p99_with_stuck_client`. Run by
itself it prints them. 200 clients follow one project over 1,000 events; each is cut off 20 times at
random, and the service is started again twice meanwhile.
"""

import asyncio
import contextlib
import json
import random
import socket
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import aiohttp
import orjson
import uvicorn
from joserfc import jwt
from joserfc.jwk import OctKey

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Documents
from aletheia.errors import Misconfigured
from aletheia.events.log import EventLog
from aletheia.events.models import IterationComplete
from aletheia.service.assembly import ServiceParts, build_service, no_parts
from aletheia.service.connections import configure
from aletheia.service.keys import SecretKey, VerificationKeys
from aletheia.service.parts import fixed
from aletheia.service.settings import ServiceSettings
from aletheia.settings import IntakeSettings

PROJECT: Final = "bench"
SECRET: Final = "a-secret-of-the-bench-of-32-bytes-or-more"
PATH: Final = f"/ws/automated-gather/{PROJECT}"

CLIENTS: Final = 200
EVENTS: Final = 1_000
CUTS: Final = 20
RESTARTS: Final = 2
"""Of issue 8, `ws_missed` and `ws_doubled`."""

MEASURED_EVENTS: Final = 300
PACE_S: Final = 0.01
"""Events whose way to clients is measured, and the pause between two of them."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What all clients together got wrong: numbers that never came, and such that came twice."""

    missed: int
    doubled: int
    seconds: float


class _QuietServer(uvicorn.Server):
    """A server that leaves signals to the bench."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


class Server:
    """The service in this process, on one port, that can be ended and started again."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the service over the store."""
        keys: VerificationKeys = SecretKey(SECRET)
        nothing = no_parts(Misconfigured("bench", "has no such part"))
        parts = replace_parts(nothing, self._documents, keys)
        app = build_service(parts, ServiceSettings(), IntakeSettings())
        config = configure(app, "127.0.0.1", self.port)
        config.timeout_graceful_shutdown = 1
        self._server = _QuietServer(config)
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End the service, as a deployment would."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving


def replace_parts(
    nothing: ServiceParts, documents: Documents, keys: VerificationKeys
) -> ServiceParts:
    """Return parts with a store and keys, and nothing else."""
    return replace(nothing, store=fixed(documents), keys=fixed(keys))


def make_headers() -> dict[str, str]:
    """Return the headers of a client."""
    now_s = int(time.time())
    claims = {
        "iss": "aletheia",
        "aud": "aletheia",
        "sub": "bench",
        "exp": now_s + 3_600,
        "roles": ["viewer"],
    }
    key = OctKey.import_key(SECRET)
    return {"Authorization": f"Bearer {jwt.encode({'alg': 'HS256'}, claims, key)}"}


async def add_events(log: EventLog, count: int, *, first: int = 1, pace_s: float = 0.0) -> None:
    """Add events to the log, one after the other."""
    for number in range(first, first + count):
        event = IterationComplete(
            project_id=PROJECT,
            department="legal",
            department_name="Legal",
            iteration=number,
            total_iterations=number,
            quality_score=61.5,
            items_created=4,
            threshold=80,
        )
        await log.append(event, run_id="bench")
        await asyncio.sleep(pace_s)


async def follow(
    session: aiohttp.ClientSession, url: str, cuts: Sequence[int], events: int
) -> Counter[int]:
    """Follow all events, cut off after some numbers; return how often each number came."""
    seen: Counter[int] = Counter()
    last = 0
    left: list[int] = sorted(cuts)
    while last < events:
        try:
            async with session.ws_connect(
                f"{url}{PATH}", params={"from_seq": last + 1}, heartbeat=None
            ) as websocket:
                async for message in websocket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        break
                    frame = orjson.loads(message.data)
                    last = int(frame["seq"])
                    seen[last] += 1
                    if last >= events:
                        return seen
                    if left and last >= left[0]:
                        left = [cut for cut in left if cut > last]
                        break
        except (aiohttp.ClientError, ConnectionError):
            await asyncio.sleep(0.05)  # it is being started again
    return seen


@contextlib.asynccontextmanager
async def opened() -> AsyncGenerator[tuple[Documents, Server, aiohttp.ClientSession]]:
    """Open a store, and serve it."""
    with tempfile.TemporaryDirectory() as directory:
        documents = EmbeddedDocuments(Path(directory), is_durable=False)
        await documents.open()
        server = Server(documents)
        await server.start()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=make_headers(), connector=connector) as session:
            yield documents, server, session
        await server.stop()
        await documents.close()


async def measure_replay(
    seed: int = 1, *, clients: int = CLIENTS, events: int = EVENTS, cuts: int = CUTS
) -> Replayed:
    """Return what clients miss or get twice that are cut off, while the service starts again."""
    chance, began = random.Random(seed), time.perf_counter()
    async with opened() as (documents, server, session):
        adding = asyncio.create_task(add_events(EventLog(documents), events))
        following = [
            asyncio.create_task(
                follow(session, server.url, chance.sample(range(1, events), cuts), events)
            )
            for _ in range(clients)
        ]
        for _ in range(RESTARTS):
            await asyncio.sleep(1.0)
            await server.stop()
            await server.start()
        await adding
        seen = await asyncio.gather(*following)
    missed = sum(events - len(numbers) for numbers in seen)
    doubled = sum(count - 1 for numbers in seen for count in numbers.values())
    return Replayed(missed, doubled, time.perf_counter() - began)


async def measure_p99_ms(*, is_stuck: bool, clients: int = 20) -> float:
    """Return the 99th percentile of an event's way to clients, ms, perhaps beside a stuck one."""
    async with opened() as (documents, server, session):
        log, waits = EventLog(documents), list[float]()
        # Enough that a client that reads nothing has its buffers full.
        await add_events(log, 2_000 if is_stuck else 1)
        start = await log.end(PROJECT) + 1
        stuck = await _open_stuck(server) if is_stuck else None

        async def read(websocket: aiohttp.ClientWebSocketResponse) -> None:
            for _ in range(MEASURED_EVENTS):
                frame = orjson.loads(await websocket.receive_str())
                at = frame["timestamp"].replace("Z", "+00:00")
                sent_s = _unix_s(at)
                waits.append(time.time() - sent_s)

        async with contextlib.AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(
                    session.ws_connect(f"{server.url}{PATH}", params={"from_seq": start})
                )
                for _ in range(clients)
            ]
            reading = [asyncio.create_task(read(websocket)) for websocket in sockets]
            await add_events(log, MEASURED_EVENTS, first=100_000, pace_s=PACE_S)
            await asyncio.gather(*reading)
        if stuck is not None:
            stuck.close()
    return 1_000 * sorted(waits)[int(len(waits) * 0.99) - 1]


async def _open_stuck(server: Server) -> socket.socket:
    """Open a socket to the service, ask for everything, and read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", server.port))
    lines = [
        f"GET {PATH}?from_seq=1 HTTP/1.1",
        "Host: bench",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in make_headers().items()),
    ]
    await loop.sock_sendall(client, ("\r\n".join(lines) + "\r\n\r\n").encode())
    await asyncio.sleep(0.5)
    return client


def _unix_s(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


async def measure() -> dict[str, float]:
    """Return the figures, by their names in `bench.reasoning`."""
    replayed = await measure_replay()
    alone_ms = await measure_p99_ms(is_stuck=False)
    beside_ms = await measure_p99_ms(is_stuck=True)
    return {
        "ws_missed": replayed.missed,
        "ws_doubled": replayed.doubled,
        "ws_seconds": round(replayed.seconds, 1),
        "p99_ms": round(alone_ms, 1),
        "p99_with_stuck_client": round(beside_ms / alone_ms, 2),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))
