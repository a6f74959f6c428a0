"""Figures of several runs: changes from a base run, and levels over many runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import dates
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from streambench.clock import NS
from streambench.metrics.definitions import METRICS
from streambench.report.figures import style
from streambench.report.figures.figure import DrawnFigure, FigureDraft, SkippedFigure, themed_figure
from streambench.report.figures.labels import label, labels, listed, tick
from streambench.report.figures.style import SeriesStyle
from streambench.text import counted, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from streambench.analysis.compare import RunsCompared
    from streambench.analysis.stats.changes import Change
    from streambench.analysis.trend import Level, Trend

DAY_S = 86_400
"""Seconds in a day: matplotlib counts dates in days since 1970, in UTC."""
PANELS = (("ttft_ms", "p50"), ("tpot_ms", "p50"), ("e2e_ms", "p50"))
"""The changes that are drawn: metric and statistic."""
_NAMES = {each.column: each.label for each in METRICS}


# --- changes


def run_changes(compared: Sequence[RunsCompared]) -> DrawnFigure | SkippedFigure:
    """Draws a lane for each model with a dot for each run: its change from the base in %, with the 95 % interval."""
    return themed_figure("run-changes", "Change from the base run", lambda: _changes(compared))


def _changes(compared: Sequence[RunsCompared]) -> FigureDraft | str:
    models = list(dict.fromkeys(model for each in compared for model in each.models))
    found = [
        (models.index(each.model), run, each)
        for run, one in enumerate(compared)
        for each in one.changes
        if _panel_of(each) in PANELS and each.ratio.value is not None
    ]
    panels = [panel for panel in PANELS if any(_panel_of(each) == panel for _, _, each in found)]
    if not panels:
        return "no model has a known change: answers to the same prompts in both runs are needed"
    sheet, axes = style.sheet(
        style.lanes(len(models), 0.26 + 0.1 * len(compared)), ncols=len(panels), sharey=True, squeeze=False
    )
    for one, panel in zip(axes[0], panels, strict=True):
        mine = [each for each in found if _panel_of(each[2]) == panel]
        _change_scale(one, [each for _, _, each in mine])
        for place, run, each in mine:
            lane = place + _offset(run, len(compared))
            _change(
                one, each, lane, SeriesStyle.of(place).colour, style.MARKERS[run % 10], sure=compared[run].shown(each)
            )
        one.set_xlabel(f"{_NAMES[panel[0]]} {panel[1]}, change in %")
    shown = labels(models)
    style.name_rows(axes[0][0], [shown[model] for model in models])
    for one in axes[0][1:]:
        one.tick_params(axis="y", length=0)
        one.grid(visible=False, axis="y")
    if len(compared) > 1:
        keys = [
            Line2D([], [], color=style.INK[0], marker=style.MARKERS[run % 10], ls="none")
            for run in range(len(compared))
        ]
        style.top_key(sheet, keys, [label(each.new, 40) for each in compared], columns=2)
    return FigureDraft(
        sheet,
        _changes_sentence(compared),
        "Rows, one for each model, with the change of each run from the base and its 95 % interval.",
        "Filled: significant, corrected for all changes together, and larger than the client lag. Hollow: not "
        "distinguishable from no change. Right of the line is slower. A dot without a line: the sample is too small.",
    )


def _panel_of(change: Change) -> tuple[str, str]:
    return change.metric, change.statistic


def _offset(run: int, runs: int) -> float:
    return 0.0 if runs == 1 else 0.5 * (run / (runs - 1) - 0.5)


def _moved(ratio: float) -> float:
    return 100 * (ratio - 1)


def _change_scale(axes: Axes, changes: Iterable[Change]) -> None:
    ends = [0.0]
    for each in changes:
        ends += [_moved(end) for end in _finite(each.ratio.value, each.ratio.low, each.ratio.high)]
    room = 0.08 * (max(ends) - min(ends)) or 1.0
    axes.set_xlim(min(ends) - room, max(ends) + room)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.axvline(0, color=style.SOFT[0], linewidth=1)


def _finite(*values: float | None) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _change(axes: Axes, change: Change, lane: float, colour: str, marker: str, *, sure: bool) -> None:
    ratio = change.ratio
    if ratio.low is not None and ratio.high is not None:
        edge = axes.get_xlim()[1]  # an interval without an upper end is drawn to the edge
        ends = [_moved(ratio.low), _moved(ratio.high) if math.isfinite(ratio.high) else edge]
        axes.plot(ends, [lane, lane], color=colour, linewidth=1.4, zorder=2)
    face = colour if sure else style.GROUND[0]
    value = _moved(ratio.value or 0.0)
    axes.plot(
        [value], [lane], color=colour, marker=marker, ls="none", markerfacecolor=face, label=change.model, zorder=3
    )


def _changes_sentence(compared: Sequence[RunsCompared]) -> str:
    every = [(one, each) for one in compared for each in one.changes if _panel_of(each) in PANELS]
    sure = [(one, each) for one, each in every if one.shown(each) and each.ratio.value is not None]
    known = sum(each.ratio.value is not None for _, each in every)
    if not sure:
        return f"None of {counted(known, 'change')} is significant and larger than the client lag."
    one, most = max(sure, key=lambda pair: abs(math.log(max(pair[1].ratio.value or 1.0, 1e-9))))
    against = f" in {label(one.new, 40)}" if len(compared) > 1 else ""
    what = f"{_NAMES[most.metric]} {most.statistic} {_moved(most.ratio.value or 1.0):+.1f} %"
    return (
        f"{len(sure)} of {counted(known, 'change')} {'is' if len(sure) == 1 else 'are'} significant and larger than "
        f"the client lag; the largest is that of {label(most.model)}: {what}{against}."
    )


# --- levels over many runs

_SHIFT: Mapping[str, Any] = {"marker": "D", "markersize": 9, "markerfacecolor": "none", "linestyle": "none"}


def run_levels(trend: Trend) -> DrawnFigure | SkippedFigure:
    """Draws a panel for each metric: each model's median with its 95 % interval over the runs' starts; marks shifts."""
    return themed_figure("run-levels", "Levels over the runs", lambda: _levels(trend))


def _levels(trend: Trend) -> FigureDraft | str:
    panels = list(
        dict.fromkeys(
            (level.metric, level.statistic)
            for level in trend.levels
            if any(each.value is not None for each in level.estimates)
        )
    )
    if not panels:
        return "no run has a known level"
    at = np.array([one.header.wall_ns / NS / DAY_S for one in trend.points])
    models = list(dict.fromkeys(level.model for level in trend.levels))
    latest = {
        level.model: value
        for level in trend.levels
        if (level.metric, level.statistic) == panels[0] and (value := _last(level)) is not None
    }
    shown = style.in_focus(latest)
    sheet, axes = style.sheet(1.75 * len(panels) + 0.3, nrows=len(panels), sharex=True, squeeze=False)
    for one, panel in zip(axes[:, 0], panels, strict=True):
        mine = [level for level in trend.levels if (level.metric, level.statistic) == panel]
        ends = [end for level in mine for each in level.estimates for end in _finite(each.value, each.low, each.high)]
        log = style.scale(one, "y", ends)
        for level in sorted(mine, key=lambda level: level.model in shown):
            aside = _aside(at, shown, level.model)
            _course(one, level, at + aside, SeriesStyle.of(models.index(level.model)), in_colour=level.model in shown)
        one.set_ylabel(style.unit(f"{_NAMES[panel[0]]} {panel[1]}, ms", log=log))
    _dates(axes[-1, 0], at)
    names = labels(models)
    looks = [SeriesStyle.of(models.index(model)) for model in shown]
    marks = [Line2D([], [], color=style.INK[0], **_SHIFT)]
    style.key(sheet, [*(look.line() for look in looks), *marks], [*(names[model] for model in shown), "shift"])
    return FigureDraft(
        sheet,
        _levels_sentence(trend),
        "Panels, one for each metric, with a line for each model over the runs by their start.",
        "Mark: a run's median; bar: its 95 % interval where there is one. Diamond: the level changed and stayed."
        + ("" if len(shown) == len(latest) else " In colour: the models with the lowest and the highest latest median.")
        + (
            f" Left out, as measured differently from the newest: {counted(len(trend.left_out), 'run')}."
            if trend.left_out
            else ""
        ),
    )


def _last(level: Level) -> float | None:
    return next((each.value for each in reversed(level.estimates) if each.value is not None), None)


def _aside(at: Any, shown: Sequence[str], model: str) -> float:
    """Returns the model's horizontal offset in days, so that the bars of models do not overlap; 0 for grey models."""
    if model not in shown:
        return 0.0
    return float(at.max() - at.min()) * 0.004 * (shown.index(model) - (len(shown) - 1) / 2)


def _course(axes: Axes, level: Level, at: Any, look: SeriesStyle, *, in_colour: bool) -> None:
    """Draws one model: a line through its known medians, a bar for each interval, and a mark for each shift."""
    ends = np.array([[each.value, each.low, each.high] for each in level.estimates], dtype=float)
    known, bounded = np.isfinite(ends[:, 0]), np.isfinite(ends).all(axis=1)
    colour, marker, width = (look.colour, look.marker, 1.4) if in_colour else (style.REST[0], "", 0.8)
    line = {"color": colour, "linestyle": look.dash, "marker": marker, "markersize": 4, "linewidth": width}
    axes.plot(at[known], ends[known, 0], label=level.model, zorder=3 if in_colour else 1, **line)
    if in_colour:
        axes.vlines(at[bounded], ends[bounded, 1], ends[bounded, 2], color=colour, linewidth=1, zorder=2)
    moved = [shift.at for shift in level.shifts]
    axes.plot(at[moved], ends[moved, 0], color=style.INK[0], zorder=4, **_SHIFT)


def _dates(axes: Axes, at: Any) -> None:
    room = 0.04 * float(at.max() - at.min()) or 0.5
    axes.set_xlim(float(at.min()) - room, float(at.max()) + room)
    untyped: Any = dates
    locator = untyped.AutoDateLocator(tz=UTC, minticks=2, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator, tz=UTC))
    axes.set_xlabel("start of the run, UTC")


def _levels_sentence(trend: Trend) -> str:
    texts: Mapping[str, None] = dict.fromkeys(
        f"{_NAMES[level.metric]} of {label(level.model)} "
        f"from {three_digits(shift.before)} to {three_digits(shift.after)} ms"
        for level in trend.levels
        for shift in level.shifts
    )
    runs = counted(len(trend.points), "run")
    return (
        f"Over {runs} these levels shifted: {listed(list(texts), 4)}."
        if texts
        else f"Over {runs} there is no significant shift."
    )
