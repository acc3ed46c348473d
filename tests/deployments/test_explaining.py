"""What commands say where a Prefect server does not let them in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from deployments import ROOT
from deployments.explaining import MAX_SAID_CHARS, explained, shorten_output
from deployments.processes import ProgramFailed

TRACEBACK = """Saving blocks
Traceback (most recent call last):
  File "a.py", line 1, in one
    raise ValueError("deep")
ValueError: deep

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "b.py", line 2, in two
    raise OSError("the port is taken")
OSError: the port is taken
"""


def test_of_a_traceback_the_errors_alone_are_shown():
    assert shorten_output(TRACEBACK).splitlines() == [
        "Saving blocks",
        "ValueError: deep",
        "OSError: the port is taken",
    ]
    assert len(shorten_output("x" * 10_000)) == MAX_SAID_CHARS
    assert shorten_output("") == ""


def test_a_program_that_failed_is_explained_in_a_few_lines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    failed = ProgramFailed("set-up", "failed", tmp_path / "setup.log", TRACEBACK * 10)
    with pytest.raises(typer.Exit), explained():
        raise failed
    shown = capsys.readouterr().out
    assert "File " not in shown
    assert "OSError: the port is taken" in shown
    assert "setup.log" in shown


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("command", "sign_in", "fault"),
    [
        (["status"], "", "is not set, which"),
        (["status"], "aletheia:wrong", "is not what"),
        (["replay"], "aletheia:wrong", "is not what"),
        (["gather", "a-project"], "aletheia:wrong", "is not what"),
        (["reconcile"], "aletheia:wrong", "is not what"),
    ],
)
def test_a_refused_password_is_said_in_one_sentence(
    server: str, command: list[str], sign_in: str, fault: str
):
    variables = {"PREFECT_API_URL": f"{server}/api", "PREFECT_API_AUTH_STRING": sign_in}
    ran = subprocess.run(
        [sys.executable, "-m", "deployments.cli", *command],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    said = ran.stdout + ran.stderr
    assert f"PREFECT_API_AUTH_STRING: {fault} the Prefect server at {server}/api asks for" in said
    assert len(said.splitlines()) == 1, said
    assert "wrong" not in said
