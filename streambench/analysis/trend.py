"""Follows each model's metrics over many runs of one config, and finds the runs at which they shifted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.analysis.comparability import differences
from streambench.analysis.compare import ALPHA, status_of
from streambench.analysis.measured import ModelRequests
from streambench.analysis.run import requests_by_model
from streambench.analysis.stats.changes import Shift, shifts
from streambench.analysis.stats.estimates import Estimate, estimate, sample
from streambench.metrics.definitions import METRICS, Metric
from streambench.metrics.quantiles import Statistic
from streambench.records.schema import RunHeader

if TYPE_CHECKING:
    from streambench.analysis.run import Run

FOLLOWED: tuple[tuple[str, Statistic], ...] = (("ttft", "p50"), ("tpot", "p50"), ("e2e", "p50"))
FEWEST = 8
"""Number of runs below which no shift can be shown."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run in a trend. `estimates` are keyed by (model, the metric's column, statistic)."""

    run: str
    header: RunHeader
    status: str
    estimates: Mapping[tuple[str, str, Statistic], Estimate]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """One statistic of one model's metric over the runs, oldest first: an estimate per run, and the shifts.

    The estimate has n=0 if the run has no value. `at` of a shift is an index into the points of the trend; runs without
    a value are skipped when shifts are searched.
    """

    model: str
    metric: str
    statistic: Statistic
    estimates: tuple[Estimate, ...]
    shifts: tuple[Shift, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """Comparable runs, oldest first, and each model's levels, with models in the order of the newest run."""

    points: tuple[Point, ...]
    levels: tuple[Level, ...]
    left_out: Mapping[str, str]
    """By run that is not comparable with the newest: the fields that differ."""

    @property
    def by_chance(self) -> float:
        """The expected number of false shifts if nothing changed: ALPHA for each level with at least FEWEST values."""
        tried = [level for level in self.levels if sum(each.value is not None for each in level.estimates) >= FEWEST]
        return ALPHA * len(tried)


def point_of(run: Run) -> Point:
    """Returns the estimates of one run for a trend; the run's records are not needed afterwards."""
    answers = requests_by_model(run)
    found = {
        (model, metric.column, statistic): estimate(sample(*each.values(metric)), statistic)
        for model, each in answers.items()
        for metric, statistic in _followed()
    }
    return Point(run.path.name, run.header, status_of(run), found, tuple(answers))


def trend(points: Iterable[Point]) -> Trend:
    """Returns the trend over the runs that are comparable with the newest; the others are in `left_out`.

    Raises ValueError if there are no points.
    """
    ordered = sorted(points, key=lambda point: (point.header.wall_ns, point.run))
    if not ordered:
        raise ValueError("no runs")
    newest = ordered[-1]
    unlike = {
        point.run: ", ".join(each.field for each in differences(point.header, newest.header)) for point in ordered
    }
    kept = tuple(point for point in ordered if not unlike[point.run])
    models = dict.fromkeys(model for point in reversed(kept) for model in point.models)
    levels = [_level(model, metric, statistic, kept) for model in models for metric, statistic in _followed()]
    return Trend(kept, tuple(levels), {run: fields for run, fields in unlike.items() if fields})


def _level(model: str, metric: Metric, statistic: Statistic, points: Sequence[Point]) -> Level:
    nothing = estimate(sample(*ModelRequests(model).values(metric)), statistic)
    found = tuple(point.estimates.get((model, metric.column, statistic), nothing) for point in points)
    known = [(at, each.value) for at, each in enumerate(found) if each.value is not None]
    moved = shifts([value for _, value in known])
    placed = tuple(Shift(known[one.at][0], one.before, one.after, one.p) for one in moved)
    return Level(model, metric.column, statistic, found, placed)


def _followed() -> list[tuple[Metric, Statistic]]:
    by_name = {metric.name: metric for metric in METRICS}
    return [(by_name[name], statistic) for name, statistic in FOLLOWED]
