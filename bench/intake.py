"""How fast tasks are read, embedded and reported, beside peers: `python -m bench.intake`.

All contenders are started once and warmed up; then they take turns, each in a process of its own,
while the others stay where they are. Prints a table, and one JSON object on its last line.
"""

import argparse
import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.local.source import PACKAGED_MODEL, ModelSources
from bench.corpora import Corpus, make_texts, write_corpus
from bench.cpu import MODEL, Meter
from bench.figures import (
    UPSTREAM,
    Figures,
    Goal,
    Measurement,
    console,
    describe_machine,
    print_json,
)
from bench.programs import BenchFailed, Program
from bench.stage import POLL_LIMIT, START_TIMEOUT_S, Stage, free_port, perform, say

TITLES: Final[Mapping[str, str]] = {
    "pipeline": "pipeline (poll_tasks)",
    "raw": "model alone, encode(batch_size=32)",
    "best_raw": "model alone, fastest way found",
    "loop": "asyncio loop, 5 in flight (aiohttp)",
    "celery": "Celery + Redis, 2 processes (httpx)",
}

GOALS: Final = (
    Goal("vs_raw", "short", "raw", 0.85, 1.00),
    Goal("vs_raw_long", "long", "raw", 1.00, 1.25),
    Goal("vs_best_raw", "short", "best_raw", 0.80, 0.90),
    Goal("vs_loop", "short", "loop", 2.0, 2.5),
    Goal("vs_celery", "short", "celery", 1.2, 1.4),
)

SERVER: Final = "server"
"""Name of the Prefect server, which works for the pipeline alone."""

CPU_ROWS: Final = {
    "pipeline: model processes": ("pipeline", MODEL),
    "pipeline: poller": ("pipeline", "pipeline"),
    "pipeline: Prefect server": ("pipeline", SERVER),
    "pipeline: example upstream": ("pipeline", UPSTREAM),
    "model alone, fastest way found": ("best_raw", MODEL),
}

WITH_LONG: Final = ("pipeline", "raw", "best_raw")
"""Who also takes the long texts; nothing is promised about the others there."""

SHORT_WORDS: Final = 20
LONG_WORDS: Final = 200

ROUND_TIMEOUT_S: Final = 300.0

REST_S: Final = 1.0
"""Between two turns, so that what one leaves behind is not on the next one's account."""

DISTURBED_AT: Final = 0.06
"""Share of all processors that programs outside the bench may take during a turn."""

MIN_COSINE: Final = 0.999
"""Between a vector and that of the model alone, from which both are the same (float rounding)."""

Embed: TypeAlias = Callable[[Corpus, str, Path], Awaitable[float]]
"""Embed a corpus under a tag, write the vectors to a path, return the seconds it took."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who does the work.

    Attributes:
        name: of its processes.
        embed: how to have it work.
    """

    name: str
    embed: Embed


async def start_contenders(stage: Stage, model_dir: Path, names: Sequence[str]) -> list[Contender]:
    """Start everybody; those that say when they are ready are waited for."""
    starters: Mapping[str, Callable[[], Awaitable[Contender]]] = {
        "pipeline": partial(start_pipeline, stage),
        "raw": partial(start_alone, stage, "raw", [str(model_dir)]),
        "best_raw": partial(start_alone, stage, "best_raw", []),
        "loop": partial(start_loop, stage, model_dir),
        "celery": partial(start_celery, stage, model_dir),
    }
    return list(await asyncio.gather(*(starters[name]() for name in names)))


async def start_pipeline(stage: Stage) -> Contender:
    """Start a shift that lasts as long as the bench."""
    return served(stage, "pipeline", [await stage.start_pipeline("pipeline")])


async def start_alone(stage: Stage, name: str, arguments: Sequence[str]) -> Contender:
    """Start a process that has the model and speaks no HTTP."""
    program = await stage.start(name, [f"bench.rivals.{name}", *arguments])
    await program.listen(START_TIMEOUT_S)

    async def embed(corpus: Corpus, tag: str, path: Path) -> float:
        del tag
        answer = await program.ask(ROUND_TIMEOUT_S, corpus=str(corpus.path), path=str(path))
        return answer["seconds"]

    return Contender(name, embed)


async def start_loop(stage: Stage, model_dir: Path) -> Contender:
    """Start the plain loop."""
    command = ["bench.rivals.loop", stage.url("loop"), str(model_dir)]
    return served(stage, "loop", [await stage.start("loop", command)])


async def start_celery(stage: Stage, model_dir: Path) -> Contender:
    """Start Redis, Celery's worker with its two processes, and the poller that feeds it."""
    port = free_port()
    redis_url = f"redis://127.0.0.1:{port}/0"
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(stage.directory)]
    url = stage.url("celery")
    commands = (
        ["redis-server", *options],
        ["bench.rivals.celery_worker", url, str(model_dir), redis_url],
        ["bench.rivals.celery_poller", url, redis_url],
    )
    # The threads of OpenMP are counted when torch is imported, before Celery forks.
    programs = [
        await stage.start("celery", command, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        for command in commands
    ]
    return served(stage, "celery", programs)


def served(stage: Stage, name: str, players: Sequence[Program]) -> Contender:
    """Make a contender of programs that poll an upstream."""

    async def embed(corpus: Corpus, tag: str, path: Path) -> float:
        await stage.ask_upstream(30, op="load", name=name, corpus=str(corpus.path), tag=tag)
        answer = await stage.finish(ROUND_TIMEOUT_S, name, players)
        found = await stage.ask_upstream(30, op="vectors", name=name, path=str(path))
        if found["faulty"]:
            examples = "\n".join(found["faults"])
            raise BenchFailed(f"{name}: {found['faulty']} tasks did not succeed\n{examples}")
        return answer["seconds"]

    return Contender(name, embed)


class Match:
    """The rounds in which contenders take turns.

    Args:
        stage: where they play.
        contenders: who plays.
        patience_s: how long, in all, it may take to wait until other programs let go of the
            processors, and to repeat turns that they disturbed.

    Attributes:
        measurements: what counts.
        repeated: turns that were disturbed and do not count.
    """

    def __init__(self, stage: Stage, contenders: Sequence[Contender], patience_s: float) -> None:
        self._stage, self._contenders, self._patience_s = stage, contenders, patience_s
        self.measurements: list[Measurement] = []
        self.repeated = 0

    async def warm_up(self, corpus: Corpus) -> None:
        """Warm everybody up: models are loaded, connections are open."""
        for contender in self._contenders:
            await contender.embed(corpus, "warm-up", self._stage.directory / "warm-up.npy")

    async def play(self, number: int, corpora: Sequence[Corpus]) -> None:
        """Measure every contender on every corpus once; each round somebody else begins."""
        for corpus in corpora:
            players = [
                player
                for player in self._contenders
                if corpus.name == "short" or player.name in WITH_LONG
            ]
            first = number % len(players)
            vectors: dict[str, NDArray[np.float32]] = {}
            for contender in (*players[first:], *players[:first]):
                vectors[contender.name] = await self._take_turn(contender, corpus, number)
            reference = vectors.get("raw")
            if reference is not None:
                for name, found in vectors.items():
                    check_vectors(name, found, reference)

    async def _take_turn(
        self, contender: Contender, corpus: Corpus, number: int
    ) -> NDArray[np.float32]:
        path = self._stage.directory / f"{contender.name}.npy"
        while True:
            await self._rest()
            one = await self._measure(contender, corpus, f"{number}-{self.repeated}", path)
            say(
                f"round {number + 1}, {corpus.name} texts, {contender.name}: "
                f"{one.pace:.1f} a second, other programs had {one.others:.0%} of the processors"
            )
            if one.others <= DISTURBED_AT or self._patience_s <= 0:
                break
            self._patience_s -= one.seconds
            self.repeated += 1
        self.measurements.append(one)
        return np.load(path)

    async def _rest(self) -> None:
        """Wait a moment, and longer while other programs use the processors."""
        while True:
            meter = Meter(str(self._stage.directory))
            await asyncio.sleep(REST_S)
            if self._patience_s <= 0 or meter.read().others <= DISTURBED_AT:
                return
            self._patience_s -= REST_S

    async def _measure(
        self, contender: Contender, corpus: Corpus, tag: str, path: Path
    ) -> Measurement:
        meter = Meter(str(self._stage.directory))
        seconds = await contender.embed(corpus, f"{corpus.name}-{tag}", path)
        usage = meter.read()
        used = usage.of(contender.name) | usage.of(UPSTREAM)
        if contender.name == "pipeline":
            used |= usage.of(SERVER)
        return Measurement(
            contender.name, corpus.name, len(corpus.texts), seconds, used, usage.others
        )


def check_vectors(name: str, found: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
    """Compare vectors, `(n, d)` each, with those of the model alone.

    Raises:
        BenchFailed: they are not the same.
    """
    if found.shape != reference.shape:
        raise BenchFailed(f"{name}: vectors of shape {found.shape}, not {reference.shape}")
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    products = np.einsum("nd,nd->n", found, reference)
    # A vector of zeros, or one with NaN in it, must not pass.
    is_same = products > MIN_COSINE * norms
    is_same &= norms > 0
    if not is_same.all():
        raise BenchFailed(
            f"{name}: {int((~is_same).sum())} of {len(found)} vectors are not the model's"
        )


async def bench(options: argparse.Namespace) -> None:
    """Measure, print the table, print the JSON object."""
    names = list(options.only or TITLES)
    note: str | None = None
    if "celery" in names and shutil.which("redis-server") is None:
        names.remove("celery")
        note = (
            "Celery was left out: there is no redis-server (Debian: apt-get install redis-server)"
        )
        say(note)
    model_dir = ModelSources(default_model=PACKAGED_MODEL).find(PACKAGED_MODEL).path
    n_short, n_long, rounds = (200, 30, 1) if options.quick else (2000, 300, options.rounds)
    async with Stage.open() as stage:
        directory = stage.directory
        corpora = (
            write_corpus(directory, "short", make_texts(n_short, SHORT_WORDS)),
            write_corpus(directory, "long", make_texts(n_long, LONG_WORDS)),
        )
        warm_up = [
            *make_texts(100, SHORT_WORDS, skip=n_short),
            *make_texts(20, LONG_WORDS, skip=n_long),
        ]
        say("starting " + ", ".join(names))
        match = Match(stage, await start_contenders(stage, model_dir, names), options.patience)
        say("warming up")
        await match.warm_up(write_corpus(directory, "warm_up", warm_up))
        for number in range(rounds):
            await match.play(number, corpora)
    figures = Figures(match.measurements)
    printer = console()
    for corpus in corpora:
        printer.print()
        printer.print(figures.table(corpus.name, GOALS, TITLES))
    printer.print()
    printer.print(figures.cpu_table(CPU_ROWS))
    print_json(
        {
            **figures.to_json(GOALS),
            "repeated_turns": match.repeated,
            "poll_limit": POLL_LIMIT,
            "note": note,
            "quick": options.quick,
            **describe_machine(),
        }
    )


def main() -> None:
    """Read the command line and run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.intake", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few texts, one round")
    parser.add_argument("--rounds", type=int, default=3, help="how many (3)")
    parser.add_argument(
        "--patience",
        type=float,
        default=60,
        metavar="SECONDS",
        help="most time spent on waiting for other programs and on turns they disturbed (60)",
    )
    parser.add_argument("--only", nargs="+", choices=list(TITLES), help="contenders to run")
    options = parser.parse_args()
    perform(partial(bench, options))


if __name__ == "__main__":
    main()
