"""Many runs of one config: each model's level in each metric, run by run, and where it shifted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.assertions import Statistic
from streambench.metrics import METRICS, Metric
from streambench.stats import Estimate, Shift, estimate, sample, shifts
from streambench.verdicts.answers import Answers, answers_of
from streambench.verdicts.likeness import differences

if TYPE_CHECKING:
    from streambench.results import Run

FOLLOWED: tuple[tuple[str, Statistic], ...] = (("ttft", "p50"), ("tpot", "p50"), ("e2e", "p50"))


@dataclass(frozen=True, slots=True)
class Level:
    """One model's metric over the runs, oldest first: an estimate for each run, and the shifts between them.

    `at` of a shift counts the runs of `trend`; a run without a number is passed over.
    """

    model: str
    metric: str
    statistic: Statistic
    estimates: tuple[Estimate, ...]
    shifts: tuple[Shift, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """Runs alike, oldest first, as (folder's name, start in ns of the wall clock)."""

    runs: tuple[tuple[str, int], ...]
    levels: tuple[Level, ...]
    left_out: Mapping[str, str]
    """Folder's name: the fields in which that run is unlike the newest."""


def trend(runs: Sequence[Run]) -> Trend:
    """Of the runs that are alike with the newest; the others are named. Raises ValueError where there is none."""
    if not runs:
        raise ValueError("no runs")
    ordered = sorted(runs, key=lambda run: (run.header.wall_ns, run.path.name))
    newest = ordered[-1]
    unlike = {
        run.path.name: ", ".join(each.field for each in differences(run.header, newest.header)) for run in ordered
    }
    kept = [run for run in ordered if not unlike[run.path.name]]
    answers = [answers_of(run) for run in kept]
    models = list(dict.fromkeys(model for each in reversed(answers) for model in each))
    levels = [_level(model, _metric(name), at, answers) for model in models for name, at in FOLLOWED]
    return Trend(
        runs=tuple((run.path.name, run.header.wall_ns) for run in kept),
        levels=tuple(levels),
        left_out={name: fields for name, fields in unlike.items() if fields},
    )


def _fields(run: Run, newest: Run) -> str:
    return ", ".join(each.field for each in differences(run.header, newest.header))


def _level(model: str, metric: Metric, statistic: Statistic, answers: Sequence[Mapping[str, Answers]]) -> Level:
    found = [estimate(sample(*each.get(model, Answers(model, (), ())).values(metric)), statistic) for each in answers]
    known = [(at, each.value) for at, each in enumerate(found) if each.value is not None]
    moved = shifts([value for _, value in known])
    placed = tuple(Shift(known[one.at][0], one.before, one.after, one.p) for one in moved)
    return Level(model, metric.column, statistic, tuple(found), placed)


def _metric(name: str) -> Metric:
    return next(metric for metric in METRICS if metric.name == name)
