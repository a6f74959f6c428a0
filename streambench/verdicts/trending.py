"""Many runs of one config: each model's level in each metric, run by run, and where it shifted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.assertions import Statistic
from streambench.metrics import METRICS, Metric
from streambench.records import RunHeader
from streambench.stats import Estimate, Shift, estimate, sample, shifts
from streambench.verdicts.answers import Answers, answers_of
from streambench.verdicts.comparing import ALPHA, status_of
from streambench.verdicts.likeness import differences

if TYPE_CHECKING:
    from streambench.results import Run

FOLLOWED: tuple[tuple[str, Statistic], ...] = (("ttft", "p50"), ("tpot", "p50"), ("e2e", "p50"))
FEWEST = 8
"""Runs, below which no shift can be shown."""


@dataclass(frozen=True, slots=True)
class Point:
    """What is kept of a run: `estimates` by (model, metric's column, statistic)."""

    run: str
    header: RunHeader
    status: str
    estimates: Mapping[tuple[str, str, Statistic], Estimate]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """One model's metric over the runs, oldest first: an estimate for each run (n=0 where there is none), and shifts.

    `at` of a shift counts the points of the trend; a run without a number is passed over.
    """

    model: str
    metric: str
    statistic: Statistic
    estimates: tuple[Estimate, ...]
    shifts: tuple[Shift, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """Runs alike, oldest first, and each model's levels, in the newest run's order of models."""

    points: tuple[Point, ...]
    levels: tuple[Level, ...]
    left_out: Mapping[str, str]
    """By run: the fields in which it is unlike the newest."""

    @property
    def by_chance(self) -> float:
        """How many shifts are to be expected where nothing has changed."""
        tried = [level for level in self.levels if sum(each.value is not None for each in level.estimates) >= FEWEST]
        return ALPHA * len(tried)


def point_of(run: Run) -> Point:
    """A run's levels; its records need not be kept."""
    answers = answers_of(run)
    found = {
        (model, metric.column, statistic): estimate(sample(*each.values(metric)), statistic)
        for model, each in answers.items()
        for metric, statistic in _followed()
    }
    return Point(run.path.name, run.header, status_of(run), found, tuple(answers))


def trend(points: Iterable[Point]) -> Trend:
    """Of the runs that are alike with the newest; the others are named. Raises ValueError where there is none."""
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
    nothing = estimate(sample(*Answers(model, (), ()).values(metric)), statistic)
    found = tuple(point.estimates.get((model, metric.column, statistic), nothing) for point in points)
    known = [(at, each.value) for at, each in enumerate(found) if each.value is not None]
    moved = shifts([value for _, value in known])
    placed = tuple(Shift(known[one.at][0], one.before, one.after, one.p) for one in moved)
    return Level(model, metric.column, statistic, found, placed)


def _followed() -> list[tuple[Metric, Statistic]]:
    by_name = {metric.name: metric for metric in METRICS}
    return [(by_name[name], statistic) for name, statistic in FOLLOWED]
