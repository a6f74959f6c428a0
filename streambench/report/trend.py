"""A trend over runs as text, Markdown or JSON data: a table of levels with shifts marked, and a bar chart per level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from streambench.analysis.trend import FEWEST, Level, Point, Trend
from streambench.clock import NS
from streambench.metrics.definitions import BY_COLUMN
from streambench.report.text_table import Grid, folded
from streambench.text import DASH, for_markdown, number, percent_change

SCHEMA = 1
"""1 (2026-11): first schema of `trend --format json`."""
BARS = "▁▂▃▄▅▆▇█"
SHIFT = "*"


def trend_terminal(trend: Trend, width: int) -> str:
    """Returns the table of levels, the bar charts and the sentences on shifts as plain text."""
    parts = [levels_grid(trend).terminal(width), "\n", _curves(trend).terminal(width), "\n"]
    return "".join([*parts, *(folded(line, width) for line in trend_lines(trend))])


def trend_markdown(trend: Trend) -> str:
    """Returns the same as `trend_terminal`, as Markdown with a heading."""
    lines = "".join(f"- {for_markdown(line)}\n" for line in trend_lines(trend))
    return f"### Trend\n\n{levels_grid(trend).markdown()}\n{_curves(trend).markdown()}\n{lines}"


def trend_plain(trend: Trend) -> dict[str, Any]:
    """Returns the trend as JSON data; unknown values and infinite interval ends are null."""
    return {
        "schema": SCHEMA,
        "runs": [{"run": one.run, "started": when(one), "status": one.status} for one in trend.points],
        "levels": [_plain_level(level) for level in trend.levels],
        "left_out": dict(trend.left_out),
        "shifts_by_chance": trend.by_chance,
    }


def levels_grid(trend: Trend) -> Grid:
    """Returns a table with a row for each model and run; a star marks a level that shifted before that run."""
    columns = list(dict.fromkeys((level.metric, level.statistic) for level in trend.levels))
    by_key = {(level.model, level.metric, level.statistic): level for level in trend.levels}
    models = dict.fromkeys(level.model for level in trend.levels)
    rows = []
    for model in models:
        for at, point in enumerate(trend.points):
            cells = [_cell(by_key[model, *column], at) for column in columns]
            rows.append((model if at == 0 else "", when(point), point.run, *cells, _status(point)))
    head = ("model", "started (UTC)", "run", *(_name(*column) for column in columns), "")
    return Grid(head, tuple(rows), right=frozenset(range(3, 3 + len(columns))))


def _curves(trend: Trend) -> Grid:
    rows = [(level.model, _name(level.metric, level.statistic), _reach(level), _bars(level)) for level in trend.levels]
    return Grid(("model", "metric", "lowest to highest", "over the runs"), tuple(rows))


def trend_lines(trend: Trend) -> Iterator[str]:
    """Yields a sentence for each shift, the number of shifts expected by chance, and the runs left out."""
    shifts = [(level, shift) for level in trend.levels for shift in level.shifts]
    for level, shift in shifts:
        name = _name(level.metric, level.statistic)
        yield (
            f"{SHIFT} {level.model}: {name} shifted from {number(shift.before)} to {number(shift.after)} "
            f"({percent_change(shift.after / shift.before - 1, 0)}) at {trend.points[shift.at].run} (p={shift.p:.3f})"
        )
    if len(trend.points) < FEWEST:
        yield f"Detecting a shift needs at least {FEWEST} runs; there are {len(trend.points)}."
    elif not shifts:
        yield "No significant shift."
    else:
        yield f"If nothing has changed, {trend.by_chance:.1f} shifts are expected by chance."
    for run, fields in trend.left_out.items():
        yield f"left out: {run} was measured differently from the newest run: {fields}"


def _cell(level: Level, at: int) -> str:
    mark = SHIFT if any(shift.at == at for shift in level.shifts) else ""
    return f"{mark}{number(level.estimates[at].value)}"


def _bars(level: Level) -> str:
    """Returns one bar for each run, scaled from the lowest level to the highest; a space for an unknown level."""
    values = [each.value for each in level.estimates]
    known = [value for value in values if value is not None]
    if not known:
        return DASH
    low, reach = min(known), (max(known) - min(known)) or 1.0
    return "".join(" " if value is None else _bar(value, low, reach) for value in values)


def _reach(level: Level) -> str:
    known = [each.value for each in level.estimates if each.value is not None]
    return f"{number(min(known))} to {number(max(known))}" if known else DASH


def _bar(value: float, low: float, reach: float) -> str:
    return BARS[min(len(BARS) - 1, int((value - low) / reach * len(BARS)))]


def _name(column: str, statistic: str) -> str:
    metric = BY_COLUMN[column]
    return f"{metric.label} {statistic} {metric.unit}"


def when(point: Point) -> str:
    """Returns the run's start in UTC, to the minute."""
    return f"{datetime.fromtimestamp(point.header.wall_ns / NS, UTC):%Y-%m-%d %H:%M}"


def _status(point: Point) -> str:
    return "" if point.status == "complete" else point.status


def _plain_level(level: Level) -> dict[str, Any]:
    return {
        "model": level.model,
        "metric": level.metric,
        "statistic": level.statistic,
        "values": [each.value for each in level.estimates],
        "low": _finite([each.low for each in level.estimates]),
        "high": _finite([each.high for each in level.estimates]),
        "n": [each.n for each in level.estimates],
        "shifts": [
            {"at": shift.at, "before": shift.before, "after": shift.after, "p": shift.p} for shift in level.shifts
        ],
    }


def _finite(ends: Sequence[float | None]) -> list[float | None]:
    return [None if end is None or end in (float("inf"), float("-inf")) else end for end in ends]
