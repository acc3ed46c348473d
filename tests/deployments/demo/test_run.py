import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aletheia.errors import Misconfigured, Unavailable
from deployments import ROOT
from deployments.configuration import BLOCK_FIELDS
from deployments.demo.run import SET_ANYWAY, demo, ignored_variables
from deployments.local import Local


def test_nothing_that_a_checkout_unlocks_is_used_by_the_demo():
    unlocked = {name for fields in BLOCK_FIELDS.values() for name in fields}
    assert unlocked - set(ignored_variables()) == SET_ANYWAY
    assert "DEFAULT_LLM_MODEL" in ignored_variables()
    assert "PROCESSING_MODE" not in ignored_variables()


def test_the_demo_is_refused_in_production(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("ALETHEIA_DATA_DIR", str(tmp_path))
    with pytest.raises(Misconfigured, match="production"):
        demo(tasks=10)
    assert list(tmp_path.iterdir()) == []


def test_two_demos_do_not_run_in_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ALETHEIA_DATA_DIR", str(tmp_path))
    with (tmp_path / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="another one runs here"):
            demo(tasks=10)


@pytest.mark.timeout(300)
def test_the_demo_runs_from_nothing_and_leaves_nothing(tmp_path: Path):
    variables = {
        "ALETHEIA_DATA_DIR": str(tmp_path),
        "PROCESSING_MODE": "mock",
        "API_BASE_URL": "http://127.0.0.1:1",
        "NEXT_PUBLIC_APP_URL": "http://127.0.0.1:1",
        "OPENROUTER_API_KEY": "a key that must not be used",
        "HOME": str(tmp_path / "home"),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "demo", "--tasks", "20"],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "THIS IS A MOCK" in ran.stdout
    assert "20 good tasks were reported succeeded" in ran.stdout
    assert "6 broken ones told apart" in ran.stdout
    assert "store, report and events agree" in ran.stdout
    for line in ("Rider support", "threshold reached", "exact", "Scooter rental, closed"):
        assert line in ran.stdout
    assert "figures are right by upstream, store, Prefect and platform" in " ".join(
        ran.stdout.split()
    )
    assert ran.stdout.count("/runs/flow-run/") == 3
    assert Local(tmp_path / "demo").processes() == []
