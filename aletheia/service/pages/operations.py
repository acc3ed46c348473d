"""The page *Operations*: what is worked on, what is limited, what failed, who works."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from nicegui import Client, ui
from starlette.requests import Request

from aletheia.service.actions import IntakeState, StartedRun
from aletheia.service.capacity import BudgetRow, BudgetsToday, Lanes
from aletheia.service.health import Alive, Breaker, Check, Limit, Readiness
from aletheia.service.operations import (
    DeadLetterRow,
    DeadLettersPage,
    LaneWorkerRow,
    WorkerRow,
    WorkersPage,
)
from aletheia.service.pages.frame import Answer, Page, Question, add_facts
from aletheia.service.pages.mounting import Visit
from aletheia.service.pages.words import (
    cut,
    say_failed_replay,
    say_number,
    say_time,
    say_usd,
)
from aletheia.service.roles import OPERATORS
from aletheia.text.grammar import agree

MAX_SHOWN: Final = 25
"""Dead letters, and workers, that are shown."""

STATES: Final[Mapping[str, str]] = {
    "claimed": "Taken, not begun",
    "processing": "Being worked on",
    "queued": "Waiting in a lane",
    "waiting": "Waiting for their turn",
    "kept": "Done, report on its way",
    "reported": "Done and reported",
    "conflict": "Settled by somebody else",
    "dead": "Failed for good",
    "superseded": "Replaced by newer content",
    "rejected": "Not usable",
}
"""What states of tasks mean, in their order."""

BREAKERS: Final[Mapping[str, str]] = {
    "closed": "calls go through",
    "half_open": "one call is tried",
    "open": "no calls for now",
}
LANE_WORKER_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "working": ("At work", "good"),
    "idle": ("Waits for tasks", "good"),
    "lost": ("Lost: it is silent, and others take what it had", "bad"),
}
"""What states of runs that compute tasks mean, and how they look."""

_CHECKS: Final[Mapping[str, str]] = {
    "ok": "answers",
    "missing": "not set up",
    "failed": "does not answer",
}
_CHECK_CLASSES: Final[Mapping[str, str]] = {"ok": "good", "missing": "soft", "failed": "bad"}


@dataclass(frozen=True)
class Queue:
    """What intake and its lanes have to do."""

    intake: IntakeState
    lanes: Lanes


def register() -> None:
    """Register the page."""
    ui.page("/operations")(show_operations)


async def show_operations(request: Request, client: Client) -> None:
    """Show what is worked on."""
    page = Page(Visit.of(request), client, "operations", "Operations")
    Operations(page).add_sections()
    await page.start()


class Operations:
    """The parts of the page."""

    def __init__(self, page: Page) -> None:
        self._page, self._calls = page, page.visit.calls

    def add_sections(self) -> None:
        """Add all parts."""
        add = self._page.add_section
        add(
            "Queue and lanes",
            "Tasks by what is known of them. A lane is a queue for one kind of slow work.",
            self._load_queue,
            self._draw_queue,
        )
        add(
            "Dead letters",
            "Tasks that failed for good. Replay sends them through once more; do that when what "
            "they failed with is mended.",
            self._load_dead_letters,
            self._draw_dead_letters,
        )
        add(
            "Limits and breakers",
            "How many calls each provider may still get, and whether calls are held back because "
            "it fails.",
            self._load_health,
            _draw_health,
        )
        add(
            "Budgets of today",
            "What may be spent on models, and what is spent. They begin anew at midnight UTC.",
            self._load_budgets,
            _draw_budgets,
        )
        add(
            "Workers",
            "The programs that carry out runs, and the runs that compute tasks.",
            self._load_workers,
            _draw_workers,
        )
        add(
            "What the service depends on",
            "Whatever is not set up is missing on purpose, or waits for whoever runs Aletheia.",
            self._load_readiness,
            _draw_readiness,
        )

    async def _load_queue(self) -> Queue:
        intake = await self._calls.read(IntakeState, "/api/v1/intake")
        return Queue(intake, await self._calls.read(Lanes, "/api/v1/lanes"))

    async def _load_dead_letters(self) -> DeadLettersPage:
        return await self._calls.read(DeadLettersPage, "/api/v1/dead-letters", limit=MAX_SHOWN)

    async def _load_health(self) -> Alive:
        return await self._calls.read(Alive, "/health")

    async def _load_budgets(self) -> BudgetsToday:
        return await self._calls.read(BudgetsToday, "/api/v1/budgets")

    async def _load_workers(self) -> WorkersPage:
        return await self._calls.read(WorkersPage, "/api/v1/workers", limit=MAX_SHOWN)

    async def _load_readiness(self) -> Readiness:
        unready = [HTTPStatus.SERVICE_UNAVAILABLE]
        return await self._calls.read(Readiness, "/health/ready", allowed=unready)

    def _draw_queue(self, queue: Queue) -> None:
        intake = queue.intake
        with ui.element("div").classes("card"):
            said, style = ("Paused", "warn") if intake.is_paused else ("Running", "good")
            ui.label(said).classes(f"state {style}")
            for name in (*intake.paused_lanes, *intake.paused_types):
                ui.label(f"Paused: {name}").classes("state warn")
            states = [name for name in STATES if intake.tasks.get(name)]
            add_facts([(STATES[name], say_number(intake.tasks[name])) for name in states])
            if not states:
                ui.label("No task has come so far.").classes("soft")
            if intake.expired:
                lost = f"{intake.expired:,} [task|tasks] lost whoever worked on [it|them]."
                ui.label(agree(lost, intake.expired)).classes("warn")
            lanes = [(f"Lane {lane.lane}", say_number(lane.waiting)) for lane in queue.lanes.lanes]
            add_facts(lanes)
            self._add_pause(intake)

    def _add_pause(self, intake: IntakeState) -> None:
        verb = "resume" if intake.is_paused else "pause"

        async def change(_: Answer) -> str:
            state = await self._calls.act(IntakeState, f"/api/v1/intake/{verb}")
            return "New tasks are not taken any more." if state.is_paused else "Tasks are taken."

        if intake.is_paused:
            question = Question("Take tasks again?", ["New tasks are taken from now on."], "Resume")
        else:
            question = Question(
                "Take no more tasks?",
                ["What is begun is finished. New tasks wait where they are until you resume."],
                "Pause",
            )
        self._page.add_button(question.button, question, change, roles=OPERATORS, is_strong=False)

    def _draw_dead_letters(self, found: DeadLettersPage) -> None:
        if not found.dead_letters:
            ui.label("No task has failed for good.").classes("soft note")
            return
        with ui.element("div").classes("stack"):
            for dead_letter in found.dead_letters:
                self._draw_dead_letter(dead_letter)
        if found.next_cursor is not None:
            ui.label(f"There are more; the newest {MAX_SHOWN} are shown.").classes("soft")
        self._add_replay(
            "Replay all …",
            {},
            "All dead letters are sent through once more, not only those you see here.",
        )

    def _draw_dead_letter(self, dead_letter: DeadLetterRow) -> None:
        with ui.element("article").classes("card"):
            with ui.element("div").classes("row"):
                ui.label(dead_letter.id).classes("name")
                ui.label(dead_letter.code).classes("state bad")
            ui.label(
                cut(dead_letter.message) if dead_letter.message else "It says no more."
            ).classes("text")
            kind = dead_letter.type or "unknown"
            tries = agree(f"{dead_letter.attempts} [attempt|attempts]", dead_letter.attempts)
            ui.label(f"Type {kind} · {tries} · {say_time(dead_letter.dead_at)}").classes("soft")
            if dead_letter.replay_refused is not None:
                said = say_failed_replay(dead_letter.code, dead_letter.replay_refused)
                ui.label(said).classes("warn")
            self._add_replay(
                "Replay", {"ids": [dead_letter.id], "limit": 1}, None, quoted=dead_letter.id
            )

    def _add_replay(
        self, text: str, order: Mapping[str, object], warning: str | None, *, quoted: str = ""
    ) -> None:
        async def replay(answer: Answer) -> str:
            path = "/api/v1/dead-letters/replay"
            started = await self._calls.act(StartedRun, path, order, key=answer.key)
            return f"Replay has begun (run {started.run_id})."

        explained = ["A run is started that works on it again, as if it had just come."]
        if warning is not None:
            explained = [warning, "What fails again comes back here."]
        question = Question(
            "Send it through once more?" if quoted else "Send all through once more?",
            explained,
            "Replay",
            quoted=[cut(quoted)] if quoted else [],
        )
        self._page.add_button(text, question, replay, roles=OPERATORS, is_strong=False)


def _draw_health(alive: Alive) -> None:
    if not alive.are_readings_known:
        ui.label("They cannot be read for now.").classes("soft note")
        return
    if not alive.limits and not alive.breakers:
        ui.label("No provider was called so far.").classes("soft note")
        return
    with ui.element("div").classes("cards"):
        for limit in alive.limits:
            _draw_limit(limit)
        for breaker in alive.breakers:
            _draw_breaker(breaker)


def _draw_limit(limit: Limit) -> None:
    with ui.element("div").classes("card"):
        ui.label(f"{limit.provider}, per {limit.tier}").classes("name")
        allowed = "no limit" if limit.limit is None else say_number(limit.limit)
        add_facts(
            [
                ("Calls", f"{say_number(limit.used)} of {allowed}"),
                ("Held back so far", say_number(limit.refusals)),
            ]
        )


def _draw_breaker(breaker: Breaker) -> None:
    with ui.element("div").classes("card"):
        ui.label(breaker.dependency).classes("name")
        style = "good" if breaker.state == "closed" else "bad"
        ui.label(BREAKERS.get(breaker.state, breaker.state)).classes(f"state {style}")
        if breaker.until is not None:
            ui.label(f"Tried again at {say_time(breaker.until)}").classes("soft")


def _draw_budgets(found: BudgetsToday) -> None:
    with ui.element("div").classes("cards"):
        for budget in found.budgets:
            _draw_budget(budget)


def _draw_budget(budget: BudgetRow) -> None:
    is_money = "USD" in budget.name

    def say(amount: str) -> str:
        return say_usd(amount) if is_money else say_number(float(amount))

    with ui.element("div").classes("card"):
        ui.label("Money" if is_money else "Tokens").classes("name")
        if budget.is_spent:
            ui.label("Spent: no more calls today").classes("state bad")
        limit = "no limit" if budget.limit is None else say(budget.limit)
        add_facts([("Spent", say(budget.spent)), ("Limit", limit)])
        ui.label(f"Setting {budget.name}").classes("soft")


def _draw_workers(found: WorkersPage) -> None:
    if not found.workers:
        ui.label("No worker was ever heard of, so no run is carried out.").classes("soft note")
    with ui.element("div").classes("cards"):
        for worker in found.workers:
            _draw_worker(worker)
        for running in found.lane_workers:
            if running.state != "ended":
                _draw_lane_worker(running)


def _draw_worker(worker: WorkerRow) -> None:
    with ui.element("div").classes("card"):
        ui.label(worker.name).classes("name")
        said, style = ("At work", "good") if worker.is_online else ("Not heard of lately", "bad")
        ui.label(said).classes(f"state {style}")
        ui.label(f"Pool {worker.pool} · heard of {say_time(worker.seen_at)}").classes("soft")


def _draw_lane_worker(worker: LaneWorkerRow) -> None:
    with ui.element("div").classes("card"):
        ui.label(f"Lane {worker.lane}").classes("name")
        said, style = LANE_WORKER_STATES.get(worker.state, (worker.state, "soft"))
        ui.label(said).classes(f"state {style}")
        ui.label(f"{cut(worker.id)} · heard of {say_time(worker.seen_at)}").classes("soft")
        add_facts([("Done", say_number(worker.succeeded)), ("Failed", say_number(worker.failed))])
        if worker.tasks:
            ui.label(cut(f"Works on {', '.join(worker.tasks)}")).classes("text")


def _draw_readiness(readiness: Readiness) -> None:
    with ui.element("div").classes("cards"):
        for check in readiness.checks:
            _draw_check(check)


def _draw_check(check: Check) -> None:
    with ui.element("div").classes("card"):
        ui.label(check.name).classes("name")
        ui.label(_CHECKS[check.status]).classes(f"state {_CHECK_CLASSES[check.status]}")
        if check.reason:
            ui.label(check.reason).classes("soft")
