import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import pytest_asyncio

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.jobs import LoadedModel
from aletheia.adapters.local.lifecycle import Note
from aletheia.adapters.local.source import PACKAGED_MODEL, Find, ModelFiles
from aletheia.analysis.model_manager import ModelEvent
from aletheia.analysis.model_settings import ModelSettings
from aletheia.analysis.ports import Embedding
from aletheia.errors import (
    AletheiaError,
    InvalidTask,
    Misconfigured,
    ModelUnavailable,
    Unavailable,
)
from aletheia.settings import EmbeddingSettings

ROOT = Path(__file__).parents[4]
STAND_IN = (sys.executable, str(ROOT / "tests/fakes/model_process.py"))
MODEL = "sentence-transformers/all-MiniLM-L6-v2"

SENTENCE = "The quick brown fox jumps over the lazy dog."
SENTENCE_BEGINS = (0.0439336, 0.0589344, 0.0481783, 0.0775481, 0.0267444, -0.0376296)
"""First numbers of what `SentenceTransformer.encode` gives for `SENTENCE`."""


def loaded_models(embedder: LocalEmbedder) -> list[LoadedModel]:
    return [model.loaded for model in embedder.lifecycle.models.values() if model.loaded]


def found_at(path: str) -> Find:
    return lambda model: ModelFiles(model, "local_model_dir", Path(path))


@asynccontextmanager
async def opened(
    *,
    find: Find | None = None,
    command: Sequence[str] = STAND_IN,
    max_retries: int = 1,
    note: Note | None = None,
    **settings: Any,
) -> AsyncGenerator[LocalEmbedder]:
    """An embedder with the stand-in for model processes."""
    usual: dict[str, Any] = {"default_embedding_model": MODEL, "local_model_processes": 2}
    embedder = LocalEmbedder(
        EmbeddingSettings(**usual | settings),
        find=find or found_at("/models/good"),
        command=command,
        max_retries=max_retries,
        note=note,
    )
    await embedder.open()
    try:
        yield embedder
    finally:
        await embedder.close()


async def embed(
    embedder: LocalEmbedder, texts: Sequence[str], model: str = MODEL
) -> list[Embedding | AletheiaError]:
    """Embed texts and put the answers in order; each must come once."""
    answers: dict[int, Embedding | AletheiaError] = {}
    async for group in embedder.embed(model, texts):
        for answer in group:
            assert answer.index not in answers
            answers[answer.index] = answer.result
    return [answers[index] for index in range(len(texts))]


def lengths(answers: Sequence[Embedding | AletheiaError]) -> list[int | str]:
    """What the stand-in says about each text: its length, or the code of its fault."""
    return [
        int(answer.vector[1]) if isinstance(answer, Embedding) else str(answer.code)
        for answer in answers
    ]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# Names


def serving(default: str, *others: str) -> LocalEmbedder:
    return LocalEmbedder(
        EmbeddingSettings(default_embedding_model=default, supported_models=others)
    )


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        (None, "acme/first"),
        ("acme/first", "acme/first"),
        ("ACME/First", "acme/first"),
        ("sentence-transformers/all-MiniLM-L6-v2", MODEL),
        ("all-minilm-l6-v2", MODEL),
        ("Sentence-Transformers/ALL-MINILM-L6-V2", MODEL),
        ("B", "sentence-transformers/b"),
    ],
)
def test_names_of_one_model_are_the_same_model(asked: str | None, served: str):
    embedder = serving("acme/first", "all-MiniLM-L6-v2", "b")

    assert embedder.canonical_model(asked) == served


@pytest.mark.parametrize(
    "name",
    [
        "",
        "acme/second",
        "../first",
        "/acme/first",
        "acme/first/..",
        "https://h/acme/first",
        "a" * 9,
    ],
)
def test_a_model_that_is_not_served_is_refused(name: str):
    embedder = serving("acme/first")

    with pytest.raises(InvalidTask, match="acme/first") as refused:
        embedder.canonical_model(name)

    assert refused.value.code == "unsupported_model"


def test_a_very_long_model_name_is_not_repeated_in_full():
    with pytest.raises(InvalidTask) as refused:
        serving("acme/first").canonical_model("x" * 1_000_000)

    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["../weights", "/srv/model", "http://hub/m", "a/b/c", "", "a/..b"])
def test_an_operators_model_must_be_a_name(name: str):
    with pytest.raises(Misconfigured, match="not the name of a model"):
        serving("acme/first", name)


def test_the_parent_never_imports_torch():
    check = (
        "import sys; import aletheia.adapters.local.embedder, aletheia.adapters.local.source;"
        "sys.exit(bool({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


# Answers


@pytest.mark.parametrize("processes", [1, 3])
async def test_every_text_is_answered_once_and_at_its_place(processes: int):
    texts = ["x" * (1 + index * 7 % 101) for index in range(101)]

    async with opened(local_model_processes=processes, local_batch_size=8) as embedder:
        answers = await embed(embedder, texts)

    assert lengths(answers) == [len(text) for text in texts]


async def test_no_texts_need_no_process():
    async with opened() as embedder:
        assert await embed(embedder, []) == []
        assert embedder.pool.processes == []


async def test_equal_texts_are_embedded_once():
    async with opened(local_model_processes=1) as embedder:
        answers = await embed(embedder, ["a", "bb", "a", "a", "bb"])
    assert lengths(answers) == [1, 2, 1, 1, 2]
    assert {int(answer.vector[2]) for answer in answers if isinstance(answer, Embedding)} == {2}


async def test_batches_are_no_larger_than_asked_and_get_smaller_towards_the_end():
    async with opened(local_model_processes=2, local_batch_size=16) as embedder:
        answers = await embed(embedder, ["x" * (200 - index) for index in range(200)])

    sizes = [int(answer.vector[2]) for answer in answers if isinstance(answer, Embedding)]
    assert sizes[0] == 16
    assert sizes[-1] <= 4
    assert sizes == sorted(sizes, reverse=True)


async def test_the_batches_of_a_call_get_no_smaller_while_another_call_has_work_to_do():
    async with opened(local_model_processes=2, local_batch_size=16) as embedder:
        await embedder.load(MODEL)
        calls = [[f"{call}.{number}" for number in range(64)] for call in range(2)]
        answers = await asyncio.gather(*(embed(embedder, texts) for texts in calls))

    found = [answer for of_call in answers for answer in of_call if isinstance(answer, Embedding)]
    # A batch of n texts is counted n times as the n-th part of one; one call alone takes 9.
    assert round(sum(1 / int(answer.vector[2]) for answer in found)) <= 14


async def test_long_texts_come_in_smaller_batches():
    async with opened(local_model_processes=1) as embedder:
        answers = await embed(embedder, ["x" * (30_000 + index) for index in range(32)])

    assert {int(answer.vector[2]) for answer in answers if isinstance(answer, Embedding)} == {2}


async def test_answers_that_come_soon_after_each_other_are_passed_on_at_once():
    async with opened(local_batch_size=4) as embedder:
        await embedder.load(MODEL)
        groups = [len(group) async for group in embedder.embed(MODEL, [str(n) for n in range(150)])]

    assert sum(groups) == 150
    assert len(groups) <= 6


async def test_answers_do_not_wait_long_for_those_behind_them():
    async with opened(local_model_processes=1, local_batch_size=1) as embedder:
        await embedder.load(MODEL)
        began = time.monotonic()
        async with aclosing(embedder.embed(MODEL, [f"slow {n}" for n in range(60)])) as answers:
            first = await anext(answers)

    assert 0 < len(first) < 60
    assert time.monotonic() - began < 2


async def test_what_was_answered_before_a_model_gave_out_is_passed_on_first(tmp_path: Path):
    find = found_at(str(tmp_path / "once"))
    async with opened(
        local_model_processes=1, local_batch_size=1, max_retries=0, find=find
    ) as embedder:
        await embedder.load(MODEL)
        answered = 0
        with pytest.raises(ModelUnavailable):
            async for group in embedder.embed(MODEL, ["first", "then", "die", "d"]):
                answered += len(group)

    assert answered == 3


async def test_tokens_and_truncation_are_passed_on():
    async with opened() as embedder:
        short, long = await embed(embedder, ["one two", "a b c d e f g h i"])

    assert isinstance(short, Embedding)
    assert isinstance(long, Embedding)
    assert (short.tokens, short.is_truncated) == (2, False)
    assert (long.tokens, long.is_truncated) == (9, True)


async def test_a_vector_can_be_written_as_json_as_it_is():
    async with opened() as embedder:
        (answer,) = await embed(embedder, ["text"])

    assert isinstance(answer, Embedding)
    assert orjson.dumps(answer.vector, option=orjson.OPT_SERIALIZE_NUMPY) == b"[1.0,4.0,1.0]"


async def test_a_text_with_half_a_surrogate_pair_reaches_the_model():
    async with opened() as embedder:
        assert lengths(await embed(embedder, ["a\ud800b", "c"])) == [3, 1]


@pytest.mark.parametrize(
    ("bad", "code"),
    [("zero", "bad_vector"), ("nan", "bad_vector"), ("unreadable", "unreadable_text")],
)
async def test_a_text_without_a_sound_vector_fails_alone(bad: str, code: str):
    async with opened(local_model_processes=1) as embedder:
        answers = await embed(embedder, ["a", bad, "cc"])

    assert lengths(answers) == [1, code, 2]


async def test_vectors_of_the_wrong_length_are_refused():
    async with opened(local_model_processes=1) as embedder:
        (answer,) = await embed(embedder, ["wide"])

    assert isinstance(answer, AletheiaError)
    assert answer.code == "bad_vector"
    assert "4 dimensions in place of 3" in str(answer)


# Processes that fail


async def test_a_process_that_dies_is_replaced_and_its_batch_computed_again(tmp_path: Path):
    texts = [f"die-once {tmp_path / 'flag'}", "a", "bb", "ccc"]

    async with opened(local_model_processes=1) as embedder:
        answers = await embed(embedder, texts)
        assert embedder.pool.deaths == 1

    assert lengths(answers) == [len(text) for text in texts]


async def test_a_text_that_kills_every_process_fails_alone():
    texts = ["die", *("x" * length for length in range(4, 30))]

    async with opened(max_retries=2) as embedder:
        answers = await embed(embedder, texts)
        assert embedder.pool.deaths == 3

    assert lengths(answers) == ["model_crashed", *range(4, 30)]
    assert "3 times" in str(answers[0])
    assert "SIGKILL" in str(answers[0])


async def test_a_process_that_hangs_is_replaced():
    async with opened(local_model_processes=1, task_timeout=0.3) as embedder:
        answers = await embed(embedder, ["hang", "a", "bb"])

    assert lengths(answers) == ["model_crashed", 1, 2]
    assert "no answer for 0.3 s" in str(answers[0])


async def test_waiting_behind_another_batch_is_not_hanging():
    texts = [f"slow {index}" for index in range(16)]

    async with opened(local_model_processes=1, local_batch_size=8, task_timeout=0.7) as embedder:
        answers = await embed(embedder, texts)
        assert embedder.pool.deaths == 0

    assert lengths(answers) == [len(text) for text in texts]


async def test_a_process_that_answers_nonsense_is_replaced():
    async with opened(local_model_processes=1, max_retries=0) as embedder:
        answers = await embed(embedder, ["short-answer", "a"])

    assert lengths(answers) == ["model_crashed", 1]


async def test_a_process_killed_while_idle_is_replaced_when_there_is_work():
    async with opened(local_model_processes=1) as embedder:
        await embedder.load(MODEL)
        os.kill(embedder.pool.processes[0].pid, signal.SIGKILL)
        while embedder.pool.processes:
            await asyncio.sleep(0.01)

        assert lengths(await embed(embedder, ["a", "bb"])) == [1, 2]
        assert embedder.pool.deaths == 1


# Models that cannot be had


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/models/refused", "no such architecture"),
        ("/models/deadly", "it ended with code 1; it said 'cannot allocate memory'"),
        ("/models/endless", "it gave no answer for 1 s"),
        ("/models/babbling", "a process failed"),
    ],
)
async def test_a_model_that_no_process_can_load_is_unavailable(path: str, reason: str):
    async with opened(find=found_at(path), model_load_timeout=1) as embedder:
        with pytest.raises(ModelUnavailable) as unavailable:
            await embed(embedder, ["a"])
        with pytest.raises(ModelUnavailable) as again:
            await embedder.load(MODEL)

    assert reason in str(unavailable.value)
    assert reason in str(again.value)


async def test_a_command_that_does_not_exist_makes_the_model_unavailable():
    async with opened(command=("/nonexistent/python",)) as embedder:
        with pytest.raises(ModelUnavailable, match="does not start"):
            await embed(embedder, ["a"])


async def test_a_process_that_ends_at_once_makes_the_model_unavailable():
    async with opened(command=(sys.executable, "-c", "raise ImportError('no torch')")) as embedder:
        with pytest.raises(ModelUnavailable, match="no torch"):
            await embed(embedder, ["a"])


async def test_a_model_that_is_nowhere_is_unavailable_until_it_is_there():
    places: list[Find] = [found_at("/models/good")]

    def find(model: str) -> ModelFiles:
        if len(places) == 1:
            places.append(found_at("/models/good"))
            raise ModelUnavailable(model, "it is nowhere")
        return places[0](model)

    async with opened(find=find) as embedder:
        with pytest.raises(ModelUnavailable, match="it is nowhere"):
            await embed(embedder, ["a"])

        assert lengths(await embed(embedder, ["a"])) == [1]


async def test_a_search_that_breaks_makes_the_model_unavailable():
    def find(_model: str) -> ModelFiles:
        raise PermissionError("/models")

    async with opened(find=find) as embedder:
        with pytest.raises(ModelUnavailable, match="PermissionError"):
            await embedder.load(MODEL)


async def test_a_search_that_takes_too_long_goes_on_and_is_found_by_the_next_call():
    searches: list[str] = []

    def find(model: str) -> ModelFiles:
        searches.append(model)
        time.sleep(0.6)
        return found_at("/models/good")(model)

    async with opened(find=find, model_load_timeout=0.4) as embedder:
        with pytest.raises(ModelUnavailable, match="goes on"):
            await embed(embedder, ["a"])

        assert lengths(await embed(embedder, ["a"])) == [1]
    assert searches == [MODEL]


async def test_one_model_that_cannot_be_loaded_does_not_stop_another():
    def find(model: str) -> ModelFiles:
        return found_at("/models/refused" if model == "acme/bad" else "/models/good")(model)

    async with opened(find=find, supported_models=["acme/bad"]) as embedder:
        bad, good = await asyncio.gather(
            embed(embedder, ["a"], "acme/bad"), embed(embedder, ["a"]), return_exceptions=True
        )

    assert isinstance(bad, ModelUnavailable)
    assert isinstance(good, list)


# Sharing, closing


async def test_loading_says_what_was_loaded_and_where_it_came_from():
    async with opened() as embedder:
        await embedder.load("ALL-MINILM-L6-V2")
        (loaded,) = loaded_models(embedder)
        processes = list(embedder.pool.processes)

    assert loaded.files == ModelFiles(MODEL, "local_model_dir", Path("/models/good"))
    assert (loaded.dimensions, loaded.load_s) == (3, 0.5)
    assert [process.loaded for process in processes] == [{MODEL: loaded}, {MODEL: loaded}]


async def test_the_processes_stay_for_the_next_call():
    async with opened() as embedder:
        await embedder.load(MODEL)
        before = {process.pid for process in embedder.pool.processes}
        await embed(embedder, ["a"])
        await embedder.load(MODEL)

        assert {process.pid for process in embedder.pool.processes} == before


async def test_the_same_processes_serve_two_models():
    async with opened(local_model_processes=1, supported_models=["acme/other"]) as embedder:
        await asyncio.gather(embed(embedder, ["a"]), embed(embedder, ["b"], "acme/other"))

        assert [set(process.loaded) for process in embedder.pool.processes] == [
            {"acme/other", MODEL}
        ]


async def test_a_short_call_does_not_wait_for_a_long_one():
    async with opened(local_model_processes=1, local_batch_size=4) as embedder:
        await embedder.load(MODEL)
        long = asyncio.create_task(embed(embedder, [f"slow {index}" for index in range(30)]))
        await asyncio.sleep(0.1)

        await embed(embedder, ["a"])

        assert not long.done()
        assert len(await long) == 30


async def test_a_call_that_is_given_up_leaves_the_processes_usable():
    async with opened(local_model_processes=1, local_batch_size=4) as embedder:
        slow = [f"slow {index}" for index in range(100)]
        async with aclosing(embedder.embed(MODEL, slow)) as answers:
            await anext(answers)
        cancelled = asyncio.create_task(embed(embedder, slow))
        await asyncio.sleep(0.1)
        cancelled.cancel()

        began = time.monotonic()
        assert lengths(await embed(embedder, ["a"])) == [1]
        assert time.monotonic() - began < 3  # the calls that were given up would take 10 s


@pytest.mark.parametrize("state", ["idle", "stuck", "loading"])
async def test_closing_ends_every_process_soon(state: str):
    path = "/models/endless" if state == "loading" else "/models/good"
    async with opened(find=found_at(path)) as embedder:
        calls: list[asyncio.Task[Any]] = []
        if state == "idle":
            await embedder.load(MODEL)
        else:
            calls = [asyncio.create_task(embed(embedder, ["hang"]))]
            async with asyncio.timeout(20):
                while len(embedder.pool.processes) < 2:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
        pids = [process.pid for process in embedder.pool.processes]
        assert len(pids) == 2
        begun = time.monotonic()

        await embedder.close()

        assert time.monotonic() - begun < 5
        assert not any(map(is_running, pids))
        for call in calls:
            with pytest.raises(ModelUnavailable, match="closed"):
                await call


async def test_a_closed_embedder_embeds_nothing_until_it_is_opened_again():
    async with opened() as embedder:
        await embed(embedder, ["a"])
        await embedder.close()
        with pytest.raises(ModelUnavailable, match="not open"):
            await embed(embedder, ["a"])

        await embedder.open()

        assert lengths(await embed(embedder, ["a"])) == [1]


@pytest.mark.parametrize("state", ["idle", "stuck"])
async def test_a_process_ends_when_its_parent_is_killed(state: str, tmp_path: Path):
    pid = tmp_path / "pid"
    parent = f"""
import asyncio
from pathlib import Path
from tests.aletheia.adapters.local.test_embedder import MODEL, embed, opened
async def main():
    async with opened(local_model_processes=1) as embedder:
        await embedder.load(MODEL)
        Path({str(tmp_path / "new")!r}).write_text(str(embedder.pool.processes[0].pid))
        Path({str(tmp_path / "new")!r}).rename({str(pid)!r})
        await (embed(embedder, ["hang"]) if {state!r} == "stuck" else asyncio.sleep(60))
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, cwd=ROOT)
    while not pid.exists():
        assert process.returncode is None
        await asyncio.sleep(0.02)
    child = int(pid.read_text())
    assert is_running(child)

    process.kill()
    await process.wait()

    async with asyncio.timeout(5):
        while is_running(child):
            await asyncio.sleep(0.02)


# Memory


def sized(directory: Path, **sizes: int) -> Find:
    """Models of the organisation `acme` that take so many bytes, written down in `log`."""

    def find(model: str) -> ModelFiles:
        size = sizes[model.removeprefix("acme/")]
        return ModelFiles(model, "local_model_dir", directory / f"takes-{size}")

    return find


@asynccontextmanager
async def bounded(
    directory: Path, bound: int, *, processes: int = 1, **sizes: int
) -> AsyncGenerator[tuple[LocalEmbedder, list[ModelEvent]]]:
    events: list[ModelEvent] = []

    async def note(event: ModelEvent) -> None:
        events.append(event)

    names = [f"acme/{name}" for name in sizes]
    async with opened(
        default_embedding_model=names[0],
        supported_models=names,
        local_model_processes=processes,
        model_memory_max=bound,
        find=sized(directory, **sizes),
        note=note,
    ) as embedder:
        yield embedder, events


def read_messages(directory: Path) -> list[str]:
    return (directory / "log").read_text().splitlines()


async def test_the_least_recently_used_model_is_evicted(tmp_path: Path):
    async with bounded(tmp_path, 100, a=40, b=40, c=40) as (embedder, events):
        for name in ("a", "b", "a"):
            await embed(embedder, ["x"], f"acme/{name}")
        first, second = embedder.lifecycle.rows()
        assert (first.model, second.model) == ("acme/b", "acme/a")
        assert (second.state, second.memory_bytes, second.load_s) == ("loaded", 40, 0.5)

        assert lengths(await embed(embedder, ["xyz"], "acme/c")) == [3]

        # What `c` takes is not known before it is loaded, as its weights are no files here.
        await embedder.unload("acme/a")
        assert [model.model for model in embedder.lifecycle.rows()] == ["acme/c"]
        assert list(embedder.pool.processes[0].loaded) == ["acme/c"]
        assert embedder.pool.deaths == 0
    assert read_messages(tmp_path) == [
        "load acme/a",
        "load acme/b",
        "load acme/c",
        "unload acme/b",
        "unload acme/a",
    ]
    assert [(event.kind, event.model) for event in events] == [
        ("loaded", "acme/a"),
        ("loaded", "acme/b"),
        ("loaded", "acme/c"),
        ("evicted", "acme/b"),
        ("unloaded", "acme/a"),
        ("unloaded", "acme/c"),
    ]
    assert (events[0].load_s, events[0].memory_bytes) == (0.5, 40)
    used = events[3].used_at
    assert used is not None
    assert abs(used - time.time()) < 30


async def test_a_model_is_unloaded_before_one_is_loaded_whose_size_is_known(tmp_path: Path):
    async with bounded(tmp_path, 150, processes=2, a=40, b=40) as (embedder, _):
        await embedder.load("acme/a")
        await embedder.load("acme/b")
        while len(embedder.lifecycle.rows()) > 1:
            await asyncio.sleep(0.01)
        (tmp_path / "log").write_text("")

        await embedder.load("acme/a")

    assert read_messages(tmp_path) == ["unload acme/b"] * 2 + ["load acme/a"] * 2


async def test_weights_on_disk_say_what_a_model_takes_before_it_is_loaded(tmp_path: Path):
    (tmp_path / "takes-10").mkdir()
    (tmp_path / "takes-10" / "model.safetensors").write_bytes(bytes(60))

    async with bounded(tmp_path, 100, processes=2, a=10) as (embedder, _):
        with pytest.raises(ModelUnavailable, match=r"takes 120 bytes .* is 100"):
            await embed(embedder, ["x"], "acme/a")

    assert not (tmp_path / "log").exists()


async def test_a_model_that_turns_out_too_large_is_unloaded_and_refused_from_then_on(
    tmp_path: Path,
):
    async with bounded(tmp_path, 100, processes=2, a=30, b=51) as (embedder, _):
        await embed(embedder, ["x"], "acme/a")
        for call in (embed(embedder, ["x"], "acme/b"), embedder.load("acme/b")):
            with pytest.raises(ModelUnavailable, match=r"takes 102 bytes .* is 100"):
                await call
        await embedder.unload("acme/b")

        assert [model.model for model in embedder.lifecycle.rows()] == ["acme/a"]
        assert lengths(await embed(embedder, ["xy"], "acme/a")) == [2]
        assert embedder.pool.deaths == 0
        assert all("acme/b" not in process.loaded for process in embedder.pool.processes)
    assert read_messages(tmp_path).count("load acme/b") == read_messages(tmp_path).count(
        "unload acme/b"
    )


async def test_a_model_in_use_is_not_evicted_and_who_needs_its_memory_waits(tmp_path: Path):
    async with bounded(tmp_path, 50, a=40, b=40) as (embedder, _):
        await embedder.load("acme/b")
        await embedder.unload("acme/b")
        slow = asyncio.create_task(
            embed(embedder, [f"slow {index}" for index in range(20)], "acme/a")
        )
        while not embedder.lifecycle.rows():
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(embed(embedder, ["xy"], "acme/b"))
        await asyncio.sleep(0.1)
        assert "unload acme/a" not in read_messages(tmp_path)

        assert len(await slow) == 20
        assert lengths(await waiting) == [2]

    assert read_messages(tmp_path)[-2:] == ["unload acme/a", "load acme/b"]


async def test_calls_of_models_that_do_not_fit_together_take_turns(tmp_path: Path):
    async with bounded(tmp_path, 90, processes=2, a=40, b=40, c=40) as (embedder, _):
        calls = [embed(embedder, ["x" * n, "y"], f"acme/{'abc'[n % 3]}") for n in range(1, 13)]
        answers = await asyncio.gather(*calls)
        assert [lengths(answer) for answer in answers] == [[n, 1] for n in range(1, 13)]
        while len(embedder.lifecycle.rows()) > 1:
            await asyncio.sleep(0.01)


async def test_unloading_waits_for_the_calls_under_way(tmp_path: Path):
    async with bounded(tmp_path, 0, a=40) as (embedder, events):
        texts = [f"slow {index}" for index in range(10)]
        slow = asyncio.create_task(embed(embedder, texts, "acme/a"))
        while not embedder.lifecycle.rows():
            await asyncio.sleep(0.01)

        await embedder.unload("acme/a")

        assert slow.done()
        assert len(await slow) == 10
        assert embedder.lifecycle.rows() == []
        assert loaded_models(embedder) == []
        assert lengths(await embed(embedder, ["xy"], "acme/a")) == [2]
    assert [event.kind for event in events] == ["loaded", "unloaded", "loaded", "unloaded"]


async def test_a_model_that_two_calls_load_at_once_is_loaded_once(tmp_path: Path):
    async with bounded(tmp_path, 100, processes=2, a=40) as (embedder, events):
        await asyncio.gather(embedder.load("acme/a"), embedder.load("acme/a"))
        assert [model.files.model for model in loaded_models(embedder)] == ["acme/a"]
    assert read_messages(tmp_path) == ["load acme/a", "load acme/a"]  # once by each process
    assert [event.kind for event in events] == ["loaded", "unloaded"]
    assert events[0].memory_bytes == 80


async def test_the_place_of_a_model_whose_process_died_can_be_had(tmp_path: Path):
    async with bounded(tmp_path, 50, a=40, b=40) as (embedder, _):
        await embedder.load("acme/a")
        os.kill(embedder.pool.processes[0].pid, signal.SIGKILL)
        while embedder.pool.processes:
            await asyncio.sleep(0.01)

        assert lengths(await embed(embedder, ["xy"], "acme/b")) == [2]
        await embedder.unload("acme/a")
        assert [model.model for model in embedder.lifecycle.rows()] == ["acme/b"]


async def test_a_call_that_waits_for_memory_ends_when_the_embedder_is_closed(tmp_path: Path):
    async with bounded(tmp_path, 50, a=40, b=40) as (embedder, _):
        await embedder.load("acme/b")
        await embedder.unload("acme/b")
        using = asyncio.create_task(embed(embedder, ["hang"], "acme/a"))
        while not embedder.lifecycle.rows():
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(embed(embedder, ["xy"], "acme/b"))
        await asyncio.sleep(0.05)

        await embedder.close()

        for call in (using, waiting):
            with pytest.raises(ModelUnavailable, match="closed"):
                await call


async def test_a_store_that_cannot_be_written_does_not_stop_a_model():
    async def note(_event: ModelEvent) -> None:
        raise Unavailable("store", "the disk is full")

    async with opened(note=note) as embedder:
        assert lengths(await embed(embedder, ["xy"])) == [2]


# The real thing


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def real() -> AsyncGenerator[LocalEmbedder]:
    embedder = LocalEmbedder(EmbeddingSettings(local_model_processes=1))
    await embedder.open()
    yield embedder
    await embedder.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_real_model_gives_the_vectors_that_sentence_transformers_gives(
    real: LocalEmbedder,
):
    await real.load(PACKAGED_MODEL)
    (loaded,) = loaded_models(real)
    near, far, answer = await embed(
        real, ["A fast fox leaps over a dog.", "The bank raised interest rates.", SENTENCE]
    )

    assert loaded.files.source == "packaged"
    assert loaded.dimensions == 384
    assert isinstance(answer, Embedding)
    assert isinstance(near, Embedding)
    assert isinstance(far, Embedding)
    assert np.abs(answer.vector[: len(SENTENCE_BEGINS)] - SENTENCE_BEGINS).max() < 1e-5
    assert answer.vector @ near.vector > 0.7
    assert answer.vector @ far.vector < 0.2


@pytest.mark.asyncio(loop_scope="module")
async def test_the_real_process_notes_what_a_text_has_too_much(real: LocalEmbedder):
    short, long, broken = await embed(real, ["one two three", "word " * 500, "a\ud800b"])

    assert isinstance(short, Embedding)
    assert isinstance(long, Embedding)
    assert (short.tokens, short.is_truncated) == (5, False)
    assert (long.tokens, long.is_truncated) == (256, True)
    assert isinstance(broken, InvalidTask)
    assert broken.code == "unreadable_text"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_real_process_frees_the_memory_of_a_model(real: LocalEmbedder):
    await real.load(PACKAGED_MODEL)
    (held,) = real.lifecycle.rows()
    (process,) = real.pool.processes
    before = resident_bytes(process.pid)

    await real.unload(PACKAGED_MODEL)

    assert (real.pool.processes, process.loaded, real.lifecycle.rows()) == ([process], {}, [])
    assert held.size_bytes is not None
    assert held.memory_bytes is not None
    assert 80e6 < held.size_bytes <= held.memory_bytes < 1e9
    assert before - resident_bytes(process.pid) > held.size_bytes / 2


async def test_vectors_made_in_int8_say_so_and_their_loss_is_recorded():
    events: list[ModelEvent] = []

    async def note(event: ModelEvent) -> None:
        events.append(event)

    embedder = LocalEmbedder(
        EmbeddingSettings(local_model_processes=1),
        note=note,
        models=ModelSettings(local_model_precision="int8"),
    )
    await embedder.open()
    try:
        (answer,) = await embed(embedder, [SENTENCE])
        (row,) = embedder.lifecycle.rows()
    finally:
        await embedder.close()

    assert isinstance(answer, Embedding)
    assert answer.model == f"{PACKAGED_MODEL}:int8"
    assert row.device == "cpu"
    assert row.loss is not None
    assert row.loss.mean_cosine > 0.99
    assert (events[0].device, events[0].loss) == (row.device, row.loss)
