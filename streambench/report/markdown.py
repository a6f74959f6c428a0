"""A run's verdict as Markdown, for a pull request or a chat: the page's sentences, leaderboard and throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from streambench.analysis.leaderboard import Leaderboard, leaderboard_of
from streambench.metrics.cost import usd
from streambench.report.headline import Line, headline
from streambench.report.leaderboard_tables import Cell, leaderboard, objective_text, usage_rows
from streambench.report.page import alerts, warnings_shown
from streambench.text import for_markdown

if TYPE_CHECKING:
    from streambench.analysis.run import Run

COSTS: Mapping[str, str] = {
    "USD per request": "per_request",
    "USD per 1,000 tokens out": "per_1k_output_tok",
    "USD per conversation": "per_session",
}

SENTENCE_LIMIT = 2_000
"""The most characters of a sentence."""


def render_markdown(run: Run, found: Leaderboard | None = None) -> str:
    """Returns the verdict as Markdown, with the same numbers and digits as the page.

    Text from configs, models and gateways is escaped, so that no viewer reads it as markup.
    """
    found = found or leaderboard_of(run)
    parts = [
        f"## {for_markdown(run.header.name, 80)}",
        *(f"> {for_markdown(alert, SENTENCE_LIMIT)}" for alert in alerts(run, found)),
    ]
    parts.append("\n".join(_line(line) for line in headline(found, run.header)))
    if found.rows:
        parts.append(_table(found))
        parts.append(_throughput(found, run))
    parts.append("Each number has its 95 % interval; a dash is unknown, or needs a larger sample.")
    doubted = [
        f"- {for_markdown(doubt['kind'], SENTENCE_LIMIT)}: {for_markdown(doubt['why'], SENTENCE_LIMIT)}"
        for doubt in warnings_shown(run, found)
    ]
    if doubted:
        parts.append("\n".join(["Before you quote this run:", "", *doubted]))
    return "\n\n".join(parts) + "\n"


def _line(line: Line) -> str:
    points = (f"\n  - {for_markdown(point, SENTENCE_LIMIT)}" for point in line.few)
    return f"- **{line.question}**: {for_markdown(line.says, SENTENCE_LIMIT)}".rstrip() + "".join(points)


def _table(found: Leaderboard) -> str:
    shown = leaderboard(found, {})
    talked = any(row.model.cost_usd.sessions for row in found.rows)
    money = {head: part for head, part in COSTS.items() if shown["priced"] and (talked or part != "per_session")}
    costs = ["cost, USD", *money] if money else []
    heads = ["place", "model", "ok / all", *shown["form"], *shown["heads"], *costs]
    rows = [heads, ["---:", "---", *["---:"] * (len(heads) - 2)]]
    for each in shown["rows"]:
        name = for_markdown(each["row"].name, SENTENCE_LIMIT) + (" (simulated)" if each["row"].model.simulated else "")
        cells = [each["ok"], *each["form"], *each["cells"], *([each["cost"]] if shown["priced"] else [])]
        costs = [usd(getattr(each["row"].model.cost_usd, part)) for part in money.values()]
        rows.append([for_markdown(each["place"], SENTENCE_LIMIT), name, *(_cell(cell) for cell in cells), *costs])
    return "\n".join(_row(row) for row in rows)


def _throughput(found: Leaderboard, run: Run) -> str:
    objective = objective_text(run.header)
    good = [f"good ({objective})", "good/s"] if objective else []
    heads = ["model", "requests/s", "output tokens/s", *good]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for each in usage_rows(found, run):
        cells = [each["request_s"], each["token_s"], *([_cell(each["good"]), each["goodput"]] if good else [])]
        rows.append([for_markdown(each["name"], SENTENCE_LIMIT), *cells])
    return "\n".join(["Over the measured window, which all models share:", "", *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return for_markdown(f"{cell.text} ({cell.aside})" if cell.aside else cell.text, SENTENCE_LIMIT)
