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
from aletheia.escaping import escape_markdown
from aletheia.intake.rows import ROWS
from aletheia.llm.prices import NANO
from aletheia.llm.usage_days import Dimension, read_usage
from aletheia.reasoning.approvals import AUDIT
from aletheia.reasoning.catalogue import measure_of
from aletheia.reasoning.history import History
from aletheia.reasoning.recommendations import RECOMMENDATIONS
from aletheia.reasoning.rules.rule import write_number
from aletheia.store.clock import microseconds_of, moment
from aletheia.text.grammar import agree

MAX_LISTED: Final = 1000
"""Rows of one kind that a table lists at most; one of more says so."""

DAY: Final = timedelta(days=1)

TRENDS: Final[Mapping[str, str]] = {
    "queue_pending": "pending tasks",
    "queue_failed": "dead letters",
    "publish_success_rate": "success rate of publications",
    "clips_ready": "clips ready",
    "jobs_failed": "failed runs in 24 h",
}
"""Figures whose course is shown, by snapshot path."""

SCORE: Final = "health score"
"""The name of the score in what is read of the history."""

NOBODY: Final = "(none)"
"""What stands for the project or the department of calls that were made for none."""


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
        lines += [f"- {escape_markdown(sentence)}" for sentence in self.sentences]
        for table in self.tables:
            lines += ["", f"## {table.title}", ""]
            if not table.rows:
                lines.append("Nothing.")
                continue
            lines.append(f"| {' | '.join(table.headings)} |")
            lines.append("|---" * len(table.headings) + "|")
            lines += [f"| {' | '.join(map(escape_markdown, row))} |" for row in table.rows]
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
    evaluations: str,
    ledger_days: float,
) -> Digest:
    """Return the digest of so many whole UTC days, and of the last one up to a moment.

    `evaluations`: the collection of evaluations; `ledger_days`: how long ended tasks are kept.
    """
    midnight = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = midnight - timedelta(days=days)
    tasks = await _count_tasks(documents, since, until)
    spent = await _read_usage(documents, since, until)
    figures = await _read_figures(history, since)
    tables = [
        _tabulate_throughput(tasks),
        _tabulate_cost(spent),
        _tabulate_departments(await _read_departments(documents, evaluations, since)),
        _tabulate_trends(figures),
        await _tabulate_done(documents, since),
        await _tabulate_decisions(documents, since),
    ]
    sentences = [_describe_tasks(tasks), _describe_cost(spent), _describe_health(figures)]
    if until - since > timedelta(days=ledger_days):
        kept = agree(f"Tasks are kept for {ledger_days:g} [day|days]", ledger_days)
        sentences.insert(1, f"{kept}: older ones are not counted.")
    return Digest(since, until, tuple(sentences), tuple(tables))


async def _count_tasks(documents: Documents, since: datetime, until: datetime) -> pd.DataFrame:
    """Count the tasks that ended, by day and type, where they are; none of them is read."""
    rows: list[dict[str, Any]] = []
    day = since
    while day < until:
        ends = {"$gte": day.timestamp(), "$lt": min(day + DAY, until).timestamp()}
        where: dict[str, Any] = {"finished_at": ends}
        ended = await documents.count_by(ROWS, "type", where)
        failed = await documents.count_by(ROWS, "type", {**where, "dead_code": {"$gt": ""}})
        rows += [
            {"day": _day(day), "type": kind, "tasks": count, "failed": failed.get(kind, 0)}
            for kind, count in sorted(ended.items())
        ]
        day += DAY
    return pd.DataFrame(rows, columns=["day", "type", "tasks", "failed"])


async def _read_usage(documents: Documents, since: datetime, until: datetime) -> pd.DataFrame:
    by: tuple[Dimension, ...] = ("project_id", "department", "provider", "model")
    groups = await read_usage(documents, by, first_day=_day(since), last_day=_day(until), where={})
    return pd.DataFrame(
        [
            {
                **{name: part or NOBODY for name, part in zip(by, group.key, strict=True)},
                "calls": group.calls,
                "tokens": group.tokens_in + group.tokens_out,
                "usd": group.nanousd / NANO,
            }
            for group in groups
        ],
        columns=[*by, "calls", "tokens", "usd"],
    )


async def _read_figures(history: History, since: datetime) -> pd.DataFrame:
    """Read the course of what `TRENDS` names, oldest first, and of the health."""
    rows = [
        {
            SCORE: entry.score,
            "health": entry.health,
            **{name: entry.figures.get(path) for path, name in TRENDS.items()},
        }
        async for entry in history.walk_since(since)
    ]
    return pd.DataFrame(rows[::-1], columns=[SCORE, "health", *TRENDS.values()])


async def _read_departments(
    documents: Documents, evaluations: str, since: datetime
) -> Sequence[Mapping[str, Any]]:
    where = {"evaluated_at": {"$gte": since.isoformat()}}
    return await documents.find(
        evaluations, where, sort="evaluated_at", descending=True, limit=MAX_LISTED
    )


def _tabulate_throughput(tasks: pd.DataFrame) -> Table:
    rows = [
        (str(day), str(kind), f"{int(count):,}", f"{int(failed):,}")
        for day, kind, count, failed in tasks.itertuples(index=False)
    ]
    return Table("Throughput", ("day", "type", "tasks", "failed"), tuple(rows))


def _tabulate_cost(spent: pd.DataFrame) -> Table:
    headings = ("project", "department", "provider", "model", "calls", "tokens", "USD")
    rows = [
        (*map(str, names), f"{int(calls):,}", f"{int(tokens):,}", f"{float(usd):,.4f}")
        for *names, calls, tokens, usd in spent.itertuples(index=False)
    ]
    return Table("Cost by project and department", headings, tuple(rows))


def _tabulate_departments(evaluations: Sequence[Mapping[str, Any]]) -> Table:
    newest = {
        (str(row.get("project_id", "")), str(row.get("department", ""))): row
        for row in reversed(evaluations)  # the oldest first: a later one takes its place
    }
    rows = [
        (
            project,
            department,
            f"{float(row['score']):.1f}",
            str(row.get("evaluated_at", ""))[:16].replace("T", " "),
        )
        for (project, department), row in sorted(newest.items())
    ]
    headings = ("project", "department", "quality", "evaluated")
    return Table("Departments, as last evaluated", headings, tuple(rows))


def _tabulate_trends(figures: pd.DataFrame) -> Table:
    rows: list[tuple[str, ...]] = []
    for path, name in {"": SCORE, **TRENDS}.items():
        known = figures[name].dropna()
        if not known.empty:
            ends = (known.iloc[0], known.min(), known.max(), known.iloc[-1])
            rows.append((name, *(_write_figure(path, float(value)) for value in ends)))
    return Table("Trends", ("figure", "at first", "lowest", "highest", "at last"), tuple(rows))


def _write_figure(path: str, value: float) -> str:
    """Return a value in the unit of its path; an empty path is that of the score."""
    measure = measure_of(path)
    return write_number(round(value)) if measure is None else measure.amount(value)


async def _tabulate_done(documents: Documents, since: datetime) -> Table:
    where = {"at": {"$gte": microseconds_of(since)}}
    found = await documents.find(AUDIT, where, sort="at", descending=True, limit=MAX_LISTED)
    rows = [
        (
            f"{moment(entry['at']):%Y-%m-%d %H:%M}",
            str(entry["event"]),
            str(entry["details"].get("action") or entry["details"].get("who") or ""),
            str(entry["details"].get("message") or entry["details"].get("state") or ""),
        )
        for entry in found
    ]
    return Table("What plans carried out", ("at", "event", "what", "outcome"), tuple(rows))


async def _tabulate_decisions(documents: Documents, since: datetime) -> Table:
    where = {"decided_at": {"$gte": microseconds_of(since)}}
    found = await documents.find(
        RECOMMENDATIONS, where, sort="decided_at", descending=True, limit=MAX_LISTED
    )
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


def _describe_tasks(tasks: pd.DataFrame) -> str:
    ended, failed = int(tasks["tasks"].sum()), int(tasks["failed"].sum())
    return agree(f"{ended:,} [task|tasks] ended, {failed:,} of [it|them] failed.", ended)


def _describe_cost(spent: pd.DataFrame) -> str:
    calls, tokens = int(spent["calls"].sum()), int(spent["tokens"].sum())
    usd = float(spent["usd"].sum())
    counted = agree(f"{calls:,} [call|calls] to models used ", calls)
    return counted + agree(f"{tokens:,} [token|tokens] and {usd:,.4f} USD.", tokens)


def _describe_health(figures: pd.DataFrame) -> str:
    if figures.empty:
        return "There was no reasoning run."
    scores, last = figures[SCORE], figures.iloc[-1]
    runs = agree(f"{len(figures):,} reasoning [run|runs]", len(figures))
    lowest, highest = f"{scores.min():.0f}", f"{scores.max():.0f}"
    course = lowest if lowest == highest else f"{lowest} to {highest}"
    return f"{runs}; the health score was {course}, at last {last[SCORE]:.0f} ({last['health']})."


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}"
