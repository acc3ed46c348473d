"""How things stand, as `aletheia status` shows it."""

from datetime import UTC, datetime

from aletheia.brain.outbox import OutboxState
from tasks.providers import ProviderStatus


def test_what_waits_for_the_brain_is_shown_with_the_reason_and_the_next_try():
    due = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
    brain = [
        OutboxState("a", 1234, 2, 3, due, "brain is unavailable: no route"),
        OutboxState("b", 0, 1, 0, None, ""),
    ]
    standing = ProviderStatus([], {}, [], [], [], brain)
    assert standing.rows() == [
        {
            "what": "Brain, a",
            "state": "1,234 batches wait, 2 items refused",
            "note": "brain is unavailable: no route; next try at 12:30:05 UTC",
        },
        {"what": "Brain, b", "state": "0 batches wait, 1 items refused", "note": ""},
    ]
    assert standing.as_json()["brain"] == [
        {
            "project_id": "a",
            "waiting": 1234,
            "dead": 2,
            "failures": 3,
            "next_try_at": "2026-03-01T12:30:05+00:00",
            "reason": "brain is unavailable: no route",
        },
        {
            "project_id": "b",
            "waiting": 0,
            "dead": 1,
            "failures": 0,
            "next_try_at": None,
            "reason": "",
        },
    ]
