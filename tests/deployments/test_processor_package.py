"""Packages with a task type of one's own: the example, and what the command writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aletheia.errors import InvalidTask
from deployments import ROOT
from deployments.processor_package import write_package

EXAMPLE = ROOT / "examples" / "word-frequency"

RUN = """
import asyncio, json, sys, tempfile
from pathlib import Path
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.analysis.built_in import BUILT_IN
from aletheia.analysis.registry import load_processors
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.tools import Toolbox
from deployments.processors import run_once

async def main():
    documents = EmbeddedDocuments(Path(tempfile.mkdtemp()))
    await documents.open()
    async def settings(): return WorkerSettings()
    async def cache(): return ResultCache(documents, scope="", ttl_s=60)
    processors = await load_processors({}, Toolbox({"settings": settings, "cache": cache}))
    task_type, inputs = sys.argv[1], json.loads(sys.argv[2])
    finished = [await run_once(processors, task_type, found) for found in inputs]
    print(json.dumps({
        "types": processors.types,
        "lane": processors.lane(task_type),
        "faults": [str(fault) for fault in processors.faults.values()],
        "results": [dict(found.result) for found in finished],
        "records": [dict(found.record) for found in finished],
    }))
    await documents.close()

asyncio.run(main())
"""


def run(*command: object, path: Path) -> str:
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | {"UV_SYSTEM_CERTS": "true", "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def install(package: Path, target: Path) -> None:
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", target)
    run(*uv, "--build-constraints", ROOT / "constraints.txt", package, path=target)


def test_the_example_is_installed_and_run_as_it_is(tmp_path: Path):
    install(EXAMPLE, tmp_path)
    task_input = {"text": "The cat and the dog", "top": 1}
    inputs = json.dumps([task_input, task_input])
    said = json.loads(run(sys.executable, "-c", RUN, "word_frequency", inputs, path=tmp_path))
    assert said["types"] == ["word_frequency"]
    assert (said["lane"], said["faults"]) == ("llm", [])
    result = {"words": [{"word": "the", "count": 2}], "total": 5}
    assert said["results"] == [result, result]
    assert said["records"] == [{}, {"cached": True}]
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE, path=tmp_path)


def test_what_the_command_writes_is_installed_and_run_as_it_is(tmp_path: Path):
    written = write_package("text-length", tmp_path)
    assert len(written) == 5
    target = tmp_path / "installed"
    install(tmp_path / "text-length", target)
    inputs = json.dumps([{"text": "four"}])
    said = json.loads(run(sys.executable, "-c", RUN, "text_length", inputs, path=target))
    assert (said["results"], said["lane"]) == ([{"length": 4}], "intake")
    tests = tmp_path / "text-length"
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, path=target)
    ruff = (sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,W,B", tests)
    run(*ruff, path=target)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../evil", "invalid_name"),
        ("Upper", "invalid_name"),
        ("9lives", "invalid_name"),
        ("a" * 51, "invalid_name"),
        ("class", "invalid_name"),
        ("json", "invalid_name"),
        ("aletheia", "invalid_name"),
        ("text_embedding", "name_taken"),
        ("there", "name_taken"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(
    name: str, code: str, tmp_path: Path
):
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidTask) as raised:
        write_package(name, tmp_path)
    assert raised.value.code == code
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
