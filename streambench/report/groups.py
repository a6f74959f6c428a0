"""Tables of a run's requests by tag, turn, prompt length or prompt: for the page, the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench import stats
from streambench.report.grid import Grid
from streambench.report.names import safe
from streambench.report.standings import Board, Row
from streambench.report.tables import Cell, estimate_cell, share_cell
from streambench.stats import By, Group, Statistic

if TYPE_CHECKING:
    from streambench.results import Run

WANTED: tuple[tuple[str, Statistic, str], ...] = (
    ("ttft_ms", "mean", "TTFT mean, ms"),
    ("ttft_ms", "p50", "TTFT p50, ms"),
    ("ttft_ms", "p90", "TTFT p90, ms"),
    ("ttft_ms", "p95", "TTFT p95, ms"),
    ("ttft_ms", "p99", "TTFT p99, ms"),
    ("output_tok_s", "p50", "output speed p50, tok/s"),
    ("e2e_ms", "p50", "E2E p50, ms"),
)
ON_THE_PAGE = 120
"""Rows of one table there, about; the command shows all."""
TITLES: Mapping[By, str] = {
    "tag": "By tag",
    "turn": "By turn",
    "length": "By length of the prompt",
    "prompt": "By prompt",
}


@dataclass(frozen=True, slots=True)
class GroupRow:
    group: str
    model: str
    ok: Cell
    failures: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """One table: a row for each model of the first `shown` of `total` groups."""

    by: By
    title: str
    rows: tuple[GroupRow, ...]
    shown: int
    total: int

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(head for _, _, head in WANTED)


def telling_groupings(run: Run, board: Board) -> Iterator[Grouping]:
    """The groupings that tell something, as more than one group has requests; cut to what a page holds."""
    for by in stats.GROUPINGS:
        if len(stats.group_names(run, by)) > 1:
            yield grouping(run, board, by, max(1, ON_THE_PAGE // len(board.rows)))


def grouping(run: Run, board: Board, by: By, most: int | None = None) -> Grouping:
    """The table of one grouping, of its first `most` groups."""
    models = {row.model.model: row for row in board.rows}
    names = stats.group_names(run, by)
    found = stats.group_estimates(run, by, [(metric, statistic) for metric, statistic, _ in WANTED], names[:most])
    rows = tuple(_row(group, models[group.model], board) for group in found)
    return Grouping(by, TITLES[by], rows, min(len(names), most or len(names)), len(names))


def _row(group: Group, model: Row, board: Board) -> GroupRow:
    failed = (f"{share.k} {outcome}" for outcome, share in group.outcomes.items() if outcome != "ok")
    cells = (
        estimate_cell(group.estimates[metric, statistic], board.resolution(metric, model))
        for metric, statistic, _ in WANTED
    )
    ok = share_cell(group.outcomes["ok"])
    return GroupRow(safe(group.name, 60), model.name, ok, ", ".join(failed), tuple(cells))


def groups_terminal(found: Grouping, width: int) -> str:
    return f"{found.title}\n{_grid(found).terminal(width)}"


def groups_markdown(found: Grouping) -> str:
    return f"### {found.title}\n\n{_grid(found).markdown()}"


def _grid(found: Grouping) -> Grid:
    head = (found.by, "model", "ok / all", "failures", *found.heads)
    rows = tuple(
        (row.group, row.model, _text(row.ok), row.failures or "-", *map(_text, row.cells)) for row in found.rows
    )
    return Grid(head, rows, frozenset(range(4, len(head))))


def _text(cell: Cell) -> str:
    """Without the words for a missing interval, which would be in most cells of small groups."""
    aside = "" if cell.aside == "no interval" else cell.aside.replace("\u00a0", " ")
    return f"{cell.text} ({aside})" if aside else cell.text
