"""Figures of runs, as a Prefect server answers, or does not."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aletheia.adapters.prefect.reader import PrefectRuns
from aletheia.errors import BadAnswer
from aletheia.reasoning.collecting import collect_snapshot
from aletheia.reasoning.sources import prefect_source
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import AT


class FakePrefect:
    """Counts runs by the filters of the API.

    Attributes:
        runs: state type, state name, expected start, start, end, flow.
        answers: in place of what it would answer, by path.
    """

    def __init__(self, *runs: Mapping[str, Any]) -> None:
        self.runs = list(runs)
        self.answers: dict[str, object] = {}

    async def post(self, path: str, body: Mapping[str, Any]) -> object:
        """Answer as the API does."""
        if path in self.answers:
            return self.answers[path]
        match path:
            case "/flow_runs/count":
                return len(self._chosen(body))
            case "/flow_runs/filter":
                chosen = sorted(self._chosen(body), key=lambda run: run["start"])
                ordered = chosen[::-1] if body["sort"].endswith("DESC") else chosen
                return [
                    {"start_time": run["start"].isoformat()} for run in ordered[: body["limit"]]
                ]
            case "/work_pools/filter":
                return [{"name": "aletheia"}, {"name": "a b"}]
            case "/work_pools/aletheia/workers/filter":
                return [{"status": "ONLINE"}, {"status": "OFFLINE"}]
            case "/work_pools/a%20b/workers/filter":
                return [{"status": "ONLINE"}]
            case _:
                raise AssertionError(path)

    def _chosen(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        flows = body.get("flows", {}).get("name", {}).get("any_")
        return [
            run
            for run in self.runs
            if _fits(run, body["flow_runs"]) and (flows is None or run["flow"] in flows)
        ]


def _fits(run: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for field, condition in wanted.items():
        match field:
            case "state":
                (part, choice) = next(iter(condition.items()))
                if run["state" if part == "type" else "name"] not in choice["any_"]:
                    return False
            case "expected_start_time":
                if run["expected"] > datetime.fromisoformat(condition["before_"]):
                    return False
            case "start_time" | "end_time":
                at = run[field.removesuffix("_time")]
                after = condition.get("after_")
                if at is None or (after and at < datetime.fromisoformat(after)):
                    return False
            case _:
                raise AssertionError(field)
    return True


def run(state: str, **values: Any) -> dict[str, Any]:
    nothing = {"name": state.capitalize(), "expected": AT, "start": None, "end": None, "flow": "f"}
    return {"state": state, **nothing, **values}


def ago(**by: float) -> datetime:
    return AT - timedelta(**by)


RUNS = (
    run("SCHEDULED", expected=AT + timedelta(hours=1)),
    run("SCHEDULED", expected=AT + timedelta(minutes=5)),
    run("SCHEDULED", name="Late", expected=ago(minutes=5)),
    run("PENDING"),
    run("RUNNING", start=ago(minutes=50)),
    run("RUNNING", start=ago(minutes=2)),
    run("COMPLETED", start=ago(hours=3), end=ago(hours=2)),
    run("FAILED", start=ago(hours=5), end=ago(hours=4), flow="automated_gather_creation"),
    run("CRASHED", start=ago(hours=6), end=ago(hours=5)),
    run("FAILED", start=ago(hours=50), end=ago(hours=49)),
)


async def test_runs_are_counted_by_what_they_are():
    figures = await PrefectRuns(FakePrefect(*RUNS).post).read(AT)
    assert (figures.scheduled, figures.due_soon, figures.late) == (3, 2, 1)
    assert (figures.pending, figures.running) == (2, 2)
    assert (figures.failed_24h, figures.crashed_24h, figures.gather_failed_24h) == (2, 1, 1)
    assert figures.started_24h == 5
    assert (figures.workers_online, figures.workers_offline) == (2, 1)
    assert figures.last_run_at == ago(minutes=2)
    assert figures.oldest_running_at == ago(minutes=50)


async def test_a_server_without_runs_has_no_last_one():
    figures = await PrefectRuns(FakePrefect().post).read(AT)
    assert (figures.scheduled, figures.last_run_at, figures.oldest_running_at) == (0, None, None)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/flow_runs/count", "3"),
        ("/flow_runs/count", -1),
        ("/flow_runs/count", True),
        ("/flow_runs/filter", {"detail": "no"}),
        ("/work_pools/filter", None),
    ],
)
async def test_an_answer_that_is_none_is_a_bad_one(path: str, answer: object):
    server = FakePrefect(*RUNS)
    server.answers[path] = answer
    with pytest.raises(BadAnswer):
        await PrefectRuns(server.post).read(AT)


async def test_the_snapshot_has_them_in_its_fields():
    source = prefect_source(PrefectRuns(FakePrefect(*RUNS).post))
    snapshot = await collect_snapshot([source], timeout_s=5, clock=MovableClock(AT).both)
    assert (snapshot.scheduler_pending, snapshot.scheduler_due_soon) == (3, 2)
    assert (snapshot.jobs_pending, snapshot.jobs_failed) == (2, 2)
    assert snapshot.orchestrator_running is True
    assert snapshot.orchestrator_last_run == ago(minutes=2).astimezone(UTC)
    assert snapshot.view.number("additional_metrics.prefect.longest_run_s") == 3000
