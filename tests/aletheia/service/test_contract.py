"""The document of the API against the service itself: a client in TypeScript, and whatever fits it.

`schemathesis` calls each operation with what its document allows, and with what it does not.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from aletheia.documents import Change, Update
from aletheia.errors import Misconfigured
from aletheia.intake.rows import ROWS
from aletheia.items.decisions import DECISIONS
from aletheia.service.assembly import build_service, no_parts
from aletheia.service.settings import ServiceSettings
from aletheia.settings import IntakeSettings
from tests.aletheia.service.test_hooks import GATHER, signed
from tests.aletheia.service.test_operations import dead_row
from tests.fakes.projects import PROJECT, add_events, begin_run, decide, item_of, save_items
from tests.fakes.service import BRAIN_KEY, TASKS_KEY, FakeService, make_token, open_service
from tests.fakes.serving import serving

NPM_PACKAGES = ("openapi-typescript@7", "typescript@5")
INSTALL_WITHIN_S = 120

CLIENT = """
import type { paths, components } from "./schema";

type Json<T> = T extends { content: { "application/json": infer Body } } ? Body : never;
type Runs = Json<paths["/api/v1/projects/{project_id}/runs"]["get"]["responses"][200]>;
type Usage = Json<paths["/api/v1/usage"]["get"]["responses"][200]>;
type Refused = Json<paths["/api/v1/workers"]["get"]["responses"][403]>;
type Hook = paths["/hooks/gather"]["post"]["requestBody"];
type Gather = Hook["content"]["application/json"];

export const order: Gather = { project_id: "shop", user_id: "me" };
export const qualities = (page: Runs): number[] =>
  page.runs.flatMap((run) => run.departments.flatMap((department) => department.qualities));
export const dollars = (page: Usage): number =>
  page.usage.reduce((sum, row) => sum + Number(row.usd), 0);
export const code = (refused: Refused): string => refused.error.code;
export type Department = components["schemas"]["DepartmentState"];
// @ts-expect-error a name that the service does not have
export const unknown = (page: Runs): unknown => page.walks;
"""


def write_document(directory: Path) -> Path:
    parts = no_parts(Misconfigured("everything", "is missing"))
    document = build_service(parts, ServiceSettings(), IntakeSettings()).openapi()
    path = directory / "openapi.json"
    path.write_text(json.dumps(document))
    return path


def run(command: list[str], directory: Path, within_s: float = 60) -> None:
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=within_s, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_types_for_a_client_in_typescript_are_made_and_compile(tmp_path: Path):
    npm, npx = shutil.which("npm"), shutil.which("npx")
    if npm is None or npx is None:
        pytest.skip("npm is not installed, which has openapi-typescript")
    install = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), *NPM_PACKAGES]
    try:
        run(install, tmp_path, INSTALL_WITHIN_S)
    except (AssertionError, subprocess.TimeoutExpired) as failure:
        pytest.skip(f"npm cannot install openapi-typescript here: {str(failure)[-300:]}")
    write_document(tmp_path)
    # What has a default need not be sent.
    options = ["--output", "schema.d.ts", "--default-non-nullable", "false"]
    run([npx, "openapi-typescript", "openapi.json", *options], tmp_path)
    (tmp_path / "client.ts").write_text(CLIENT)
    strict = ["--noEmit", "--strict", "--target", "es2020", "--skipLibCheck", "false"]
    run([npx, "tsc", *strict, "client.ts"], tmp_path)


@contextmanager
def served_elsewhere(directory: Path) -> Generator[str]:
    """Serve the service, with something in it, in a thread of its own; give its root."""
    started, ended, urls = threading.Event(), asyncio.Event(), list[str]()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with open_service(directory) as service, serving(service.app, is_bounded=True) as url:
            await fill(service)
            urls.append(url)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(30)
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()


async def fill(service: FakeService) -> None:
    """Save something of everything that is read."""
    await begin_run(service.store)
    await add_events(service.store, 3)
    await decide(service.store, 4)
    kept = [item_of(f"Item {number} of a batch.") for number in (0, 2)]
    await save_items(service.directory, kept)
    (found,) = await service.store.find(DECISIONS, {"item_id": kept[1].id})
    possible = Change(set={"is_possible": True})
    await service.store.upsert(DECISIONS, [Update(found["_id"], possible)])
    await save_items(service.directory, [item_of("An item of a department of this project.")])
    await service.store.insert(ROWS, [dead_row(number) for number in range(3)])
    service.sources.facts["queue_pending"] = 1200


EVALUATE = {"project_id": PROJECT, "user_id": "user-1", "department_number": 1}

PHASES = "examples,coverage,fuzzing,stateful"
EXCLUDED_CHECKS = "positive_data_acceptance"
"""A cursor, an id or a key is any text to the document, and most of them are none of ours."""

TAGS = {
    "brain": ["--exclude-checks", f"{EXCLUDED_CHECKS},negative_data_rejection"],  # null is no text
    "projects": ["--exclude-checks", EXCLUDED_CHECKS],
    "operations": ["--exclude-checks", EXCLUDED_CHECKS],
    "actions": ["--exclude-checks", EXCLUDED_CHECKS],
    "tasks": ["--exclude-checks", EXCLUDED_CHECKS],
    "hooks": ["--exclude-checks", EXCLUDED_CHECKS],
    "reasoning": ["--exclude-checks", EXCLUDED_CHECKS],
    "monitoring": [],
    "service": [],
}
"""Tags of operations, and what is asked of them. Streams have no end; `test_live` has them."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("tag", TAGS)
def test_whatever_fits_the_document_is_answered_as_it_says(tmp_path: Path, tag: str):
    pytest.importorskip("schemathesis", reason="it is among the extras of developers")
    document = write_document(tmp_path)
    bearer = {"brain": BRAIN_KEY, "tasks": TASKS_KEY}.get(tag) or make_token("admin")
    with served_elsewhere(tmp_path / "service") as url:
        options = ["--include-tag", tag, "--phases", PHASES, "--max-examples", "10", *TAGS[tag]]
        options += ["--header", f"Authorization: Bearer {bearer}", "--url", url]
        options += ["--request-timeout", "20", "--suppress-health-check", "all", "--no-color"]
        command = [sys.executable, "-m", "schemathesis.cli", "run", str(document), *options]
        run(command, tmp_path, within_s=250)


def test_each_operation_reaches_a_success(tmp_path: Path):
    operations = {
        f"{method.upper()} {path}"
        for path, methods in orjson.loads(write_document(tmp_path).read_bytes())["paths"].items()
        for method in methods
    }
    reached: dict[str, set[int]] = {}
    with served_elsewhere(tmp_path / "service") as url:
        seed_reaches(url, reached)
    assert {name for name, statuses in reached.items() if max(statuses) >= 300} == set()
    # `test_brain_api` has the Brain's, `test_live` the stream.
    elsewhere = {name for name in operations if any(part in name for part in ELSEWHERE)}
    assert operations - set(reached) == elsewhere


ELSEWHERE = ("/nodes/", "/search/", "/context/", "/analyze/", "/events/automated")


def seed_reaches(url: str, reached: dict[str, set[int]]) -> None:
    """Call what chance does not reach: what is signed, and what exists."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        token = {"Authorization": f"Bearer {make_token('admin')}"}

        def get(name: str, path: str) -> Any:
            response = client.get(path, headers=token)
            reached.setdefault(f"GET {name}", set()).add(response.status_code)
            return response.json() if "json" in response.headers["Content-Type"] else None

        def post(name: str, path: str, body: Any = None) -> Any:
            response = client.post(path, headers=token, json=body)
            reached.setdefault(f"POST {name}", set()).add(response.status_code)
            return response.json()

        orders: dict[str, Any] = {"poll": {}, "gather": GATHER, "evaluate": EVALUATE}
        orders["reason"] = {"sent": "by a test"}  # the signature of what equals another is used up
        for hook, order in orders.items():
            body = orjson.dumps(order)
            sent = signed(body, Idempotency_Key=f"seed-{hook}")
            response = client.post(f"/hooks/{hook}", content=body, headers=sent)
            reached.setdefault(f"POST /hooks/{hook}", set()).add(response.status_code)
        root = "/api/v1/projects/{project_id}"
        for path in ("/health", "/ready", "/health/ready", "/metrics"):
            get(path, path)
        for path in ("dead-letters", "workers", "usage", "intake", "lanes", "budgets", "projects"):
            get(f"/api/v1/{path}", f"/api/v1/{path}")
        for path in ("ws-ticket", "intake/pause", "intake/resume"):
            post(f"/api/v1/{path}", f"/api/v1/{path}")
        post("/api/v1/dead-letters/replay", "/api/v1/dead-letters/replay", {})
        for path in ("", "/runs", "/departments", "/items", "/evaluations", "/events"):
            get(f"{root}{path}", f"/api/v1/projects/{PROJECT}{path}")
        get(f"{root}/runs/{{run_id}}", f"/api/v1/projects/{PROJECT}/runs/run-a")
        task = {"id": "pushed", "type": "text_embedding", "data": {"text": "hello"}}
        key = {"Authorization": f"Bearer {TASKS_KEY}"}
        response = client.post("/api/v1/tasks", headers=key, json=task)
        reached.setdefault("POST /api/v1/tasks", set()).add(response.status_code)
        get("/api/v1/tasks/{task_id}", "/api/v1/tasks/task%201%2F%C3%BC")
        dropped = get(f"{root}/decisions", f"/api/v1/projects/{PROJECT}/decisions")["decisions"]
        undo = f"/decisions/{dropped[0]['id']}/undo"
        post(f"{root}/decisions/{{decision_id}}/undo", f"/api/v1/projects/{PROJECT}{undo}")
        possible = get(
            f"{root}/repetitions", f"/api/v1/projects/{PROJECT}/repetitions?is_possible=true"
        )
        drop = f"/decisions/{possible['repetitions'][0]['id']}/drop"
        post(f"{root}/decisions/{{decision_id}}/drop", f"/api/v1/projects/{PROJECT}{drop}")
        kept = get("/api/v1/hooks/deliveries", "/api/v1/hooks/deliveries")["deliveries"]
        path = "/api/v1/hooks/deliveries"
        post(f"{path}/{{delivery_id}}/replay", f"{path}/{kept[0]['id']}/replay")
        reason = "/ai/global"
        post(f"{reason}/run", f"{reason}/run")
        for path in ("last_run", "snapshot", "summary", "history"):
            get(f"{reason}/{path}", f"{reason}/{path}")
        (shown,) = get(f"{reason}/recommendations", f"{reason}/recommendations")
        plan = get(f"{reason}/action-plan", f"{reason}/action-plan")
        get(f"{reason}/action-plan/progress", f"{reason}/action-plan/progress")
        path = f"{reason}/action-plan/{{plan_id}}/approve"
        post(path, path.format(plan_id=plan["plan_id"]), {"digest": plan["digest"]})
        path = f"{reason}/recommendations/{{recommendation_id}}"
        post(path, path.format(recommendation_id=shown["id"]), {"decision": "accepted"})
