"""What int8 gains and loses on this machine, with one thread, as a model process has it."""

import time
from dataclasses import asdict
from typing import Final

import torch

from aletheia.adapters.local.model import LocalModel
from aletheia.adapters.local.source import PACKAGED_MODEL, ModelSources
from aletheia.analysis.model_settings import Precision
from bench.programs import BenchFailed
from tests.fakes.samples import sentences

ROUNDS: Final = 3
TEXTS: Final = [sentences(2, number) for number in range(32)]


def measure_int8() -> dict[str, float]:
    """Return how much faster a model is in int8, and what its vectors lose."""
    torch.set_num_threads(1)
    path = ModelSources(default_model=PACKAGED_MODEL).find(PACKAGED_MODEL).path
    took: dict[Precision, float] = {}
    precisions: tuple[Precision, ...] = ("float32", "int8")
    model: LocalModel | None = None
    for precision in precisions:
        model = LocalModel.load(path, precision=precision)
        took[precision] = min(_time(model) for _ in range(1 + ROUNDS))
    if model is None or model.loss is None:
        raise BenchFailed("no loss was measured")
    loss = {f"int8_{name}": float(value) for name, value in asdict(model.loss).items()}
    return {"int8_speed_up": took["float32"] / took["int8"], **loss}


def _time(model: LocalModel) -> float:
    began = time.process_time()
    model.embed(TEXTS)
    return time.process_time() - began
