"""Pages about several runs: what changed between them, and how levels went over many; each one file, as the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench import plots
from streambench.report.comparison import UNLIKE, changes_grid, remarks, sentences, unlike_lines
from streambench.report.html import TableShown, figure_shown, rendered, table_shown
from streambench.report.names import safe, shown_names
from streambench.report.trending import levels_grid, trend_lines, when
from streambench.report.verdict import judged_grid, verdict_line

if TYPE_CHECKING:
    from streambench.verdicts import Judged, RunsCompared, Trend

RUN_LIMIT, LINE_LIMIT = 80, 2_000
_MARKS: Mapping[str, str] = {"better": "better", "worse": "worse", "held": "better", "FAILED": "worse"}
"""Cells that are told by colour too."""


@dataclass(frozen=True, slots=True)
class Section:
    """One run's part of a page: `tables` by their titles, with a sentence each."""

    name: str
    alerts: tuple[str, ...]
    tables: tuple[tuple[str, str, TableShown], ...]
    remarks: tuple[str, ...]


def compared_html(compared: Sequence[RunsCompared], judged: Sequence[Sequence[Judged]]) -> str:
    """The page on one or several runs against their one base; the same comparison gives the same bytes."""
    base = safe(compared[0].base, RUN_LIMIT)
    names = shown_names((each.new for each in compared), RUN_LIMIT)
    return rendered(
        "runs.html",
        title=f"Comparison with {base}",
        sub="Each run's change from the base, paired by prompt, with 95 % intervals.",
        verdict=[(names[each.new], _lines(sentences(each))) for each in compared],
        figure=figure_shown(plots.run_changes(compared)),
        sections=[_compared_section(names[each.new], each, one) for each, one in zip(compared, judged, strict=True)],
        marks=_MARKS,
    )


def _compared_section(name: str, compared: RunsCompared, judged: Sequence[Judged]) -> Section:
    alerts = [f"{UNLIKE.capitalize()} {'; '.join(unlike_lines(compared.unlike))}"] if compared.unlike else []
    tables = [("Changes", _CHANGES, table_shown(changes_grid(compared), "verdict"))]
    if judged:
        tables.insert(0, ("Assertions", f"{safe(verdict_line(judged), LINE_LIMIT)}.", _verdicts(judged)))
    return Section(
        name,
        _lines([*alerts, *(f"Incomplete: {line}" for line in compared.incomplete)]),
        tuple(tables),
        _lines(remarks(compared)),
    )


_CHANGES = (
    "The change is of the statistic over the prompts that both runs answered. Better and worse are certain: corrected "
    "for all changes of the table together (Holm), and larger than the client's own lag."
)


def _verdicts(judged: Sequence[Judged]) -> TableShown:
    return table_shown(judged_grid(judged), "verdict")


def trend_html(trend: Trend) -> str:
    """The page on each model's levels over runs that are alike."""
    first, last = trend.points[0], trend.points[-1]
    count = len(trend.points)
    span = when(last) if count == 1 else f"{when(first)} to {when(last)}"
    about = "Medians of each run; a star marks a level that changed before that run and stayed."
    return rendered(
        "runs.html",
        title=f"Trend of {safe(last.header.name, RUN_LIMIT)}",
        sub=f"{count:,} run{'' if count == 1 else 's'}, {span} UTC.",
        verdict=[("Shifts", _lines(trend_lines(trend)))],
        figure=figure_shown(plots.run_levels(trend)),
        sections=[Section("Runs", (), (("Levels", about, table_shown(levels_grid(trend), "state")),), ())],
        marks={},
    )


def _lines(told: Iterable[str]) -> tuple[str, ...]:
    return tuple(safe(line, LINE_LIMIT) for line in told)
