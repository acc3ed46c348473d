"""A digest says what some days came to, as markdown and as HTML."""

from datetime import timedelta
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.intake.rows import ROWS
from aletheia.llm.usage import USAGE
from aletheia.reasoning.digest import Digest, make_digest
from aletheia.reasoning.history import History
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import AT, Sources, make_reasoner

ODD = "<script>alert(1)</script> | [x](y)"


async def digest(documents: EmbeddedDocuments, days: int = 7) -> Digest:
    return await make_digest(
        documents, History(documents), until=AT, days=days, runs="runs", evaluations="evaluations"
    )


@pytest.fixture
async def filled(documents: EmbeddedDocuments) -> EmbeddedDocuments:
    """A store with a week of work."""
    now = AT.timestamp()
    tasks = [("a", 1, None), ("b", 1, "model_crashed"), ("c", 2, None), ("old", 30, None)]
    await documents.insert(
        ROWS,
        [
            {
                "_id": id_,
                "type": "text_embedding",
                "finished_at": now - d * 86_400,
                "dead_code": code,
            }
            for id_, d, code in tasks
        ],
    )
    call: dict[str, Any] = {"provider": "openai", "model": "gpt", "state": "settled"}
    call |= {"tokens_in": 90, "tokens_out": 10, "nanousd": 2_000_000}
    await documents.insert(
        USAGE,
        [
            {"_id": str(n), **call, "run_id": run, "at": now - 60}
            for n, run in enumerate(["gather-run", "gather-run", "shift"])
        ],
    )  # fmt: skip
    await documents.insert(
        "runs", [{"_id": "gather-run", "project_id": ODD, "opened_at": now - 3600}]
    )
    await documents.insert(
        "evaluations",
        [{"_id": "e", "project_id": "p", "department": "legal", "score": 81.25,
          "evaluated_at": AT.isoformat()}],
    )  # fmt: skip
    clock, sources = MovableClock(AT - timedelta(hours=2)), Sources()
    reasoner = make_reasoner(documents, sources, clock)
    await reasoner.prepare()
    for pending in (5, 1200):
        sources.facts["queue_pending"] = pending
        await reasoner.run()
        clock.move(minutes=1)
    recommended = await documents.find("aletheia_recommendations", {})
    await reasoner.deps.recommendations.decide(
        recommended[0]["_id"], "dismissed", reason="a campaign", who="ada"
    )
    return documents


async def test_a_digest_adds_up(filled: EmbeddedDocuments):
    found = await digest(filled)
    assert found.sentences[0] == "3 tasks ended, 1 of them failed."
    assert found.sentences[1] == "3 calls to models used 300 tokens and 0.0060 USD."
    assert found.sentences[2].startswith("2 reasoning runs; the health score was 93 to 100")
    tables = {table.title: table for table in found.tables}
    assert tables["Throughput"].rows == (
        ("2026-11-28", "text_embedding", "1", "0"),
        ("2026-11-29", "text_embedding", "2", "1"),
    )
    assert {row[0]: row[3:] for row in tables["Cost by project"].rows} == {
        "(tasks)": ("1", "100", "0.0020"),
        ODD: ("2", "200", "0.0040"),
    }
    assert tables["Departments, as last evaluated"].rows[0][:3] == ("p", "legal", "81.2")
    trends = {row[0]: row[1:] for row in tables["Trends"].rows}
    assert trends["pending tasks"] == ("5", "5", "1,200", "1,200")
    assert tables["Decisions about recommendations"].rows[0][2:] == (
        *("dismissed", "ada", "a campaign"),
    )


async def test_what_others_wrote_is_text_and_nothing_else(filled: EmbeddedDocuments):
    found = await digest(filled)
    page, text = found.to_html(), found.to_markdown()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "\\<script\\>" in text
    assert "\\[x\\](y)" in text


async def test_without_anything_a_digest_says_so(documents: EmbeddedDocuments):
    found = await digest(documents, days=1)
    assert found.sentences == (
        "0 tasks ended, 0 of them failed.",
        "0 calls to models used 0 tokens and 0.0000 USD.",
        "There was no reasoning run.",
    )
    assert found.to_markdown().count("Nothing.") == len(found.tables)
    assert found.to_html().endswith("</body></html>\n")
