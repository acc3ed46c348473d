"""What commands say where a Prefect server does not let them in."""

import os
import subprocess
import sys

import pytest

from deployments import ROOT


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
