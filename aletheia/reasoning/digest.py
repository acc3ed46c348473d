"""The digest of some days: throughput, cost, trends, what was done (SPEC §5), by pandas.

pandas is imported only here, and this module only where a report is made.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pandas as pd

from aletheia.documents import Documents
from aletheia.intake.rows import ROWS
from aletheia.llm.prices import NANO
from aletheia.llm.usage import USAGE
from aletheia.reasoning.approvals import AUDIT
from aletheia.reasoning.history import Entry, History
from aletheia.reasoning.recommendations import RECOMMENDATIONS
from aletheia.store.clock import microseconds_of, moment

MAX_ROWS: Final = 500_000
"""Rows of one kind that a digest reads at most; a digest of more says so."""

TRENDS: Final[Mapping[str, str]] = {
    "queue_pending": "pending tasks",
    "queue_failed": "dead letters",
    "publish_success_rate": "success rate of publications",
    "clips_ready": "clips ready",
    "jobs_failed": "failed runs in 24 h",
}
"""Figures whose course is shown, by snapshot path."""

NO_PROJECT: Final = "(tasks)"
"""What stands for the project of calls that no gather run made."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a digest: a title, headings and rows of text."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Digest:
    """What happened in some days."""

    since: datetime
    until: datetime
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]

    def to_markdown(self) -> str:
        """Return it as markdown."""
        lines = [f"# Digest, {_day(self.since)} to {_day(self.until)}", ""]
        lines += [f"- {_cell(sentence)}" for sentence in self.sentences]
        for table in self.tables:
            lines += ["", f"## {table.title}", ""]
            if not table.rows:
                lines.append("Nothing.")
                continue
            lines.append(f"| {' | '.join(table.headings)} |")
            lines.append("|---" * len(table.headings) + "|")
            lines += [f"| {' | '.join(map(_cell, row))} |" for row in table.rows]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """Return it as one page of HTML that needs nothing else."""
        title = f"Digest, {_day(self.since)} to {_day(self.until)}"
        parts = [_HEAD.format(title=html.escape(title)), f"<h1>{html.escape(title)}</h1>", "<ul>"]
        parts += [f"<li>{html.escape(sentence)}</li>" for sentence in self.sentences]
        parts.append("</ul>")
        for table in self.tables:
            parts.append(f"<h2>{html.escape(table.title)}</h2>")
            if not table.rows:
                parts.append("<p>Nothing.</p>")
                continue
            parts.append("<table><thead><tr>")
            parts += [f"<th>{html.escape(heading)}</th>" for heading in table.headings]
            parts.append("</tr></thead><tbody>")
            for row in table.rows:
                cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
                parts.append(f"<tr>{cells}</tr>")
            parts.append("</tbody></table>")
        return "\n".join([*parts, "</body></html>"]) + "\n"


_HEAD: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}th,td{{text-align:left;padding:.3rem .6rem;
border-bottom:1px solid #8884}}@media(prefers-color-scheme:dark){{body{{background:#111;
color:#eee}}}}</style></head><body>"""


async def make_digest(
    documents: Documents,
    history: History,
    *,
    until: datetime,
    days: int,
    runs: str,
    evaluations: str,
) -> Digest:
    """Return the digest of so many days up to a moment.

    `runs`, `evaluations`: the collections of gather runs and of evaluations.
    """
    since = until - timedelta(days=days)
    tasks = await _read_tasks(documents, since, until)
    spent = await _read_usage(documents, since, until)
    owners = await _read_projects(documents, runs, since)
    entries = await history.list_since(since)
    departments = await _read_departments(documents, evaluations, since)
    tables = [
        _tabulate_throughput(tasks),
        _tabulate_cost(spent, owners),
        _tabulate_departments(departments),
        _tabulate_trends(entries),
        await _tabulate_done(documents, since),
        await _tabulate_decisions(documents, since),
    ]
    sentences = _summarise(tasks, spent, entries)
    return Digest(since, until, tuple(sentences), tuple(tables))


async def _read_tasks(documents: Documents, since: datetime, until: datetime) -> pd.DataFrame:
    where = {"finished_at": {"$gte": since.timestamp(), "$lt": until.timestamp()}}
    rows = await documents.find(ROWS, where, sort="finished_at", limit=MAX_ROWS)
    return pd.DataFrame(
        [
            {
                "day": _day(datetime.fromtimestamp(float(row["finished_at"]), UTC)),
                "type": str(row.get("type") or "unknown"),
                "failed": bool(row.get("dead_code")),
            }
            for row in rows
        ],
        columns=["day", "type", "failed"],
    )


async def _read_usage(documents: Documents, since: datetime, until: datetime) -> pd.DataFrame:
    where = {"at": {"$gte": since.timestamp(), "$lt": until.timestamp()}, "state": "settled"}
    rows = await documents.find(USAGE, where, limit=MAX_ROWS)
    return pd.DataFrame(
        [
            {
                "run_id": str(row.get("run_id") or ""),
                "provider": str(row["provider"]),
                "model": str(row["model"]),
                "calls": 1,
                "tokens": int(row["tokens_in"]) + int(row["tokens_out"]),
                "usd": int(row["nanousd"]) / NANO,
            }
            for row in rows
        ],
        columns=["run_id", "provider", "model", "calls", "tokens", "usd"],
    )


async def _read_projects(documents: Documents, runs: str, since: datetime) -> dict[str, str]:
    """Return the project of each gather run that may have spent anything since a moment."""
    opened = {"opened_at": {"$gte": (since - timedelta(days=2)).timestamp()}}
    rows = await documents.find(runs, opened, limit=MAX_ROWS)
    return {row["_id"]: str(row["project_id"]) for row in rows}


async def _read_departments(
    documents: Documents, evaluations: str, since: datetime
) -> Sequence[Mapping[str, Any]]:
    where = {"evaluated_at": {"$gte": since.isoformat()}}
    return await documents.find(evaluations, where, sort="evaluated_at", limit=1000)


def _tabulate_throughput(tasks: pd.DataFrame) -> Table:
    headings = ("day", "type", "tasks", "failed")
    if tasks.empty:
        return Table("Throughput", headings, ())
    grouped = tasks.groupby(["day", "type"], sort=True)["failed"].agg(["size", "sum"])
    rows = [
        (str(day), str(kind), f"{int(size):,}", f"{int(failed):,}")
        for (day, kind), size, failed in zip(
            grouped.index.tolist(), grouped["size"], grouped["sum"], strict=True
        )
    ]
    return Table("Throughput", headings, tuple(rows))


def _tabulate_cost(spent: pd.DataFrame, owners: Mapping[str, str]) -> Table:
    headings = ("project", "provider", "model", "calls", "tokens", "USD")
    if spent.empty:
        return Table("Cost by project", headings, ())
    named = spent.assign(project=[owners.get(run_id, NO_PROJECT) for run_id in spent["run_id"]])
    grouped = named.groupby(["project", "provider", "model"], sort=True)[["calls", "tokens", "usd"]]
    sums = grouped.sum()
    rows = [
        (*map(str, names), f"{int(calls):,}", f"{int(tokens):,}", f"{float(usd):,.4f}")
        for names, calls, tokens, usd in zip(
            sums.index.tolist(), sums["calls"], sums["tokens"], sums["usd"], strict=True
        )
    ]
    return Table("Cost by project", headings, tuple(rows))


def _tabulate_departments(evaluations: Sequence[Mapping[str, Any]]) -> Table:
    newest = {
        (str(row.get("project_id", "")), str(row.get("department", ""))): row for row in evaluations
    }
    rows = [
        (project, department, f"{float(row['score']):.1f}", str(row.get("evaluated_at", ""))[:16])
        for (project, department), row in sorted(newest.items())
    ]
    headings = ("project", "department", "quality", "evaluated")
    return Table("Departments, as last evaluated", headings, tuple(rows))


def _tabulate_trends(entries: Sequence[Entry]) -> Table:
    headings = ("figure", "at first", "lowest", "highest", "at last")
    if not entries:
        return Table("Trends", headings, ())
    frame = pd.DataFrame(
        [
            {"health score": entry.score, **{TRENDS[p]: entry.figures.get(p) for p in TRENDS}}
            for entry in entries
        ]
    )
    rows: list[tuple[str, ...]] = []
    for name in frame.columns:
        known = frame[name].dropna()
        if not known.empty:
            ends = (known.iloc[0], known.min(), known.max(), known.iloc[-1])
            rows.append((str(name), *(f"{float(value):,.4g}" for value in ends)))
    return Table("Trends", headings, tuple(rows))


async def _tabulate_done(documents: Documents, since: datetime) -> Table:
    where = {"at": {"$gte": microseconds_of(since)}}
    found = await documents.find(AUDIT, where, sort="at", limit=1000)
    rows = [
        (
            f"{moment(entry['at']):%Y-%m-%d %H:%M}",
            str(entry["event"]),
            str(entry["details"].get("action") or entry["details"].get("who") or ""),
            str(entry["details"].get("message") or entry["details"].get("state") or ""),
        )
        for entry in found
    ]
    return Table("What was done", ("at", "event", "what", "outcome"), tuple(rows))


async def _tabulate_decisions(documents: Documents, since: datetime) -> Table:
    where = {"decided_at": {"$gte": microseconds_of(since)}}
    found = await documents.find(RECOMMENDATIONS, where, sort="decided_at", limit=500)
    rows = [
        (
            f"{moment(row['decided_at']):%Y-%m-%d %H:%M}",
            str(row.get("title") or row["finding"]),
            str(row["decision"]),
            str(row.get("decided_by") or ""),
            str(row.get("reason") or ""),
        )
        for row in found
    ]
    headings = ("at", "finding", "decision", "by", "reason")
    return Table("Decisions about recommendations", headings, tuple(rows))


def _summarise(tasks: pd.DataFrame, spent: pd.DataFrame, entries: Sequence[Entry]) -> list[str]:
    failed = 0 if tasks.empty else int(tasks["failed"].sum())
    sentences = [f"{len(tasks):,} tasks ended, {failed:,} of them failed."]
    if len(tasks) >= MAX_ROWS:
        sentences.append(f"There were more: the oldest {MAX_ROWS:,} are counted.")
    usd, tokens = (
        (0.0, 0) if spent.empty else (float(spent["usd"].sum()), int(spent["tokens"].sum()))
    )
    sentences.append(f"{len(spent):,} calls to models used {tokens:,} tokens and {usd:,.4f} USD.")
    if entries:
        scores = [entry.score for entry in entries]
        sentences.append(
            f"{len(entries):,} reasoning runs; the health score was {min(scores):.0f} to "
            f"{max(scores):.0f}, at last {scores[-1]:.0f} ({entries[-1].health})."
        )
    else:
        sentences.append("There was no reasoning run.")
    return sentences


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def _cell(text: str) -> str:
    """Return text for a cell of a table: on one line, without what markdown takes for its own."""
    plain = " ".join(text.split())
    for special in "\\`*_[]<>|":
        plain = plain.replace(special, f"\\{special}")
    return plain
