"""Commands about intake, over a real ledger."""

import asyncio
import json
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.errors import InvalidTask, Refused
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import IntakeStatus, LeaseHolder, NewTask
from aletheia.intake.parsing import parse_page
from aletheia.settings import IntakeSettings
from aletheia.store.audit import AuditEntry, AuditLog
from aletheia.store.clock import Clock
from deployments import intake
from tasks.session import current_session, open_session
from tests.deployments.printing import printed

ENTRIES = [
    {"id": "t1", "type": "no_such_type", "state": "PENDING", "data": {"text": "secret words"}},
    {"id": "t2", "type": "text_embedding", "data": {"text": "secret words"}},
]


@pytest.fixture(autouse=True)
def dead_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Add two dead letters to the ledger that the commands read."""

    async def get_store() -> EmbeddedDocuments:
        return await current_session().clients.open(EmbeddedDocuments(tmp_path))

    async def fill() -> None:
        async with open_session():
            ledger = Ledger(await get_store(), IntakeSettings(), owner="a test")
            first, second = parse_page(ENTRIES, max_entry_bytes=10_000).entries
            problem = InvalidTask("unknown_type", "nobody computes [red]this[/]")
            tasks = [NewTask(first, "", 1, problem), NewTask(second, "m", 1)]
            faulty, claim = await ledger.claims.claim(tasks)
            await ledger.reports.accepted([faulty])
            await ledger.dead_letters.add(claim, "claim_refused", Refused("upstream", 422, "no"))

    asyncio.run(fill())
    monkeypatch.setattr(intake, "get_store", get_store)
    monkeypatch.setenv("COLUMNS", "200")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        yield


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(intake.app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_dead_letters_show_id_type_code_message_and_age():
    printed = run("dead-letters")
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


def test_dead_letters_can_be_chosen_by_code_and_printed_as_json():
    (found,) = json.loads(run("dead-letters", "--json", "--code", "claim_refused"))
    assert (found["id"], found["type"]) == ("t2", "text_embedding")
    assert found["age_s"] >= 0
    assert json.loads(run("dead-letters", "--json", "--code", "odd")) == []
    assert "no dead letters" in run("dead-letters", "--code", "odd")


def test_a_trace_shows_states_and_reasons_but_no_content():
    printed = run("trace", "t1")
    for said in ("t1: reported", "claimed", "acknowledged the report", "unknown_type", "PENDING"):
        assert said in printed
    assert "secret" not in printed
    (trace,) = json.loads(run("trace", "t2", "--json"))
    assert (trace["state"], trace["facts"]["dead_code"]) == ("dead", "claim_refused")


def test_a_task_that_nobody_knows_is_no_success():
    assert "knows no such task" in run("trace", "t9", code=1)
    assert json.loads(run("trace", "t9", "--json", code=1)) == []


def test_who_holds_claims_is_said_and_they_can_be_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def claim() -> None:
        documents = EmbeddedDocuments(tmp_path)
        await documents.open()
        long_ago = Clock(unix_s=lambda: time.time() - 100)
        settings = IntakeSettings(lease_seconds=3600)
        ledger = Ledger(documents, settings, owner="host/[7]", clock=long_ago)
        (entry,) = parse_page([{**ENTRIES[1], "id": "t3"}], max_entry_bytes=10_000).entries
        await ledger.claims.claim([NewTask(entry, "m", 1)])
        await documents.close()

    monkeypatch.setenv("LEASE_SECONDS", "3600")
    asyncio.run(claim())
    assert "0 claims are released" in run("intake", "release", "--older-than", "60")
    assert "1 claims are released" in run("intake", "release", "--older-than", "1")
    (acted, *_) = asyncio.run(read_audit(tmp_path))
    assert (acted.action, acted.details) == ("intake release", {"older_than_minutes": 1.0})
    assert acted.source.startswith("the command line, ")


async def read_audit(directory: Path) -> list[AuditEntry]:
    documents = EmbeddedDocuments(directory)
    await documents.open()
    entries = await AuditLog(documents).newest(10)
    await documents.close()
    return entries


def test_who_holds_claims_until_when_is_printed():
    holder = LeaseHolder("host/[7]", 86, 1_800_000_000.0)
    overview = IntakeStatus(
        is_paused=False,
        states={},
        held=86,
        expired=0,
        waiting=28,
        dead={},
        holders=(holder,),
        waiting_until_s=1_800_000_300.0,
    )
    shown = printed(lambda: intake.show_leases(overview))
    assert "86 by host/[7], until 2027-01-15 08:00:00 UTC" in shown
    assert "aletheia intake release" in shown
    assert "Waiting tasks go on from 2027-01-15 08:05:00 UTC on." in shown
