"""The parts of a sweep: work that no run has done (SPEC §4, §7)."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias

from prefect import get_run_logger, task
from pydantic import BaseModel

from aletheia.errors import AletheiaError
from aletheia.events.delivery import FanOut
from aletheia.events.ports import REDIS, WEBHOOK
from aletheia.llm import answers
from aletheia.quality.evaluation_store import list_lost_requests, list_unjudged
from aletheia.store.clock import SYSTEM_CLOCK, moment
from tasks.artifacts import save_table
from tasks.clients.brain import get_brain_access, get_brain_items, get_evaluations, get_outbox
from tasks.clients.content import close_content
from tasks.clients.events import SINKS, get_announcer
from tasks.clients.prefect_events import PREFECT
from tasks.clients.store import get_store
from tasks.evaluation import start_evaluation
from tasks.gather_closing import close_cancelled_runs, emit_ended_runs
from tasks.policies import STEP, PartsFailed
from tasks.session import current_session

MAX_REPEATED: Final = 20
"""Evaluations without a judge that a sweep begins again."""

LOST_AFTER_S: Final = 60.0
"""Age from which nobody is about to start the run of a request any more, seconds (SPEC §4)."""

PART_WITHIN_S: Final = 60.0
"""Time limit of one part, seconds, so that one that hangs leaves time for the others."""

MAX_FEED_S: Final = 40.0
"""Time limit for feeding one kind of receivers, seconds; the next sweep continues."""

Act: TypeAlias = Callable[[Counter[str]], Awaitable[None]]
"""Does a part, and counts what it does while it does it."""


class PartOutcome(BaseModel, frozen=True):
    """The outcome of a part."""

    part: str
    done: dict[str, int]
    error: str = ""  # why it failed


class SweepReport(BaseModel, frozen=True):
    """What a sweep did, part by part."""

    parts: tuple[PartOutcome, ...]


class SweepFailed(PartsFailed):
    """Some parts of a sweep failed; the others were done."""

    code = "sweep_failed"


@task(name="sweep_part", task_run_name="{name}", **STEP)
async def sweep_part(name: str) -> PartOutcome:
    """Do one part; if it fails, its outcome says so, and the others are done all the same."""
    done: Counter[str] = Counter()
    error = ""
    try:
        async with asyncio.timeout(PART_WITHIN_S):
            await PARTS[name](done)
    except TimeoutError:
        error = f"not done within {PART_WITHIN_S:g} s"
    except AletheiaError as failure:
        error = str(failure)
    except Exception as failure:  # noqa: BLE001 - a bug in one part, and its trace is logged
        get_run_logger().exception("%s went wrong", name)
        error = f"{type(failure).__name__}: {failure}"
    return PartOutcome(
        part=name, done={what: count for what, count in done.items() if count}, error=error
    )


@task(name="close_sweep", task_run_name="close", **STEP)
async def close_sweep(outcomes: Sequence[PartOutcome]) -> SweepReport:
    """Save a table of what was done. Raises `SweepFailed`: a part failed."""
    rows: list[dict[str, str | int]] = []
    for outcome in outcomes:
        part, error = outcome.part, outcome.error
        rows += [
            {"part": part, "what": what, "count": count, "error": ""}
            for what, count in outcome.done.items()
        ]
        if error:
            rows.append({"part": part, "what": "failed", "count": 1, "error": error})
        elif not outcome.done:
            rows.append({"part": part, "what": "nothing to do", "count": 0, "error": ""})
    failures = tuple(f"{outcome.part}: {outcome.error}" for outcome in outcomes if outcome.error)
    failed = f"**{len(failures)} of {len(outcomes)} parts failed.**"
    await save_table("sweep", rows, failed if failures else "Every part was done.")
    if failures:
        raise SweepFailed(failures)
    return SweepReport(parts=tuple(outcomes))


async def start_lost_evaluations(done: Counter[str]) -> None:
    """Start evaluations that never got a run; after a failure the project's others wait."""
    before = moment(SYSTEM_CLOCK.now()) - timedelta(seconds=LOST_AFTER_S)
    failures: dict[str, AletheiaError] = {}
    for request in await list_lost_requests(await get_store(), before=before):
        if request.project_id in failures:
            continue
        try:
            await start_evaluation(await get_evaluations(request.project_id), request)
        except AletheiaError as error:
            failures[request.project_id] = error
        else:
            done["evaluations started"] += 1
    if failures:
        raise next(iter(failures.values()))


async def repeat_unjudged_evaluations(done: Counter[str]) -> None:
    """Evaluate again what no judge has answered for, as long as the model may be asked."""
    due = await list_unjudged(await get_store(), limit=MAX_REPEATED)
    if not due:
        return
    for project_id, key in due:
        store = await get_evaluations(project_id)
        if (order := await store.find_order(key)) is None:
            continue
        asked = await store.request(
            order.department, order.item_ids, user_id=order.request.user_id, is_auto=True
        )
        if asked.stored is None and asked.request.run_id is None:
            await start_evaluation(store, asked.request)
            done["evaluations without a judge begun again"] += 1


async def close_cancelled(done: Counter[str]) -> None:
    """Close cancelled runs, and emit the ends of closed ones, that their process left behind."""
    done["cancelled runs closed"] += len(await close_cancelled_runs())
    done["ends of runs sent"] += len(await emit_ended_runs())


async def _feed(kind: str, done: Counter[str]) -> None:
    """Send the events that wait for the receivers of one kind, if any of them is open."""
    store = await get_store()
    if not (await FanOut(store, {}).count_open()).get(kind):
        return
    if (sink := await SINKS[kind]()) is None:
        # They were opened while there was a Redis, and are deleted once they are old.
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MAX_FEED_S):
            done["events sent"] += await FanOut(store, {kind: sink}).feed()


async def deliver_to_brain(done: Counter[str]) -> None:
    """Deliver to the Brain what waits for it, project by project; what cannot be sent waits on."""
    outbox = await get_outbox()
    await outbox.intents.correct_gauge()
    access = None
    failures: list[AletheiaError] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MAX_FEED_S):
            for project_id in sorted(await outbox.intents.count_by_project()):
                try:
                    access = access or await get_brain_access()
                    items = await get_brain_items(project_id)
                    done["items and evaluations sent"] += await outbox.deliver(
                        project_id, access, items
                    )
                except AletheiaError as error:
                    failures.append(error)
                finally:
                    await close_content(project_id)
    for state in await outbox.states():
        done["batches that wait for the Brain"] += state.waiting
        done["items that the Brain refused"] += state.dead
    if failures:
        raise failures[0]


async def purge_events(done: Counter[str]) -> None:
    """Delete old events, dead letters, and receivers that are not in use any more."""
    fan_out = FanOut(await get_store(), {})
    await fan_out.prepare()
    events, dead_letters, receivers = await fan_out.purge(_retention_s())
    done["events deleted"] += events
    done["dead letters deleted"] += dead_letters
    done["receivers forgotten"] += receivers
    done["sent events forgotten"] += await (await get_announcer()).purge(_retention_s())


async def purge_answers(done: Counter[str]) -> None:
    """Delete old answers of models, verdicts on duplicates among them."""
    done["answers deleted"] += await answers.purge_answers(await get_store(), _retention_s())


async def purge_refused(done: Counter[str]) -> None:
    """Delete records of items that the Brain refused long ago."""
    done["refusals deleted"] += await (await get_outbox()).dead_items.purge(_retention_s())


PARTS: Final[Mapping[str, Act]] = {
    "start lost evaluations": start_lost_evaluations,
    "repeat evaluations without a judge": repeat_unjudged_evaluations,
    "close cancelled gather runs": close_cancelled,
    "send events to Prefect": partial(_feed, PREFECT),
    "send events to Redis": partial(_feed, REDIS),
    "send events to webhooks": partial(_feed, WEBHOOK),
    "deliver to the Brain": deliver_to_brain,
    "delete old events": purge_events,
    "delete old answers": purge_answers,
    "delete old refusals of the Brain": purge_refused,
}
"""The parts of every sweep, by what an operator reads, in this order."""


def _retention_s() -> float:
    return current_session().settings.intake.ledger_retention_days * 86_400
