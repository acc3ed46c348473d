from datetime import UTC, datetime, timedelta

import orjson

from deployments.examples.tasks import example_tasks, make_faulty_tasks


def test_tasks_come_in_all_dialects_with_one_of_each_fault() -> None:
    tasks = example_tasks(60)
    good = [task.entry for task in tasks if task.code is None and task.is_reportable]
    assert len(good) == 60
    for name in ("data", "content", "input_data"):
        assert sum(name in entry for entry in good) == 20
    ids = [entry.get("id", entry.get("_id")) for entry in good]
    assert len(set(ids)) == 60
    assert any("/" in str(task_id) for task_id in ids)
    codes = [task.code for task in tasks if task.code]
    assert codes == [
        "unknown_type",
        "missing_text",
        "empty_text",
        "invalid_text",
        "input_too_long",
    ]
    assert sum(not task.is_reportable for task in tasks) == 1
    assert example_tasks(60) == tasks


def test_faults_can_be_left_out() -> None:
    assert all(task.code is None for task in example_tasks(10, with_faults=False))
    assert max(len(orjson.dumps(task.entry)) for task in make_faulty_tasks()) > 1_200_000


def test_the_newest_task_was_created_when_it_is_said() -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    entries = [task.entry for task in example_tasks(6, with_faults=False, newest_at=now)]
    created = [entry.get("createdAt", entry.get("created_at")) for entry in entries]
    moments = [datetime.fromisoformat(moment) for moment in created if moment is not None]
    assert moments == [now - timedelta(seconds=ago) for ago in (4, 3, 1, 0)]
