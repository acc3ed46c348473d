from typing import Any

import pytest

from aletheia.adapters.local.devices import choose_device, device_bytes, find_gpus
from aletheia.errors import Misconfigured


def choose(wanted: Any, precision: Any = "float32", *, gpus: list[int], mps: bool = False) -> str:
    return choose_device(wanted, precision, gpus=lambda: gpus, mps=lambda: mps)


@pytest.mark.parametrize(
    ("gpus", "mps", "expected"),
    [([], False, "cpu"), ([5, 9, 7], False, "cuda:1"), ([5], True, "cuda:0"), ([], True, "mps")],
)
def test_by_default_a_graphics_processor_is_used_where_there_is_one(
    gpus: list[int], mps: bool, expected: str
):
    assert choose("auto", gpus=gpus, mps=mps) == expected


def test_the_processor_is_used_where_it_is_asked_for():
    assert choose("cpu", gpus=[5], mps=True) == "cpu"


def test_int8_runs_on_the_processor():
    assert choose("auto", "int8", gpus=[5]) == "cpu"


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(wanted: str):
    with pytest.raises(Misconfigured, match="there is none here"):
        choose(wanted, gpus=[], mps=False)


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_device_that_cannot_compute_in_int8_is_refused(wanted: str):
    with pytest.raises(Misconfigured, match="runs no model in int8"):
        choose(wanted, "int8", gpus=[5], mps=True)


def test_a_machine_without_a_graphics_processor_has_no_memory_of_one():
    assert device_bytes("cpu") == 0
    assert all(free > 0 for free in find_gpus())
