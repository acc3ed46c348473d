"""Of our environment a child process gets what is known to be no secret."""

import os
import sys

import pytest

from aletheia.adapters.environment import MODEL_PREFIXES, MODEL_VARIABLES, keep_harmless

OURS = {
    "PATH": "/bin",
    "LANG": "C.UTF-8",
    "HOME": "/me",
    "CUDA_VISIBLE_DEVICES": "0",
    "HF_HOME": "/models",
    "HF_TOKEN": "hf_made_up",
    "HUGGINGFACE_TOKEN": "hf_made_up",
    "API_TOKEN": "made up",
    "MONGODB_URI": "mongodb://u:p@h",
    "PREFECT_API_AUTH_STRING": "u:p",
    "PYTHONPATH": "/elsewhere",
}


def test_nothing_passes_that_is_not_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", ["", "/a"])
    kept = keep_harmless(OURS)
    assert set(kept) == {"PATH", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED"}
    assert kept["PYTHONPATH"] == os.pathsep.join((os.getcwd(), "/a"))  # noqa: PTH109 - what "" stands for


def test_a_model_process_finds_devices_and_caches_and_no_token():
    kept = keep_harmless(OURS, MODEL_VARIABLES, MODEL_PREFIXES)
    beside = {"HOME", "CUDA_VISIBLE_DEVICES", "HF_HOME"}
    assert set(kept) == {"PATH", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED", *beside}
