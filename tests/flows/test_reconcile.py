"""The flow `reconcile`, and what a gather run leaves to it, on a real Prefect server."""

import contextlib
import json
import re
import threading
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path
from typing import Any, cast

import pytest
from prefect import flow
from pydantic import SecretStr

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.content.embedded import directory_of
from aletheia.adapters.embedding.items import embed_with, name_vectors_of
from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.brain.graph import BrainGraph
from aletheia.brain.index import IndexedBrain
from aletheia.brain.outbox import Outbox
from aletheia.brain.ports import BrainDepartment
from aletheia.errors import InvalidTask
from aletheia.intake.ledger import Ledger
from aletheia.settings import EmbeddingSettings, IntakeSettings
from blocks import BrainCredentials
from flows.gather import automated_gather_creation
from flows.reconcile import reconcile
from flows.sweep import sweep
from tasks.clients.store import get_store
from tasks.reconcile import (
    ReconcileFailed,
    ReconcileReport,
    reconcile_project,
)
from tasks.session import open_session
from tasks.status import read_system_status
from tasks.sweep import SweepFailed, SweepReport
from tests.fakes.brain_app import make_brain_app
from tests.fakes.serving import serving
from tests.flows.conftest import artifacts, last_run
from tests.flows.test_gather import Backend, backend

__all__ = ["backend"]

PART = "deliver to the Brain"


async def run_reconcile(project_id: str | None = None) -> ReconcileReport:
    found = await cast("Awaitable[object]", reconcile(project_id))
    assert isinstance(found, ReconcileReport)
    return found


async def swept() -> dict[str, int]:
    """What a sweep did for the Brain."""
    found = await cast("Awaitable[object]", sweep())
    assert isinstance(found, SweepReport)
    (done,) = [part.done for part in found.parts if part.part == PART]
    return done


async def rows_of_last_run() -> list[dict[str, Any]]:
    (table,) = await artifacts("reconcile", (await last_run("reconcile")).id)
    return json.loads(str(table.data))


async def use_embedded(directory: Path) -> None:
    await BrainCredentials(data_dir=directory).asave("default", overwrite=True)


async def lose_the_brain() -> None:
    """Set the address of the Brain to one where nobody listens."""
    await use_neo4j("bolt://127.0.0.1:9")


async def use_neo4j(uri: str) -> None:
    neo4j = BrainCredentials(neo4j_uri=SecretStr(uri), neo4j_password=SecretStr("p"))
    await neo4j.asave("default", overwrite=True)


async def use_service(url: str, key: str) -> None:
    service = BrainCredentials(service_base_url=url, service_api_key=SecretStr(key))
    await service.asave("default", overwrite=True)


async def indexed(graph: BrainGraph) -> dict[str, str]:
    return {item.id: item.department for item in await graph.list_items("shop")}


async def test_a_run_leaves_nothing_to_be_reconciled(backend: Backend, tmp_path: Path):
    await use_embedded(tmp_path)
    report = await backend.gather(max_iterations=4)
    graph = EmbeddedGraph(tmp_path)
    await graph.open()
    assert await indexed(graph) == {item.id: item.department for item in await backend.items()}
    assert await Outbox(backend.documents).intents.count_by_project() == {}
    done = await run_reconcile()
    (project,) = done.projects
    assert (project.project_id, project.in_store) == ("shop", report.items_created)
    assert (done.differences_before, done.differences_after, project.upserted) == (0, 0, 0)
    assert [row["what"] for row in await rows_of_last_run()] == ["nothing differs"]

    gone, *_ = await indexed(graph)
    await graph.delete("shop", [gone])
    done = await run_reconcile("shop")
    assert (done.differences_before, done.differences_after) == (1, 0)
    assert done.projects[0].examples == {"missing": (gone,)}
    (row,) = await rows_of_last_run()
    assert (row["what"], row["before"], row["after"], row["examples"]) == ("missing", 1, 0, gone)
    assert gone in await indexed(graph)
    await graph.close()


async def test_a_run_without_a_brain_completes_and_a_sweep_delivers_it_later(
    backend: Backend, tmp_path: Path
):
    await lose_the_brain()
    report = await backend.gather(max_iterations=3)
    assert report.status == "completed"
    waiting = (await swept())["batches that wait for the Brain"]
    assert waiting > 0
    (row,) = await rows_of_brain()
    assert (row["what"], row["state"]) == (
        "Brain, shop",
        f"{waiting} batches wait, 0 items refused",
    )
    # On a slow machine it failed often enough for its breaker to be open by now.
    assert re.search("brain is unavailable|breaker of 'brain' is open", row["note"])
    await use_embedded(tmp_path)
    # As if the pause were over.
    await backend.documents.delete("aletheia_brain_cursors", {})
    await backend.documents.delete("aletheia_breakers", {})
    assert await swept() == {"items and evaluations sent": report.items_created}
    assert (await run_reconcile()).differences_before == 0
    assert await rows_of_brain() == []


async def rows_of_brain() -> list[dict[str, str]]:
    """What `aletheia status` says about the Brain."""
    async with open_session():
        ledger = Ledger(await get_store(), IntakeSettings(), owner="a test")
        status = await read_system_status(await ledger.overview())
    assert len(status.as_json()["brain"]) == len(status.brain)
    return [row for row in status.rows() if row["what"].startswith("Brain, ")]


async def test_a_project_that_cannot_be_read_holds_up_no_other_one(
    backend: Backend, tmp_path: Path
):
    await lose_the_brain()
    await backend.gather(max_iterations=1)
    directory_of(tmp_path, "a-broken").write_text("no directory")
    await Outbox(backend.documents).intents.announce(
        "a-broken", "k", BrainDepartment("a", "A"), ["1" * 24]
    )
    await use_embedded(tmp_path)
    await backend.documents.delete("aletheia_brain_cursors", {})
    await backend.documents.delete("aletheia_breakers", {})
    with pytest.raises(SweepFailed, match=PART):
        await swept()
    assert list(await Outbox(backend.documents).intents.count_by_project()) == ["a-broken"]


async def test_a_project_that_is_compared_is_let_go_of(backend: Backend, tmp_path: Path):
    await use_embedded(tmp_path)
    await backend.gather(max_iterations=1)

    def count_files() -> int:
        return sum(thread.name.startswith("store-") for thread in threading.enumerate())

    @flow
    async def compare() -> list[int]:
        counts: list[int] = []
        async with open_session():
            for name in ("shop", "second", "third"):
                assert not (await reconcile_project(name)).error
                counts.append(count_files())
        return counts

    first, *more = await cast("Awaitable[list[int]]", compare())
    assert more == [first, first]


async def test_what_never_reached_the_brain_is_repaired(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await lose_the_brain()
    report = await backend.gather(max_iterations=2)
    assert list(await Outbox(backend.documents).intents.count_by_project()) == ["shop"]
    with pytest.raises(ReconcileFailed, match="shop: "):
        await run_reconcile()
    (row,) = await rows_of_last_run()
    assert row["what"] == "failed"

    await use_embedded(tmp_path)
    await backend.documents.delete("aletheia_breakers", {})
    done = await run_reconcile()
    assert (done.differences_before, done.differences_after) == (report.items_created, 0)
    assert await rows_of_brain() == [], "nothing waits, whatever pause there was"

    monkeypatch.setenv("DEFAULT_EMBEDDING_MODEL", "sentence-transformers/another")
    done = await run_reconcile()
    (project,) = done.projects
    assert (project.is_new_model, project.upserted) == (True, report.items_created)
    assert done.differences_after == 0
    assert "another embedding model" in [row["what"] for row in await rows_of_last_run()]


async def gather_in(project_id: str) -> None:
    gathering = automated_gather_creation(project_id, "user-1", 2)
    await cast("Awaitable[object]", gathering)


async def test_after_a_change_of_model_no_project_is_left_without_vectors(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await use_embedded(tmp_path)
    report = await backend.gather(max_iterations=2)
    await gather_in("another")
    assert [project.project_id for project in (await run_reconcile("shop")).projects] == ["shop"]
    monkeypatch.setenv("DEFAULT_EMBEDDING_MODEL", "sentence-transformers/another")
    # The one that was asked for comes first, and cannot even be read.
    directory_of(tmp_path, "broken").write_text("no directory")
    with pytest.raises(ReconcileFailed, match=r"^broken: "):
        await run_reconcile("broken")
    graph = EmbeddedGraph(tmp_path)
    await graph.open()
    for project_id, items in (("shop", report.items_created), ("another", None)):
        listed = await graph.list_items(project_id)
        assert all(item.has_vector for item in listed)
        assert len(listed) == (items or len(listed)) > 0
    await graph.close()
    (table,) = await artifacts("reconcile", (await last_run("reconcile")).id)
    assert "every project is indexed anew" in str(table.description)
    assert {row["project"] for row in json.loads(str(table.data))} == {"broken", "shop", "another"}


async def test_a_change_of_model_that_was_cut_short_is_finished_for_all_projects(
    backend: Backend, tmp_path: Path
):
    await use_embedded(tmp_path)
    await backend.gather(max_iterations=2)
    await gather_in("another")
    graph = EmbeddedGraph(tmp_path)
    await graph.open()
    model = await graph.read_model()
    assert model is not None
    # A run that went over to the model of now, and was killed.
    await graph.set_model("before", model[1])
    await graph.set_model(*model)
    assert {project.project_id for project in (await run_reconcile("shop")).projects} == {
        "shop",
        "another",
    }
    for project_id in ("shop", "another"):
        assert all(item.has_vector for item in await graph.list_items(project_id))
    await graph.close()


# Behind our own service


@contextlib.asynccontextmanager
async def own_service(directory: Path) -> AsyncGenerator[IndexedBrain]:
    """Serve the Brain by our own service, with the settings of now."""
    embedder = MockEmbedder(default_model=EmbeddingSettings().default_model)
    model = embedder.canonical_model(None)
    graph = EmbeddedGraph(directory)
    brain = IndexedBrain(graph, embed_with(embedder, model), name_vectors_of(embedder, model))
    async with serving(make_brain_app(brain, "the-key-of-these-tests-is-long-enough")) as url:
        await use_service(url, "the-key-of-these-tests-is-long-enough")
        yield brain


async def test_a_service_is_sent_everything_again(backend: Backend, tmp_path: Path):
    async with own_service(tmp_path / "there") as brain:
        report = await backend.gather(max_iterations=3)
        before = await indexed(brain.graph)
        assert len(before) == report.items_created > 1
        assert await Outbox(backend.documents).intents.count_by_project() == {}
        done = await run_reconcile()
        (project,) = done.projects
        assert not project.is_compared
        assert (project.upserted, project.deleted) == (report.items_created, 0)
        assert await indexed(brain.graph) == before
    (row,) = await rows_of_last_run()
    assert (row["what"], "everything was sent again" in row["examples"]) == ("not compared", True)


async def test_a_service_whose_model_has_changed_adopts_it_where_its_graph_is_at_hand(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with own_service(tmp_path / "there"):
        report = await backend.gather(max_iterations=2)
    monkeypatch.setenv("DEFAULT_EMBEDDING_MODEL", "sentence-transformers/another")
    async with own_service(tmp_path / "there") as brain:
        with pytest.raises(ReconcileFailed, match="run `reconcile` to index all anew"):
            await run_reconcile("shop")
        assert await brain.adopt_model(brain.model)
        (project,) = (await run_reconcile("shop")).projects
        assert project.upserted == report.items_created
        assert all(item.has_vector for item in await brain.graph.list_items("shop"))
        # Somebody here has forgotten to change the setting.
        monkeypatch.delenv("DEFAULT_EMBEDDING_MODEL")
        with pytest.raises(ReconcileFailed, match="give both sides the same settings"):
            await run_reconcile("shop")
        assert all(item.has_vector for item in await brain.graph.list_items("shop"))


async def test_a_project_that_is_none_is_refused(backend: Backend, tmp_path: Path):
    del backend
    await use_embedded(tmp_path)
    with pytest.raises(InvalidTask):
        await run_reconcile("../etc")


async def test_without_any_run_there_is_nothing_to_compare(backend: Backend, tmp_path: Path):
    await use_embedded(tmp_path)
    await Outbox(backend.documents).intents.announce(
        "nobody", "k", BrainDepartment("a", "A"), ["1" * 24]
    )
    done = await run_reconcile()
    assert done == ReconcileReport(differences_before=0, differences_after=0, projects=())
