"""The command `webhooks`, over a real store."""

import asyncio
import json
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.errors import Refused
from aletheia.events.delivery import FanOut
from aletheia.events.log import EventLog
from aletheia.events.models import Deduplicating
from aletheia.store.clock import Clock
from deployments import dead_events
from tasks.session import current_session, open_session
from tests.fakes.event_sink import FakeSink

PROJECT = "a-project-with-a-long-name-of-some-forty-signs"
HOST = "a-receiver-with-a-long-name.of-a-company.example.com"
AGE_S = 26 * 3600.0


@pytest.fixture(autouse=True)
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Make a webhook refuse one event, a day ago."""

    async def get_store() -> EmbeddedDocuments:
        return await current_session().clients.open(EmbeddedDocuments(tmp_path))

    clock = Clock(unix_s=lambda: time.time() - AGE_S)

    async def lose() -> None:
        async with open_session():
            log = EventLog(await get_store(), clock=clock)
            sink = FakeSink()
            sink.fail_next(Refused("webhook", 410, "gone [red]for[/] good"))
            fan_out = FanOut(await get_store(), {"webhook": sink}, clock=clock)
            await fan_out.subscribe(PROJECT, "r", "webhook", f"https://{HOST}/hook?token=s3cret")
            event = Deduplicating(project_id=PROJECT, department="legal")
            await log.append(event, run_id="r", iteration=1)
            await fan_out.feed(PROJECT)

    asyncio.run(lose())
    monkeypatch.setattr(dead_events, "get_store", get_store)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        yield


def webhooks(*options: str) -> str:
    result = CliRunner().invoke(dead_events.app, list(options))
    assert result.exit_code == 0, result.output
    assert "s3cret" not in result.output
    return result.stdout


@pytest.mark.parametrize("width", [80, 100, 200])
def test_nothing_of_the_table_is_cut(width: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "500")
    whole = webhooks()
    assert "1 day, 2:00:0" in whole
    assert "gone [red]for[/] good" in whole
    monkeypatch.setenv("COLUMNS", str(width))
    shown = webhooks()
    assert f"{PROJECT}:1" in shown
    assert signs_of(shown) == signs_of(whole)


def signs_of(text: str) -> list[str]:
    return sorted(sign for sign in text if not sign.isspace() and not sign.isdigit())


def test_json_has_the_age_in_seconds():
    (row,) = json.loads(webhooks("--json"))
    assert row["id"] == f"{PROJECT}:1"
    assert row["age_s"] == pytest.approx(AGE_S, abs=60)
    assert row["receiver"].startswith(f"https://{HOST}")
    assert json.loads(webhooks("--json", "--project", "other")) == []
