"""What a child process gets of our environment, which may hold secrets: what is named here."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_VARIABLES: Final = frozenset(
    {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
)
_PREFIXES: Final = ("OPENBLAS_", "MKL_", "PYTHONDONTWRITEBYTECODE")

MODEL_VARIABLES: Final = frozenset(
    {"HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "LD_PRELOAD", "PYTORCH_CUDA_ALLOC_CONF"}
)
MODEL_PREFIXES: Final = ("CUDA_", "NVIDIA_", "HIP_", "ROCR_", "KMP_", "ONEDNN_", "DNNL_", "ATEN_")
"""What the libraries of models read beside that: where caches and devices are."""


def keep_harmless(
    ours: Mapping[str, str],
    names: frozenset[str] = frozenset(),
    prefixes: tuple[str, ...] = (),
) -> dict[str, str]:
    """Return what is known to be no secret of an environment, and where Python finds modules."""
    kept = {
        name: value
        for name, value in ours.items()
        if name in _VARIABLES | names or name.startswith((*_PREFIXES, *prefixes))
    }
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
