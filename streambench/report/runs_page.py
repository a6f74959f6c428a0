"""HTML pages about several runs: a comparison with a base run, and a trend over many. Each page is one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.report.assertions import assertions_grid, assertions_line
from streambench.report.comparison import UNLIKE, changes_grid, remarks, sentences, unlike_lines
from streambench.report.figures import catalogue
from streambench.report.html import TableShown, figure_shown, rendered, table_shown
from streambench.report.trend import levels_grid, trend_lines, when
from streambench.text import counted, distinct, for_html

if TYPE_CHECKING:
    from streambench.analysis.check import AssertionResult
    from streambench.analysis.compare import RunsCompared
    from streambench.analysis.trend import Trend

RUN_LIMIT, LINE_LIMIT = 80, 2_000
_MARKS: Mapping[str, str] = {"better": "better", "worse": "worse", "held": "better", "FAILED": "worse"}
"""The CSS class of cells with these texts, which gives them a colour."""


@dataclass(frozen=True, slots=True)
class Section:
    """One run's part of a page. Each of `tables` is (title, sentence about it, table)."""

    name: str
    alerts: tuple[str, ...]
    tables: tuple[tuple[str, str, TableShown], ...]
    remarks: tuple[str, ...]


def compared_html(compared: Sequence[RunsCompared], judged: Sequence[Sequence[AssertionResult]]) -> str:
    """Returns the page that compares one or more runs with the same base; the same comparison gives the same bytes.

    `judged` holds each run's assertion results, in the order of `compared`.
    """
    base = for_html(compared[0].base, RUN_LIMIT)
    names = distinct((each.new for each in compared), lambda name: for_html(name, RUN_LIMIT))
    return rendered(
        "runs.html",
        title=f"Comparison with {base}",
        sub="Each run's change from the base, paired by prompt, with 95 % intervals.",
        verdict=[(names[each.new], _lines(sentences(each))) for each in compared],
        figure=figure_shown(catalogue.run_changes(compared)),
        sections=[_compared_section(names[each.new], each, one) for each, one in zip(compared, judged, strict=True)],
        marks=_MARKS,
    )


def _compared_section(name: str, compared: RunsCompared, judged: Sequence[AssertionResult]) -> Section:
    alerts = [f"{UNLIKE.capitalize()} {'; '.join(unlike_lines(compared.unlike))}"] if compared.unlike else []
    tables = [("Changes", _CHANGES, table_shown(changes_grid(compared), "verdict"))]
    if judged:
        tables.insert(0, ("Assertions", f"{for_html(assertions_line(judged), LINE_LIMIT)}.", _assertions_table(judged)))
    return Section(
        name,
        _lines([*alerts, *(f"Incomplete: {line}" for line in compared.incomplete)]),
        tuple(tables),
        _lines(remarks(compared)),
    )


_CHANGES = (
    "The change of the statistic, over the prompts that both runs answered. Better and worse mean that the change is "
    "significant, corrected for all changes of the table together (Holm), and larger than the client lag."
)


def _assertions_table(judged: Sequence[AssertionResult]) -> TableShown:
    return table_shown(assertions_grid(judged), "verdict")


def trend_html(trend: Trend) -> str:
    """Returns the page with each model's levels over comparable runs."""
    first, last = trend.points[0], trend.points[-1]
    count = len(trend.points)
    span = when(last) if count == 1 else f"{when(first)} to {when(last)}"
    about = "Medians of each run; a star marks a level that changed before that run and stayed."
    return rendered(
        "runs.html",
        title=f"Trend of {for_html(last.header.name, RUN_LIMIT)}",
        sub=f"{counted(count, 'run')}, {span} UTC.",
        verdict=[("Shifts", _lines(trend_lines(trend)))],
        figure=figure_shown(catalogue.run_levels(trend)),
        sections=[Section("Runs", (), (("Levels", about, table_shown(levels_grid(trend), "state")),), ())],
        marks={},
    )


def _lines(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(for_html(line, LINE_LIMIT) for line in texts)
