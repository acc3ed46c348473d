"""The child itself: what it answers, frame by frame."""

import io
import json
import os
import queue
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.children.child import (
    answer,
    find_job,
    path_of,
    receive_request,
    receive_requests,
)
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
    *_, (too_large, _) = ask(monkeypatch, "run_out_of_memory")
    assert (too_large["kind"], too_large["code"]) == ("invalid", "too_large")
    assert not too_large["is_well"]
    *_, (broken, _) = ask(monkeypatch, "break_down")
    assert (broken["kind"], broken["code"]) == ("failed", "decoder_error")
    assert broken["message"] == "ValueError: a bug"


def send(control: socket.socket, request: object, *descriptors: int) -> None:
    body = json.dumps(request).encode()
    socket.send_fds(control, [len(body).to_bytes(4, "little"), body], descriptors)


def test_a_request_comes_with_its_files(tmp_path: Path):
    ours, theirs = socket.socketpair()
    (tmp_path / "a").write_text("text")
    with ours, theirs, (tmp_path / "a").open() as file:
        send(ours, {"job": "x" * 60_000}, file.fileno())
        send(ours, {"job": "second"})
        first, second = receive_request(theirs), receive_request(theirs)
        assert first is not None
        assert second == ({"job": "second"}, [])
        header, (descriptor,) = first
        assert len(header["job"]) == 60_000
        assert descriptor != file.fileno()
        assert os.read(descriptor, 10) == b"text"
        os.close(descriptor)
        ours.close()
        assert receive_request(theirs) is None


@pytest.mark.parametrize("half", [b"\x05", b"\x05\0\0\0{"])
def test_half_a_request_means_that_the_parent_is_gone(half: bytes):
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(half)
        ours.close()
        with pytest.raises(OSError, match="gone"):
            receive_request(theirs)


@pytest.mark.parametrize("end", ["gone", "broken"])
def test_what_was_asked_waits_in_order_until_the_parent_is_gone(
    monkeypatch: pytest.MonkeyPatch, end: str
):
    class Ended(BaseException):
        pass

    def exit_with(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", exit_with)
    waiting: queue.SimpleQueue[tuple[dict[str, Any], list[int]]] = queue.SimpleQueue()
    ours, theirs = socket.socketpair()
    with theirs:
        send(ours, {"job": "a"})
        send(ours, {"job": "b"})
        if end == "broken":
            ours.sendall(b"\x02\0\0\0{{")
        ours.close()
        with pytest.raises(Ended):
            receive_requests(theirs, waiting)
    assert [waiting.get()[0]["job"], waiting.get()[0]["job"]] == ["a", "b"]
    assert waiting.empty()


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
