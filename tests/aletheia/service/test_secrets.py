"""Secrets in everything that the service is given or keeps: none leaves it by any way out.

Each is a word that is nowhere else. Names of dependencies, models, projects and the like are none:
people are shown those. What another program says about a failure may be logged, and nothing else.
"""

import asyncio
import importlib
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest
from fastapi import FastAPI

from aletheia.documents import Documents
from aletheia.errors import AletheiaError, Misconfigured, Refused, Unavailable
from aletheia.events.dead_events import DEAD_EVENTS
from aletheia.events.turn import CURSORS
from aletheia.intake.reports import RESULTS
from aletheia.intake.rows import ROWS
from aletheia.llm.answers import ANSWERS
from aletheia.logs import use_json
from aletheia.reasoning.collecting import Collector
from aletheia.reasoning.digest import make_digest
from aletheia.reasoning.engine import Reasoner
from aletheia.reasoning.history import History
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.service.health import Ping
from aletheia.system_events import (
    derive_breaker_events,
    derive_reasoning_events,
    describe_dead_letter,
)
from deployments.serve import hide_queries
from tests.aletheia.reasoning.test_hostile import broken, echo
from tests.aletheia.service.test_hooks import GATHER, signed
from tests.aletheia.service.test_operations import dead_row
from tests.fakes.chat import ScriptedChat
from tests.fakes.clock import MovableClock
from tests.fakes.orchestrator import FakeOrchestrator, FakeWorker
from tests.fakes.projects import PROJECT, add_events, begin_run, decide, item_of, save_items
from tests.fakes.reasoning import AT, Sources, make_reasoner
from tests.fakes.service import (
    BRAIN_KEY,
    HOOK_SECRET,
    SECRET,
    FakeService,
    make_token,
    open_service,
)
from tests.fakes.serving import serving
from tests.fakes.system import Words, make_collectors

BEGINNING: Final = "sk_secret_"
TASK: Final = "secretive"

READS: Final = (
    *("/", "/health", "/ready", "/health/ready", "/metrics", "/openapi.json"),
    *(f"/ai/global/{name}" for name in ("last_run", "snapshot", "summary", "history")),
    *("/ai/global/recommendations", "/ai/global/action-plan"),
    "/ai/global/action-plan/progress",
    *(
        f"/api/v1/{name}"
        for name in (
            *("dead-letters", "workers", "usage", "intake", "lanes", "budgets", "projects"),
            *("hooks/deliveries", f"tasks/{TASK}"),
        )
    ),
    *(
        f"/api/v1/projects/{PROJECT}{name}"
        for name in (
            *("", "/runs", "/runs/run-a", "/departments", "/items", "/decisions"),
            *("/evaluations", "/events", "/repetitions"),
        )
    ),
)
"""Everything that can be read without changing anything."""


class Secrets:
    """Words that nobody may be shown, by where they are, and everything that has come out."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {
            SECRET: "AUTH_JWT_SECRET",
            HOOK_SECRET: "WEBHOOK_IN_SECRET",
            BRAIN_KEY: "BRAIN_SERVICE_API_KEY",
        }
        self.out: defaultdict[str, list[str]] = defaultdict(list)
        self.may_be_logged: set[str] = set()

    def word(self, where: str, *, may_be_logged: bool = False) -> str:
        """Return a word for a place, which is nowhere else."""
        word = f"{BEGINNING}{len(self.words):03}_as_long_as_keys_have_to_be"
        self.words[word] = where
        if may_be_logged:
            self.may_be_logged.add(word)
        return word

    def leaks(self) -> dict[str, str]:
        """Return the places of the words that came out, and the ways they took."""
        found: dict[str, str] = {}
        for way, texts in self.out.items():
            whole = "\n".join(texts)
            allowed = self.may_be_logged if way == "log" else frozenset[str]()
            found |= {
                where: way
                for word, where in self.words.items()
                if word in whole and word not in allowed
            }
        return found


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture(autouse=True)
def logged() -> Generator[StringIO]:
    """Take in whatever is logged, by anybody, from the lowest level on, as JSON."""
    stream, names = StringIO(), ("", "aletheia", "uvicorn.error")
    handler = logging.StreamHandler(stream)
    use_json(handler)
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger("uvicorn.error").addFilter(hide_queries)  # as `aletheia serve` does
    # Prefect keeps lines of uvicorn from the root; whoever runs the service lets them get there.
    uvicorn, root = logging.getLogger("uvicorn"), logging.getLogger()
    propagates, uvicorn.propagate = uvicorn.propagate, True
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)
    uvicorn.propagate = propagates
    logging.getLogger("uvicorn.error").removeFilter(hide_queries)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class Outside(FakeOrchestrator):
    """A Prefect whose errors say secrets; each reading of workers raises the next one."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self.seen = [FakeWorker("worker-1")]

        def said(where: str) -> str:
            return secrets.word(where, may_be_logged=True)

        self.errors: list[Exception] = [
            Unavailable("prefect", said("words of an outage")),
            Refused("prefect", 403, said("words of a refusal")),
            Misconfigured("PREFECT_API_URL", said("words of a wrong setting")),
            RuntimeError(said("words of a fault of ours")),
        ]

    async def workers(self) -> list[FakeWorker]:
        if self.errors:
            raise self.errors.pop()
        return self.seen


def failing_ping(secrets: Secrets, name: str, kind: type[Exception]) -> Ping:
    word = secrets.word(f"words of {name}, which does not answer", may_be_logged=True)

    async def send() -> None:
        raise kind(name, word) if issubclass(kind, AletheiaError) else kind(word)

    return Ping(name, send, is_needed=False)


async def fill(service: FakeService, secrets: Secrets) -> None:
    """Write secrets wherever the store has what somebody else wrote."""
    store, word = service.store, secrets.word
    await begin_run(store)
    await add_events(store, 3)
    await decide(store, 4)
    await save_items(service.directory, [item_of("An item of a department of this project.")])
    task = {
        "id": TASK,
        "data": {"text": word("the text of a task")},
        "audio_file": f"https://{word('user info of a file')}@h/{word('the name of a file')}.mp3",
    }
    row = dead_row(1) | {
        "task_id": TASK,
        "task_json": orjson.dumps(task).decode(),
        "payload": word("a report that waits").encode(),
        "result": {"model": "m", "provider": "mock"},
        "callback_json": orjson.dumps(
            {"route": "/hooks/1", "params": {"token": word("a callback's parameter")}}
        ).decode(),
        "note_of_tomorrow": word("a field of a row that nobody knows yet"),
    }
    address = f"https://u:{word('a password in the address of a webhook')}@hooks.example"
    address += f"/{word('a path of a webhook')}?token={word('a token of a webhook')}"
    where = {"project": PROJECT, "receiver": "webhook-1", "kind": "webhook", "address": address}
    open_cursor: dict[str, Any] = {"runs": {}, "subscriptions": 1, "is_open": False, "sent": 0}
    await store.insert(ROWS, [row])
    await store.insert(RESULTS, [{"_id": "t#1", "payload": word("a kept result").encode()}])
    answer = {"_id": "a", "at": 1, "payload": word("a raw answer of a model").encode()}
    await store.insert(ANSWERS, [answer])
    await store.insert(CURSORS, [{"_id": "shop:webhook-1", "at": 1, **where, **open_cursor}])
    dead = {"_id": "shop:webhook-1:0001", "at": 1, "seq": 1, "run_id": "run-a", **where}
    await store.insert(DEAD_EVENTS, [{**dead, "message": word("words of a receiver")}])
    breakers = CircuitBreaker(store, threshold=2, cooldown_s=60)
    reason = word("words of a provider that failed", may_be_logged=True)
    for _ in range(2):
        await breakers.fail(await breakers.admit("openai"), reason)


class Front:
    """Calls the service, and keeps everything that it answers."""

    def __init__(self, session: aiohttp.ClientSession, secrets: Secrets) -> None:
        self._session, self._secrets = session, secrets
        self.statuses: dict[str, int] = {}
        token = make_token("admin", exp=10**10)
        secrets.words[token.rpartition(".")[2]] = "the signature of a token that was taken"
        self.token = {"Authorization": f"Bearer {token}"}

    async def call(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Make a call with the headers that are given, and the administrator's token unless so."""
        sent = {**self.token, "Content-Type": "application/json", **(headers or {})}
        async with self._session.request(
            method, path, data=data, headers=sent, allow_redirects=False
        ) as response:
            body = await response.read()
            self.statuses[f"{method} {path.partition('?')[0]}"] = response.status
        shown = "\n".join((str(response.headers), body.decode(errors="replace")))
        self._secrets.out["answers"].append(shown)
        return body

    async def post(self, path: str, body: Any) -> Any:
        return orjson.loads(await self.call("POST", path, data=orjson.dumps(body)))

    async def listen(self) -> None:
        """Follow a project by both ways, each up to its third event."""
        ticket = (await self.post("/api/v1/ws-ticket", {}))["ticket"]
        self._secrets.out["answers"].pop()  # whoever asks is given it
        self._secrets.words[ticket] = "a ticket"
        path = f"/ws/automated-gather/{PROJECT}?from_seq=1&ticket={ticket}"
        async with self._session.ws_connect(path) as socket:
            frames = [await socket.receive_str(timeout=5) for _ in range(3)]
        path = f"/events/automated-gather/{PROJECT}"
        lines: list[str] = []
        async with self._session.get(path, headers=self.token) as stream, asyncio.timeout(5):
            async for line in stream.content:
                lines.append(line.decode())
                if len([line for line in lines if line.startswith("data:")]) == 3:
                    break
        self._secrets.out["streams"] += [*frames, *lines]


async def intrude(front: Front, secrets: Secrets) -> None:
    """Call as strangers do, with secrets of all kinds: none of these is let in."""
    word = secrets.word
    forms = [
        {"Authorization": f"Bearer {word('a token that is none')}"},
        {"Authorization": f"Bearer {word('the header of a token')}.{word('its claims')}.x"},
        {"Authorization": f"Basic {word('a password')}"},
        {"Authorization": word("a bare secret in place of a token")},
        {"Authorization": "", "Cookie": f"session={word('a cookie')}"},
        {"Authorization": "", "X-API-Key": word("a key in another header")},
        {"Authorization": f"Bearer {make_token('admin', iss=word('the issuer of a token'))}"},
        {"Authorization": f"Bearer {make_token('admin', exp=1, jti=word('an old token'))}"},
        {"Authorization": f"Bearer {make_token(word('a role that is none'))}"},
    ]
    for form in forms:
        for path in ("/api/v1/usage", "/ai/global/summary", "/events/automated-gather/shop"):
            await front.call("GET", path, headers=form)
    stranger = {"Authorization": ""}
    for name in ("access_token", "token", "ticket", "api_key"):
        query = f"?{name}={word(f'{name} in an address')}"
        for path in ("/api/v1/usage", "/events/automated-gather/shop", "/ws/automated-gather/shop"):
            await front.call("GET", f"{path}{query}", headers=stranger)
    body = orjson.dumps({"project_id": "shop", "items": word("items for the Brain")})
    key = {"Authorization": f"Bearer {word('a wrong key of the Brain')}"}
    await front.call("POST", "/api/v1/nodes/batch", data=body, headers=key)
    key = {"Authorization": f"Bearer {word('a wrong METRICS_TOKEN')}"}
    await front.call("GET", "/metrics", headers=key)
    sent = signed(body) | {"X-Aletheia-Signature": f"sha256={word('a wrong signature')}"}
    await front.call("POST", "/hooks/gather", data=body, headers=sent)
    form = f"token={word('a token in the form of the pages')}".encode()
    await front.call("POST", "/ui/sign-in", data=form, headers=stranger)


async def stumble(front: Front, secrets: Secrets) -> None:
    """Call with a token, and with faults in which secrets are: they are not repeated."""
    word = secrets.word
    await front.post("/ai/global/recommendations/rec-000000000000", {"decision": word("a choice")})
    await front.post("/api/v1/dead-letters/replay", {word("an unknown name"): 1, "limit": "x"})
    await front.call("POST", "/api/v1/dead-letters/replay", data=f'{{"{word("no JSON")}'.encode())
    for name in ("first_day", "cursor", "limit", "project_id", "by"):
        await front.call("GET", f"/api/v1/usage?{name}={word(f'a faulty {name}')}%00")
    odd = "{" + word("an id of a request that is none") + "}"
    await front.call("GET", "/health", headers={"X-Request-ID": odd})
    url = f"https://hooks.example/?token={word('a token in an order')}"
    for number, order in enumerate(
        ({**GATHER, "webhook_url": url}, {**GATHER, "max_iterations": word("a faulty order")})
    ):
        body = orjson.dumps(order)
        sent = signed(body, Idempotency_Key=f"order-{number}")
        await front.call("POST", "/hooks/gather", data=body, headers=sent)


async def operate(front: Front) -> None:
    """Do everything that an administrator can do."""
    await front.post("/ai/global/run", {})
    shown = orjson.loads(await front.call("GET", "/ai/global/recommendations"))
    for item, decision in zip(shown, ("accepted", "dismissed", "snoozed"), strict=False):
        body = {"decision": decision, "reason": "It is known."}
        await front.post(f"/ai/global/recommendations/{item['id']}", body)
    plan = orjson.loads(await front.call("GET", "/ai/global/action-plan"))
    await front.post(
        f"/ai/global/action-plan/{plan['plan_id']}/approve", {"digest": plan["digest"]}
    )
    await front.post("/api/v1/dead-letters/replay", {})
    for verb in ("pause", "resume"):
        await front.post(f"/api/v1/intake/{verb}", {})
    kept = orjson.loads(await front.call("GET", "/api/v1/hooks/deliveries"))["deliveries"]
    await front.post(f"/api/v1/hooks/deliveries/{kept[0]['id']}/replay", {})


@dataclass
class World:
    """A service that has secrets, its store, and what reasons about it."""

    app: FastAPI
    store: Documents
    reasoner: Callable[[], Awaitable[Reasoner]]


@asynccontextmanager
async def secretive_service(directory: Path, secrets: Secrets) -> AsyncGenerator[World]:
    """Open a service with secrets in its settings, its store, its sources, and what it asks."""
    words, clock = Words(f"{BEGINNING}of_sources_"), MovableClock(AT)
    collectors: list[Collector] = []
    chats: list[ScriptedChat] = []

    async def build_reasoner(documents: Documents) -> Reasoner:
        if not collectors:
            collectors.extend(await make_collectors(documents, clock, words))
            collectors.extend(broken(str(number), words) for number in range(5))
            silent = make_reasoner(documents, Sources(), clock, collectors=collectors)
            await silent.prepare()
            await silent.snapshot()  # after this all words are known
        chats.append(ScriptedChat(*[echo(words.written)] * 20))
        reasoner = make_reasoner(documents, Sources(), clock, chat=chats[-1], collectors=collectors)
        await reasoner.prepare()
        return reasoner

    pings = [
        failing_ping(secrets, "upstream", Unavailable),
        failing_ping(secrets, "redis", Misconfigured),
        failing_ping(secrets, "provider", RuntimeError),
    ]
    async with open_service(
        directory,
        orchestrator=Outside(secrets),
        metrics_token=secrets.word("METRICS_TOKEN"),
        build_reasoner=build_reasoner,
        pings=pings,
    ) as service:
        await fill(service, secrets)
        await build_reasoner(service.store)
        yield World(service.app, service.store, lambda: build_reasoner(service.store))
    # The errors of sources are others with each snapshot.
    secrets.words |= {word: f"a source, {word}" for word in words.texts}
    secrets.may_be_logged |= words.may_be_logged
    secrets.out["prompts"] += [
        message.text for chat in chats for request in chat.requests for message in request.messages
    ]


async def test_no_secret_leaves_by_an_answer_a_stream_or_a_line(
    tmp_path: Path, secrets: Secrets, logged: StringIO
):
    async with (
        secretive_service(tmp_path, secrets) as service,
        serving(service.app, is_bounded=True) as url,
        aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=20)) as session,
    ):
        front = Front(session, secrets)
        (metrics_token,) = (w for w, where in secrets.words.items() if where == "METRICS_TOKEN")
        for _ in range(4):  # each time something else is wrong with what it asks
            await front.call("GET", "/api/v1/workers")
        await stumble(front, secrets)
        await operate(front)
        await intrude(front, secrets)
        for path in READS:
            await front.call("GET", path)
        key = {"Authorization": f"Bearer {metrics_token}"}
        await front.call("GET", "/metrics", headers=key)
        await front.listen()
    secrets.out["log"].append(logged.getvalue())
    assert secrets.leaks() == {}
    assert len(secrets.words) >= 50
    read = {path: front.statuses[f"GET {path}"] for path in READS if path != "/"}
    assert set(read.values()) == {200}, read
    assert min(len("".join(texts)) for texts in secrets.out.values()) > 100
    assert set(secrets.out) == {"answers", "streams", "log", "prompts"}
    assert "/ws/automated-gather/shop?\\u2026" in logged.getvalue(), "as JSON has it"


async def test_no_secret_leaves_by_a_page(tmp_path: Path, secrets: Secrets, logged: StringIO):
    pytest.importorskip("nicegui", reason="the extra `ui` is not installed")
    visitors = importlib.import_module("tests.fakes.visitor")
    async with (
        secretive_service(tmp_path, secrets) as service,
        visitors.visiting(service.app) as visitor,
    ):
        await visitor.sign_in("admin")
        for path, said in (
            ("gather", PROJECT),
            (f"gather/{PROJECT}", "An item of a department"),
            ("system", "Health"),
            ("operations", TASK),
        ):
            await visitor.open(path)
            if path == "system":
                await visitor.do("Check now …", "Check the system now?", "Done in")
            await visitor.see(said)
            elements: list[Any] = list(visitor.user.client.elements.values())
            for element in elements:
                names = ("_props", "_text", "content")
                secrets.out[path] += [repr(getattr(element, name, None)) for name in names]
    secrets.out["log"].append(logged.getvalue())
    assert secrets.leaks() == {}
    assert min(len("".join(texts)) for texts in secrets.out.values()) > 100


async def test_no_secret_leaves_by_a_report_or_an_event(
    tmp_path: Path, secrets: Secrets, logged: StringIO
):
    async with secretive_service(tmp_path, secrets) as service:
        store = service.store
        (row,) = await store.find(ROWS, {"task_id": TASK})
        secrets.out["events"].append(repr(describe_dead_letter(row)))
        states = await CircuitBreaker(store, threshold=2, cooldown_s=60).states()
        opened = list(derive_breaker_events(states, (), at=AT))
        assert opened
        secrets.out["events"] += map(repr, opened)
        output = await (await service.reasoner()).run()
        secrets.out["events"] += map(repr, derive_reasoning_events(output, None))
        digest = await make_digest(
            store, History(store), until=AT, days=7, evaluations="evaluations", ledger_days=30
        )
        secrets.out["reports"] += [digest.to_markdown(), digest.to_html()]
    secrets.out["log"].append(logged.getvalue())
    assert secrets.leaks() == {}
    assert min(len("".join(texts)) for texts in secrets.out.values()) > 100
