"""The pages in a real browser: what a stranger with a token sees and does."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from aletheia.store.audit import AUDIT
from deployments import ROOT
from tests.fakes.pages import DROPPED_TEXT, PagesWorld
from tests.fakes.service import make_service, make_token
from tests.fakes.serving import serving
from tests.services.browser import MISSING, Seen, Step, browse, find_browser

pytest.importorskip("nicegui", reason="the extra `ui` is not installed")

pytestmark = pytest.mark.timeout(300)

in_browser = pytest.mark.skipif(find_browser() is None, reason=MISSING)

SHOTS = os.environ.get("ALETHEIA_SCREENSHOTS", "")
"""Directory that pictures of the pages are written to; none are where it is empty."""


@pytest.fixture
async def url(world: PagesWorld) -> AsyncGenerator[str]:
    async with serving(world.service.app, is_bounded=True) as found:
        yield found


def sign_in(*roles: str) -> list[Step]:
    return [
        ("open", "/ui"),
        ("fill", ["#token", make_token(*roles, sub="anna")]),
        ("press", "Sign in"),
        ("see", "All projects"),
    ]


def check(seen: Seen) -> None:
    assert seen.failed is None, seen.failed
    assert (seen.outside, seen.errors) == ([], [])
    assert not any(overflow > 0 for overflow in seen.overflow)


@in_browser
async def test_a_stranger_with_a_token_does_what_the_pages_are_for(world: PagesWorld, url: str):
    starter = world.service.orchestrator
    steps: list[Step] = [
        *sign_in("manager"),
        ("follow", "shop"),
        ("see", DROPPED_TEXT),
        ("see", "55 of 80"),
        # The newest one is the hostile item; the dialog's button comes last.
        ("press", "Undo"),
        ("see", "Save this item after all?"),
        ("press_last", "Undo"),
        ("see", "Undo has begun"),
        ("press", "Drop"),
        ("see", "Drop this item?"),
        ("press_last", "Drop"),
        ("see", "Drop has begun"),
        ("follow", "System"),
        ("see", "1,200 tasks are pending"),
        ("press", "Approve …"),
        ("see", "Carry out this plan?"),
        ("press_last", "Approve"),
        ("see", "Approved, and started"),
        ("see", "Approved by anna"),
        ("press", "Dismiss"),
        ("fill", ["textarea", "It is a campaign."]),
        ("press_last", "Dismiss"),
        ("see", "Dismissed."),
        ("follow", "Operations"),
        ("see", "task 1/ü"),
        ("press", "Replay"),
        ("see", "Send it through once more?"),
        ("press_last", "Replay"),
        ("see", "Replay has begun"),
    ]
    check(await browse(url, steps))
    started = [
        deployment
        for deployment, _ in starter.runs.values()
        if not deployment.startswith("carry_out_plan/")
    ]
    assert started == [
        "undo_duplicate/undo_duplicate",
        "drop_repetition/drop_repetition",
        "replay_dead_letters/replay_dead_letters",
    ]
    records = await world.service.store.find(AUDIT, {}, sort="at")
    assert [(record["subject"], record["action"]) for record in records] == [
        ("anna", deployment) for deployment in started
    ]
    (plan,) = world.plans
    approval = await world.reasoner.deps.approvals.find(plan["approval_id"])
    assert approval is not None
    assert (approval.who, approval.role) == ("anna", "manager")


@in_browser
async def test_who_says_no_starts_nothing(world: PagesWorld, url: str):
    steps: list[Step] = [
        *sign_in("operator"),
        ("follow", "shop"),
        ("press", "Undo"),
        ("see", "Save this item after all?"),
        ("press_last", "Cancel"),
        ("miss", "Save this item after all?"),
    ]
    check(await browse(url, steps))
    assert world.service.orchestrator.asked == 0


@in_browser
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pages_fit_and_load_nothing_from_elsewhere(
    url: str, size: tuple[int, int], scheme: str
):
    steps = sign_in("manager")
    shots = {"Projects": "/ui/gather", "Departments": "/ui/gather/shop"}
    shots |= {"Recommendations": "/ui/system", "Dead letters": "/ui/operations"}
    for words, path in shots.items():
        steps += [("open", path), ("see", words), ("measure", None)]
        if SHOTS:
            name = f"{path.replace('/', '-')[1:]}-{size[0]}-{scheme}.png"
            steps.append(("shot", str(Path(SHOTS) / name)))
    seen = await browse(url, steps, size=size, scheme=scheme)
    check(seen)
    assert len(seen.overflow) == len(shots)
    (cookie,) = [cookie for cookie in seen.cookies if cookie["name"] == "aletheia_session"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/ui")


async def first_page(app: FastAPI) -> int:
    """Sign in and open the first page; return its status."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        await http.post("/ui/sign-in", data={"token": make_token("viewer")})
        return (await http.get("/ui/gather")).status_code


async def test_pages_are_started_again_after_they_ended(world: PagesWorld):
    for _ in range(3):
        service = make_service(world.service.directory, world.service.store)
        async with service.app.router.lifespan_context(service.app):
            assert await first_page(service.app) == 200


async def test_services_of_two_loops_at_once_cannot_have_pages(world: PagesWorld):
    other = make_service(world.service.directory, world.service.store)
    async with world.service.app.router.lifespan_context(world.service.app):
        assert await first_page(world.service.app) == 200
        assert await asyncio.to_thread(lambda: asyncio.run(first_page(other.app))) == 503


def test_the_service_does_not_import_the_library_before_a_page_is_opened():
    program = (
        "import sys; from deployments.serve import write_document; write_document(); "
        "sys.exit('nicegui' in sys.modules or 'socketio' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert ended.returncode == 0
