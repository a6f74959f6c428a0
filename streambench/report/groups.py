"""Tables of a run's requests by tag, turn, prompt length or prompt: for the page, the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench import stats
from streambench.report.grid import Grid
from streambench.report.names import safe
from streambench.report.standings import Board
from streambench.report.tables import Cell, estimate_cell, share_cell
from streambench.stats import By, Statistic

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
"""Rows of one table there; the command shows all."""
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
    """One table: its first `rows` of `total`."""

    by: By
    title: str
    rows: tuple[GroupRow, ...]
    total: int

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(head for _, _, head in WANTED)


def telling_groupings(run: Run, board: Board) -> Iterator[Grouping]:
    """The groupings that tell something, as more than one group has requests; cut to what a page holds."""
    tickets = {(record.ticket.prompt_id, record.ticket.turn) for record in run.records}
    for by in stats.GROUPINGS:
        groups = {name for ticket in tickets for name in stats.groups_of(run.header.suite, by, *ticket)}
        if len(groups) > 1:
            yield grouping(run, board, by, ON_THE_PAGE)


def grouping(run: Run, board: Board, by: By, most: int | None = None) -> Grouping:
    """The table of one grouping, of `most` rows at most."""
    names = {row.model.model: row for row in board.rows}
    found = stats.group_estimates(run, by, [(metric, statistic) for metric, statistic, _ in WANTED])
    rows = tuple(
        GroupRow(
            group=safe(group.name, 60),
            model=names[group.model].name,
            ok=share_cell(group.outcomes["ok"]),
            failures=", ".join(f"{share.k} {outcome}" for outcome, share in group.outcomes.items() if outcome != "ok"),
            cells=tuple(
                estimate_cell(group.estimates[metric, statistic], board.resolution(metric, names[group.model]))
                for metric, statistic, _ in WANTED
            ),
        )
        for group in found[:most]
    )
    return Grouping(by, TITLES[by], rows, len(found))


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
