"""A process of a run holds no library that only a child, the service or a report needs."""

import subprocess
import sys

from deployments import ROOT

HEAVY = (
    *("scipy", "soundfile", "pyloudnorm", "faster_whisper", "av", "pocketsphinx"),
    *("pypdfium2", "pypdf", "docx", "lxml", "selectolax", "PIL", "rapidocr", "cv2"),
    *("torch", "transformers", "sentence_transformers", "onnxruntime", "sklearn"),
    *("pandas", "matplotlib", "nicegui", "fastapi", "vaderSentiment", "yake"),
)
"""scipy alone took 65 MiB of each poller, and 0.6 s of its start, while a module was imported."""

IMPORT_ALL = f"""
import importlib, pkgutil, sys, flows
for module in pkgutil.iter_modules(flows.__path__, "flows."):
    importlib.import_module(module.name)
print(*(name for name in {HEAVY!r} if name in sys.modules))
"""


def test_no_flow_imports_what_decodes_or_what_a_model_runs_on():
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ran.stdout.split() == []
