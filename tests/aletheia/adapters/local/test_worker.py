import gc
import math
import weakref
from pathlib import Path

from torch import nn

from aletheia.adapters.children.limits import resident_bytes
from aletheia.adapters.local.model import LocalModel
from aletheia.adapters.local.source import packaged_copy
from aletheia.adapters.local.worker import unload


def find_weights() -> dict[int, weakref.ref[nn.Parameter]]:
    """Find what models in memory consist of, by its identity."""
    return {id(it): weakref.ref(it) for it in gc.get_objects() if type(it) is nn.Parameter}


def test_an_unloaded_model_is_let_go_of_at_once():
    others = find_weights()
    models = {"a": LocalModel.load(Path(str(packaged_copy())))}
    watched = weakref.ref(models["a"])
    weights = [held for key, held in find_weights().items() if key not in others]

    answer = unload(models, {"op": "unload", "model": "a"})

    assert (models, watched()) == ({}, None)
    assert len(weights) > 50
    assert all(held() is None for held in weights)
    assert b'"op":"unloaded"' in answer
    assert b"unloaded" in unload(models, {"op": "unload", "model": "a"})


def test_resident_memory_is_measured_in_bytes():
    assert 50e6 < resident_bytes() < math.inf
