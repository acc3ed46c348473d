"""What a bench found, for people and for programs."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

PACKAGES: Final = (
    "aiohttp",
    "celery",
    "httpx",
    "numpy",
    "prefect",
    "sentence-transformers",
    "torch",
    "transformers",
)


UPSTREAM: Final = "upstream"
"""Name of the program that serves all contenders."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that was promised.

    Attributes:
        key: in the JSON object.
        corpus: what it is measured on.
        rival: whose texts a second the pipeline's are divided by.
        must: the least it has to be.
        aim: what it should be.
    """

    key: str
    corpus: str
    rival: str
    must: float
    aim: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contender's way through one corpus.

    Attributes:
        contender: its name.
        corpus: the corpus's name.
        texts: how many.
        seconds: how long it took.
        cpu_s: CPU time, seconds, by what used it: `model` processes, the contender's other ones
            under its name, the upstream, and for the pipeline the Prefect server.
        others: what programs outside the bench took, as a share of all processors.
    """

    contender: str
    corpus: str
    texts: int
    seconds: float
    cpu_s: Mapping[str, float]
    others: float

    @property
    def pace(self) -> float:
        """Texts a second."""
        return self.texts / self.seconds


class Figures:
    """All measurements of a bench."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self._measurements = measurements

    def rounds(self, corpus: str, contender: str) -> list[float]:
        """Return the texts a second of each round, in order."""
        return [turn.pace for turn in self._of(corpus, contender)]

    def pace(self, corpus: str, contender: str) -> float | None:
        """Return the median of the texts a second; `None` for a contender that did not run."""
        rounds = self.rounds(corpus, contender)
        return median(rounds) if rounds else None

    def ratio(self, goal: Goal) -> float | None:
        """Return the pipeline's texts a second as a multiple of a rival's."""
        ours, theirs = self.pace(goal.corpus, "pipeline"), self.pace(goal.corpus, goal.rival)
        return None if ours is None or theirs is None else ours / theirs

    def cpu(self, corpus: str, contender: str) -> dict[str, float]:
        """Return the CPU time by what used it, ms a text, medians of the rounds."""
        found = self._of(corpus, contender)
        parts = dict.fromkeys(part for turn in found for part in turn.cpu_s)
        return {
            part: median(1000 * turn.cpu_s.get(part, 0.0) / turn.texts for turn in found)
            for part in parts
        }

    def cpu_table(self, rows: Mapping[str, tuple[str, str]]) -> Table:
        """Lay out CPU time.

        Args:
            rows: contender and what it used the time for, by title.
        """
        table = Table(title="CPU ms/text", title_justify="left")
        table.add_column("where")
        corpora = list(dict.fromkeys(turn.corpus for turn in self._measurements))
        for corpus in corpora:
            table.add_column(corpus, justify="right")
        for title, (contender, part) in rows.items():
            used = [self.cpu(corpus, contender).get(part) for corpus in corpora]
            table.add_row(title, *("" if ms is None else f"{ms:.2f}" for ms in used))
        return table

    def table(self, corpus: str, goals: Sequence[Goal], titles: Mapping[str, str]) -> Table:
        """Lay out one corpus."""
        (texts,) = {turn.texts for turn in self._measurements if turn.corpus == corpus}
        table = Table(title=f"{corpus}: {texts:,} texts", title_justify="left")
        table.add_column("contender")
        for title in ("texts/s", "rounds", "CPU ms/text", "pipeline is", "must", "aim"):
            table.add_column(title, justify="right")
        for name, title in titles.items():
            pace = self.pace(corpus, name)
            if pace is None:
                continue
            goal = next((g for g in goals if (g.corpus, g.rival) == (corpus, name)), None)
            ratio = None if goal is None else self.ratio(goal)
            cpu = sum(used for part, used in self.cpu(corpus, name).items() if part != UPSTREAM)
            table.add_row(
                title,
                f"{pace:.1f}",
                " ".join(f"{pace:.0f}" for pace in self.rounds(corpus, name)),
                f"{cpu:.1f}",
                "" if goal is None or ratio is None else _judge(ratio, goal),
                "" if goal is None else f"{goal.must:.2f}",
                "" if goal is None else f"{goal.aim:.2f}",
            )
        return table

    def to_json(self, goals: Sequence[Goal]) -> dict[str, Any]:
        """Return what was promised, and what it comes from."""
        ratios = {goal.key: _round(self.ratio(goal)) for goal in goals}
        corpora = list(dict.fromkeys(turn.corpus for turn in self._measurements))
        contenders = list(dict.fromkeys(turn.contender for turn in self._measurements))
        rounds = {
            corpus: {
                name: [round(pace, 2) for pace in paces]
                for name in contenders
                if (paces := self.rounds(corpus, name))
            }
            for corpus in corpora
        }
        return {
            **ratios,
            "missed": [g.key for g in goals if (r := self.ratio(g)) is not None and r < g.must],
            "texts_per_second": {
                corpus: {name: round(median(paces), 2) for name, paces in of_corpus.items()}
                for corpus, of_corpus in rounds.items()
            },
            "rounds": rounds,
            "cpu_ms_per_text": {
                corpus: {
                    name: {part: round(used, 2) for part, used in self.cpu(corpus, name).items()}
                    for name in of_corpus
                }
                for corpus, of_corpus in rounds.items()
            },
            "others_cpu_share": round(max(turn.others for turn in self._measurements), 3),
        }

    def _of(self, corpus: str, contender: str) -> list[Measurement]:
        return [
            turn
            for turn in self._measurements
            if turn.corpus == corpus and turn.contender == contender
        ]


def describe_machine() -> dict[str, Any]:
    """Return what the figures were measured on, and with what."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _read_lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        versions[package] = importlib.metadata.version(package)
    return {
        "machine": {
            "processor": model,
            "cores": psutil.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.platform(),
        },
        "versions": versions,
    }


def find_missed(figures: Mapping[str, Any], bounds: Mapping[str, tuple[str, float]]) -> list[str]:
    """Return the names of the figures beyond their bounds, each a `max` or a `min`."""
    return [
        name
        for name, (side, bound) in bounds.items()
        if (figures[name] > bound if side == "max" else figures[name] < bound)
    ]


def print_json(figures: Mapping[str, Any]) -> None:
    """Print what programs read, as the last line."""
    print(json.dumps(figures), flush=True)


def console() -> Console:
    """Make a console whose tables are not folded where output goes to a file."""
    found = Console()
    return found if found.is_terminal else Console(width=120)


def _judge(ratio: float, goal: Goal) -> str:
    colour = "red" if ratio < goal.must else "yellow" if ratio < goal.aim else "green"
    return f"[{colour}]{ratio:.2f}[/]"


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
