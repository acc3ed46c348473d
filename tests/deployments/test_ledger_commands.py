"""The commands `dead-letters` and `trace`, over a real ledger."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.errors import InvalidTask, Refused
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import NewTask
from aletheia.intake.parsing import parse_page
from aletheia.settings import IntakeSettings
from deployments import intake, ledger_commands

ENTRIES = [
    {"id": "t1", "type": "no_such_type", "state": "PENDING", "data": {"text": "secret words"}},
    {"id": "t2", "type": "text_embedding", "data": {"text": "secret words"}},
]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    @contextlib.asynccontextmanager
    async def open_ledger() -> AsyncGenerator[Ledger]:
        store = EmbeddedDocuments(tmp_path)
        await store.open()
        yield Ledger(store, IntakeSettings(), owner="a test")
        await store.close()

    async def fill() -> None:
        async with open_ledger() as ledger:
            first, second = parse_page(ENTRIES, max_entry_bytes=10_000).entries
            problem = InvalidTask("unknown_type", "nobody computes [red]this[/]")
            tasks = [NewTask(first, "", 1, problem), NewTask(second, "m", 1)]
            faulty, claim = await ledger.claims.claim(tasks)
            await ledger.reports.accepted([faulty])
            await ledger.dead_letters.add(claim, "claim_refused", Refused("upstream", 422, "no"))

    asyncio.run(fill())
    monkeypatch.setattr(intake, "open_ledger", open_ledger)
    app = typer.Typer()
    ledger_commands.register(app, Console(width=200), contextlib.nullcontext)
    return app


def run(app: typer.Typer, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_dead_letters_show_id_type_code_message_and_age(app: typer.Typer):
    printed = run(app, "dead-letters")
    for said in (
        "t1",
        "no_such_type",
        "unknown_type",
        "[red]this[/]",
        "t2",
        "claim_refused",
        "age",
    ):
        assert said in printed
    assert "secret" not in printed


def test_dead_letters_can_be_chosen_by_code_and_printed_as_json(app: typer.Typer):
    (found,) = json.loads(run(app, "dead-letters", "--json", "--code", "claim_refused"))
    assert (found["id"], found["type"]) == ("t2", "text_embedding")
    assert found["age_s"] >= 0
    assert json.loads(run(app, "dead-letters", "--json", "--code", "odd")) == []
    assert "no dead letters" in run(app, "dead-letters", "--code", "odd")


def test_a_trace_shows_states_and_reasons_but_no_content(app: typer.Typer):
    printed = run(app, "trace", "t1")
    for said in ("t1: reported", "claimed", "acknowledged the report", "unknown_type", "PENDING"):
        assert said in printed
    assert "secret" not in printed
    (trace,) = json.loads(run(app, "trace", "t2", "--json"))
    assert (trace["state"], trace["facts"]["dead_code"]) == ("dead", "claim_refused")


def test_a_task_that_nobody_knows_is_no_success(app: typer.Typer):
    assert "knows no such task" in run(app, "trace", "t9", code=1)
    assert json.loads(run(app, "trace", "t9", "--json", code=1)) == []
