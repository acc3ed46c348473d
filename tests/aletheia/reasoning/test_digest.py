"""A digest says what some days came to, as markdown and as HTML."""

from datetime import timedelta

import pytest

from aletheia.documents import Documents
from aletheia.intake.rows import ROWS
from aletheia.llm.usage_days import USAGE_DAYS, add_to_day
from aletheia.reasoning.digest import Digest, make_digest
from aletheia.reasoning.history import History
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import AT, Sources, make_reasoner

ODD = "<script>alert(1)</script> | [x](y)"


async def digest(documents: Documents, days: int = 7) -> Digest:
    return await make_digest(
        documents,
        History(documents),
        until=AT,
        days=days,
        evaluations="evaluations",
        ledger_days=30,
    )


@pytest.fixture
async def filled(documents: Documents) -> Documents:
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
    call = {"provider": "openai", "model": "gpt", "kind": "chat", "is_mock": False}
    figures = {"calls": 1, "tokens_in": 90, "tokens_out": 10, "nanousd": 2_000_000}
    made_for = [
        *[{"project_id": ODD, "department": "legal"}] * 2,
        {"project_id": ODD, "department": "sales"},
        {},
    ]
    for whose in made_for:
        update = add_to_day("2026-11-29", {**call, **whose}, figures)
        await documents.upsert(USAGE_DAYS, [update])
    old = add_to_day("2026-11-02", call, figures)
    await documents.upsert(USAGE_DAYS, [old])
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


async def test_a_digest_adds_up(filled: Documents):
    found = await digest(filled)
    assert found.sentences[0] == "3 tasks ended, 1 of them failed."
    assert found.sentences[1] == "4 calls to models used 400 tokens and 0.0080 USD."
    assert found.sentences[2].startswith("2 reasoning runs; the health score was 93 to 100")
    tables = {table.title: table for table in found.tables}
    assert tables["Throughput"].rows == (
        ("2026-11-28", "text_embedding", "1", "0"),
        ("2026-11-29", "text_embedding", "2", "1"),
    )
    assert {row[:2]: row[4:] for row in tables["Cost by project and department"].rows} == {
        ("(none)", "(none)"): ("1", "100", "0.0020"),
        (ODD, "legal"): ("2", "200", "0.0040"),
        (ODD, "sales"): ("1", "100", "0.0020"),
    }
    assert tables["Departments, as last evaluated"].rows[0][:3] == ("p", "legal", "81.2")
    trends = {row[0]: row[1:] for row in tables["Trends"].rows}
    assert trends["pending tasks"] == ("5", "5", "1,200", "1,200")
    assert tables["Decisions about recommendations"].rows[0][2:] == (
        *("dismissed", "ada", "a campaign"),
    )


async def test_what_others_wrote_is_text_and_nothing_else(filled: Documents):
    found = await digest(filled)
    page, text = found.to_html(), found.to_markdown()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "\\<script\\>" in text
    assert "\\[x\\](y)" in text


async def test_a_digest_of_more_days_than_tasks_are_kept_says_so(documents: Documents):
    said = "Tasks are kept for 30 days: older ones are not counted."
    assert said in (await digest(documents, days=31)).sentences
    assert said not in (await digest(documents, days=29)).sentences


async def test_without_anything_a_digest_says_so(documents: Documents):
    found = await digest(documents, days=1)
    assert found.sentences == (
        "0 tasks ended, 0 of them failed.",
        "0 calls to models used 0 tokens and 0.0000 USD.",
        "There was no reasoning run.",
    )
    assert found.to_markdown().count("Nothing.") == len(found.tables)
    assert found.to_html().endswith("</body></html>\n")
