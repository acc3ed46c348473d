"""The child itself: what it answers, frame by frame."""

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.children.child import answer, find_job, path_of
from aletheia.adapters.children.process import COMMAND, make_environment
from aletheia.adapters.local.wire import read_frame


def frames_of(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    found: list[tuple[dict[str, Any], bytes]] = []
    while frame := read_frame(reader):
        found.append(frame)
    os.close(reader)
    return found


def ask(monkeypatch: pytest.MonkeyPatch, name: str, **arguments: Any) -> list[Any]:
    # The limit would hold for this process as well.
    monkeypatch.setattr("aletheia.adapters.children.child.limit_processor", abs)
    stream = io.BytesIO()
    header = {
        "job": f"tests.fakes.jobs:{name}",
        "arguments": arguments,
        "processor_s": 1,
        "is_careful": False,
    }
    answer(header, [], stream)
    return frames_of(stream.getvalue())


def test_pieces_come_before_the_outcome(monkeypatch: pytest.MonkeyPatch):
    *pieces, (outcome, body) = ask(monkeypatch, "count", upto=2)
    assert [json.loads(piece) for _, piece in pieces] == [[0], [1]]
    assert (outcome["op"], body) == ("done", b"")
    assert outcome["memory_bytes"] > 0


def test_pieces_that_are_made_at_once_are_sent_together_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch,
):
    *pieces, _ = ask(monkeypatch, "count", upto=1000)
    assert [number for _, piece in pieces for number in json.loads(piece)] == list(range(1000))
    assert len(pieces) < 100
    *pieces, (outcome, _) = ask(monkeypatch, "refuse")
    assert (len(pieces), outcome["code"]) == (1, "encrypted")


def test_an_error_is_told_apart_by_whether_the_task_is_wrong(monkeypatch: pytest.MonkeyPatch):
    *_, (refused, _) = ask(monkeypatch, "refuse")
    assert (refused["kind"], refused["code"], refused["is_well"]) == ("invalid", "encrypted", True)
    *_, (broken, _) = ask(monkeypatch, "break_down")
    assert (broken["kind"], broken["code"]) == ("failed", "decoder_error")
    assert broken["message"] == "ValueError: a bug"


def test_a_file_can_be_opened_by_its_descriptor(tmp_path: Path):
    (tmp_path / "a").write_text("text")
    with (tmp_path / "a").open() as file:
        (tmp_path / "a").unlink()
        assert Path(path_of(file.fileno())).read_text() == "text"


def test_a_job_is_found_by_its_name():
    assert find_job("tests.fakes.jobs:count").__name__ == "count"
    with pytest.raises(AttributeError):
        find_job("tests.fakes.jobs:nothing")


def test_a_child_ends_when_nobody_can_ask_it_any_more():
    control, theirs = socket.socketpair()
    answers, their_answers = socket.socketpair()
    passed = (theirs.fileno(), their_answers.fileno())
    child = subprocess.Popen(
        [*COMMAND, *map(str, (*passed, 10**9, os.getpid()))],
        pass_fds=passed,
        env=make_environment(os.environ),
        cwd="/",
    )
    their_answers.close()
    theirs.close()
    assert read_frame(answers.fileno()) == ({"op": "ready"}, b"")
    control.close()
    assert child.wait(timeout=30) == 0
    answers.close()
    assert sys.executable == COMMAND[0]
