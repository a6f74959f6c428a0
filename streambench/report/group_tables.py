"""Tables of a run's requests by tag, turn, prompt length or prompt, for the page, the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.analysis.groups import GROUPINGS, Group, group_estimates, group_names
from streambench.analysis.leaderboard import Leaderboard, LeaderboardRow
from streambench.metrics.assertions import By
from streambench.metrics.definitions import BY_COLUMN
from streambench.metrics.quantiles import Statistic
from streambench.report.leaderboard_tables import Cell, estimate_cell, share_cell
from streambench.report.text_table import Grid
from streambench.text import for_html

if TYPE_CHECKING:
    from streambench.analysis.run import Run

WANTED: tuple[tuple[str, Statistic], ...] = (
    ("ttft_ms", "mean"),
    ("ttft_ms", "p50"),
    ("ttft_ms", "p90"),
    ("ttft_ms", "p95"),
    ("ttft_ms", "p99"),
    ("output_tok_s", "p50"),
    ("e2e_ms", "p50"),
)
ON_THE_PAGE = 120
"""Approximate maximum of rows in one table of the page; the command line shows all rows."""
TITLES: Mapping[By, str] = {
    "tag": "By tag",
    "turn": "By turn",
    "length": "By length of the prompt",
    "prompt": "By prompt",
}


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One model in one group: its share of `ok` requests, its failures by outcome, and its estimates as in WANTED."""

    group: str
    model: str
    ok: Cell
    failures: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """One table: a row for each model in each of the first `shown` of `total` groups."""

    by: By
    title: str
    rows: tuple[GroupRow, ...]
    shown: int
    total: int

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(BY_COLUMN[metric].head(statistic) for metric, statistic in WANTED)


def telling_groupings(run: Run, board: Leaderboard) -> Iterator[Grouping]:
    """Yields the groupings in which more than one group has requests, each cut to about ON_THE_PAGE rows."""
    for by in GROUPINGS:
        if len(group_names(run, by)) > 1:
            yield grouping(run, board, by, max(1, ON_THE_PAGE // len(board.rows)))


def grouping(run: Run, board: Leaderboard, by: By, most: int | None = None) -> Grouping:
    """Returns the table of one grouping, with its first `most` groups; with all if `most` is None."""
    models = {row.model.model: row for row in board.rows}
    names = group_names(run, by)
    found = group_estimates(run, by, WANTED, names[:most])
    rows = tuple(_row(group, models[group.model], board) for group in found)
    return Grouping(by, TITLES[by], rows, min(len(names), most or len(names)), len(names))


def _row(group: Group, model: LeaderboardRow, board: Leaderboard) -> GroupRow:
    failed = (f"{share.k} {outcome}" for outcome, share in group.outcomes.items() if outcome != "ok")
    cells = (
        estimate_cell(group.estimates[metric, statistic], board.resolution(metric, model))
        for metric, statistic in WANTED
    )
    ok = share_cell(group.outcomes["ok"])
    return GroupRow(for_html(group.name, 60), model.name, ok, ", ".join(failed), tuple(cells))


def groups_terminal(found: Grouping, width: int) -> str:
    """Returns the table as plain text, under its title."""
    return f"{found.title}\n{_grid(found).terminal(width)}"


def groups_markdown(found: Grouping) -> str:
    """Returns the table as Markdown, under a heading."""
    return f"### {found.title}\n\n{_grid(found).markdown()}"


def _grid(found: Grouping) -> Grid:
    head = (found.by, "model", "ok / all", "failures", *found.heads)
    rows = tuple(
        (row.group, row.model, _text(row.ok), row.failures or "-", *map(_text, row.cells)) for row in found.rows
    )
    return Grid(head, rows, frozenset(range(4, len(head))))


def _text(cell: Cell) -> str:
    """Returns the cell's text, without "no interval": most cells of small groups would say it."""
    aside = "" if cell.aside == "no interval" else cell.aside.replace("\u00a0", " ")
    return f"{cell.text} ({aside})" if aside else cell.text
