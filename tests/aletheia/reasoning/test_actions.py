"""What is not on the allow-list, or not complete, is never carried out."""

from typing import Any, get_args

import pytest

from aletheia.errors import InvalidTask
from aletheia.reasoning.actions import ACTIONS, describe_dry_run, is_complete, plan_start
from aletheia.reasoning.rules.rule import ActionType
from deployments.declarations import read_declarations
from tests.fakes.reasoning import make_snapshot

COMPLETE: dict[str, dict[str, Any]] = {
    "process_queue": {},
    "retry_failed_jobs": {"code": "model_crashed"},
    "process_pending_jobs": {"lane": "llm"},
    "gather_project": {"project_id": "demo", "user_id": "ada"},
    "pull_model": {"model": "nomic-embed-text", "provider": "ollama"},
    "reconcile": {"project_id": "demo"},
    "sweep": {},
}


def test_every_action_of_the_specification_is_there():
    assert set(ACTIONS) == set(get_args(ActionType)) == set(COMPLETE)


@pytest.mark.parametrize("action", COMPLETE)
def test_an_action_starts_a_deployment_that_takes_its_parameters(action: str):
    start = plan_start(action, COMPLETE[action])
    declared = {it.full_name: it for it in read_declarations().deployments}
    assert set(start.parameters) <= set(declared[start.deployment].parameters)
    assert is_complete(action, COMPLETE[action])


@pytest.mark.parametrize("action", COMPLETE)
def test_an_action_says_in_a_dry_run_what_it_would_do(action: str):
    said = describe_dry_run(action, COMPLETE[action], make_snapshot().view)
    assert len(said) > 10
    assert said == said.strip()


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("rm -rf /", {}, "unknown_action"),
        ("manual", {}, "unknown_action"),
        ("process_queue", {"shift_seconds": 570}, "invalid_payload"),
        ("retry_failed_jobs", {"limit": 10**9}, "invalid_payload"),
        ("gather_project", {}, "invalid_payload"),
        ("gather_project", {"project_id": "../x", "user_id": "ada"}, "invalid_payload"),
        ("process_pending_jobs", {"lane": "intake"}, "invalid_payload"),
        ("pull_model", {"model": "x", "provider": "openai"}, "invalid_payload"),
        ("reconcile", {"project_id": "a", "extra": 1}, "invalid_payload"),
    ],
)
def test_nothing_else_is_ever_carried_out(action: str, payload: dict[str, Any], code: str):
    with pytest.raises(InvalidTask) as refused:
        plan_start(action, payload)
    assert refused.value.code == code
    assert not is_complete(action, payload)
