"""A run's verdict as Markdown, for a pull request or a chat: the page's sentences and its leaderboard, cell by cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from streambench.money import usd
from streambench.report.names import safe
from streambench.report.page import alerts, doubts_shown
from streambench.report.sentences import Line, headline
from streambench.report.standings import Board, board
from streambench.report.tables import Cell, leaderboard, objective_text, usage_rows

if TYPE_CHECKING:
    from streambench.results import Run

COSTS: Mapping[str, str] = {
    "USD a request": "per_request",
    "USD for 1,000 tokens out": "per_1k_output_tok",
    "USD a conversation": "per_session",
}

_MEANT = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")
_MENTION = re.compile(r"[@:](?=\w)")


def render_markdown(run: Run, found: Board | None = None) -> str:
    """The same numbers as the page, digit by digit. Foreign text is spelled so that no viewer takes it for markup."""
    found = found or board(run)
    parts = [f"## {plain(safe(run.header.name, 80))}", *(f"> {plain(alert)}" for alert in alerts(run, found))]
    parts.append("\n".join(_line(line) for line in headline(found, run.header)))
    if found.rows:
        parts.append(_table(found))
        parts.append(_throughput(found, run))
    parts.append("Each number with its 95 % interval; a dash is unknown, or needs a larger sample.")
    doubted = [f"- {plain(doubt['kind'])}: {plain(doubt['why'])}" for doubt in doubts_shown(run, found)]
    if doubted:
        parts.append("\n".join(["Before this run is quoted:", "", *doubted]))
    return "\n\n".join(parts) + "\n"


def _line(line: Line) -> str:
    points = (f"\n  - {plain(point)}" for point in line.few)
    return f"- **{line.question}**: {plain(line.says)}".rstrip() + "".join(points)


def _table(found: Board) -> str:
    shown = leaderboard(found, {})
    talked = any(row.model.cost_usd.sessions for row in found.rows)
    money = {head: part for head, part in COSTS.items() if shown["priced"] and (talked or part != "per_session")}
    costs = ["cost, USD", *money] if money else []
    heads = ["place", "model", "ok / all", *shown["form"], *shown["heads"], *costs]
    rows = [heads, ["---:", "---", *["---:"] * (len(heads) - 2)]]
    for each in shown["rows"]:
        name = plain(each["row"].name) + (" (simulated)" if each["row"].model.simulated else "")
        cells = [each["ok"], *each["form"], *each["cells"], *([each["cost"]] if shown["priced"] else [])]
        costs = [usd(getattr(each["row"].model.cost_usd, part)) for part in money.values()]
        rows.append([plain(each["place"]), name, *(_cell(cell) for cell in cells), *costs])
    return "\n".join(_row(row) for row in rows)


def _throughput(found: Board, run: Run) -> str:
    objective = objective_text(run.header)
    good = [f"good ({objective})", "good/s"] if objective else []
    heads = ["model", "requests/s", "output tokens/s", *good]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for each in usage_rows(found, run):
        cells = [each["request_s"], each["token_s"], *([_cell(each["good"]), each["goodput"]] if good else [])]
        rows.append([plain(each["name"]), *cells])
    return "\n".join(["Over the measured window, which the models shared:", "", *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return plain(f"{cell.text} ({cell.aside})" if cell.aside else cell.text)


def plain(text: str) -> str:
    """The text with what Markdown would act on escaped, and no name in it calling a person or an emoji."""
    escaped = _MEANT.sub(r"\\\1", text)
    return _MENTION.sub(lambda found: f"{found[0]}\u2060", escaped)
