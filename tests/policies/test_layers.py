"""Imports go one way."""

import subprocess
import sys

import pytest

from deployments import ROOT


@pytest.mark.timeout(120)
def test_import_contracts_hold():
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    checked = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
