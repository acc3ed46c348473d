"""What the demo says of the tasks that workers computed."""

from collections.abc import Mapping
from typing import Any

import pytest

from deployments.demo.workers import show
from deployments.examples.worker_tasks import WorkerExample, make_task
from tests.deployments.printing import printed

EXAMPLE = WorkerExample(
    make_task("audio_analysis", {"audio_file": "a.wav"}),
    lane="media",
    describe=lambda result: f"{result['duration']} s",
    is_true=lambda result: result["duration"] == 10,
)
MADE = {"provider": "libsndfile", "model": "libsndfile 1.2.2"}


def shown(outcome: Mapping[str, Any]) -> tuple[bool, str]:
    verdicts: list[bool] = []
    text = printed(lambda: verdicts.append(show([EXAMPLE], [outcome])))
    return verdicts[0], text


@pytest.mark.parametrize(
    ("outcome", "is_good", "said"),
    [
        ({"state": "succeeded", "result": {"duration": 10, **MADE}}, True, "10 s"),
        ({"state": "succeeded", "result": {"duration": 3, **MADE}}, False, "3 s"),
        ({"state": "failed", "error": {"code": "decoder_died"}}, False, "decoder_died"),
        ({"state": "processing"}, False, "processing"),
        ({"state": "failed", "error": {"code": "no_speech_engine"}}, True, "nothing here"),
        ({"state": "failed", "error": {"code": "no_engine_for_pair"}}, True, "nothing here"),
    ],
)
def test_a_result_must_be_true_and_a_missing_engine_is_said(
    outcome: Mapping[str, Any], is_good: bool, said: str
):
    verdict, text = shown(outcome)
    assert verdict is is_good
    assert said in text
