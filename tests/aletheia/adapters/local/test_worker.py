import math
import weakref
from pathlib import Path

from aletheia.adapters.local.model import LocalModel
from aletheia.adapters.local.source import packaged_copy
from aletheia.adapters.local.worker import resident_bytes, unload


def test_an_unloaded_model_is_let_go_of_at_once():
    models = {"a": LocalModel.load(Path(str(packaged_copy())))}
    watched = weakref.ref(models["a"])

    answer = unload(models, {"op": "unload", "model": "a"})

    assert (models, watched()) == ({}, None)
    assert b'"op":"unloaded"' in answer
    assert b"unloaded" in unload(models, {"op": "unload", "model": "a"})


def test_resident_memory_is_measured_in_bytes():
    assert 50e6 < resident_bytes() < math.inf
