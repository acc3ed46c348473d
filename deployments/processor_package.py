"""A package with a task type of one's own, to start from."""

import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Final

from aletheia.analysis.built_in import BUILT_IN
from aletheia.errors import InvalidTask

MAX_NAME_CHARS: Final = 50

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", re.ASCII)

_PROJECT: Final = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "$project"
version = "0.1.0"
description = "The task type `$type` for Aletheia."
requires-python = ">=3.11"
dependencies = []  # what the processor needs; Aletheia itself is there where it is installed

[project.entry-points."aletheia.processors"]
$type = "$module.processor:$class_name"

[tool.hatch.build.targets.wheel]
packages = ["$module"]
"""

_PROCESSOR: Final = '''\
"""The task type `$type`."""

from typing import ClassVar

from aletheia.analysis.inputs import check_text
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.single import Computed, SingleProcessor
from pydantic import BaseModel, Field


class ${class_name}Input(BaseModel):
    """What a task has to bring."""

    text: str = Field(description="The text.")


class ${class_name}Result(BaseModel):
    """What its report has."""

    length: int = Field(description="Length of the text, characters.")


class $class_name(SingleProcessor[${class_name}Input]):
    """Measures texts."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=${class_name}Input,
        result=${class_name}Result,
        lane="intake",  # or "media" for slow work with files, "llm" for a chat model
        version="1",  # to be changed whenever the same input gets another result
        time_limit_s=None,  # seconds; None: TASK_TIMEOUT
    )

    # What it names is given to it: chat, embedder, fetcher, cache, models, settings.
    def __init__(self, settings: WorkerSettings) -> None:
        self._max_text_bytes = settings.max_text_bytes

    def group(self, task_input: ${class_name}Input) -> str:
        """Check what the model of the input cannot, before the task is claimed."""
        check_text(task_input.text, max_bytes=self._max_text_bytes)
        return ""

    async def compute(self, task_input: ${class_name}Input) -> Computed:
        """Compute one task; nothing here may block."""
        return Computed(${class_name}Result(length=len(task_input.text)))
'''

_TESTS: Final = '''\
"""The task type `$type`."""

import asyncio

from aletheia.analysis.settings import WorkerSettings
from $module.processor import $class_name, ${class_name}Input


def test_a_text_is_measured():
    processor = $class_name(WorkerSettings())
    assert processor.admit({"text": "four"}) == ""
    computed = asyncio.run(processor.compute(${class_name}Input(text="four")))
    assert computed.result.length == 4
'''

_README: Final = """\
# $project

The task type `$type` for Aletheia.

    pip install -e .            # where shifts and workers run
    aletheia try $type '{"text": "hello"}'

Nothing of Aletheia is edited: the entry point in `pyproject.toml` names the type and its class. In
its own words a processor is described in `aletheia/analysis/processor.py` of Aletheia.
"""

_FILES: Final[Mapping[str, str]] = {
    "pyproject.toml": _PROJECT,
    "README.md": _README,
    "$module/__init__.py": '"""The task type `$type` for Aletheia."""\n',
    "$module/processor.py": _PROCESSOR,
    "test_processor.py": _TESTS,
}


def write_package(name: str, directory: Path) -> list[Path]:
    """Write a package of this name below a directory, and return its files.

    Raises:
        InvalidTask: `invalid_name`, or `name_taken`: there is such a type or such a directory.
    """
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name):
        said = "a name has the form of `text-length` or `text_length`: a-z, 0-9, - and _"
        raise InvalidTask("invalid_name", said)
    module, root = name.replace("-", "_"), directory / name
    if keyword.iskeyword(module) or module in {*sys.stdlib_module_names, "aletheia"}:
        said = f"{module!r} is a word or a module of Python, or Aletheia's own"
        raise InvalidTask("invalid_name", said)
    if module in BUILT_IN or root.exists():
        what = f"the type {module!r}" if module in BUILT_IN else str(root)
        raise InvalidTask("name_taken", f"{what} is there already")
    words = {
        "project": name.replace("_", "-"),
        "module": module,
        "type": module,
        "class_name": "".join(part.capitalize() for part in module.split("_")),
    }
    written: list[Path] = []
    for path, text in _FILES.items():
        file = root / Template(path).substitute(words)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(words))
        written.append(file)
    return written
