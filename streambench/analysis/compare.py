"""Compares two runs: each model's change in each metric, paired by prompt, with intervals, and as a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.analysis.comparability import Difference, differences, notes
from streambench.analysis.measured import ModelRequests
from streambench.analysis.run import requests_by_model
from streambench.analysis.stats.changes import Change, change, corrected_changes
from streambench.analysis.stats.estimates import Share, share
from streambench.analysis.stats.number_format import change_interval
from streambench.metrics.definitions import BY_COLUMN, METRICS, Metric
from streambench.metrics.quantiles import Statistic
from streambench.text import percent_change

if TYPE_CHECKING:
    from streambench.analysis.run import Run

COMPARED: tuple[tuple[str, Statistic], ...] = (
    ("ttft_ms", "p50"),
    ("ttft_ms", "p95"),
    ("tpot_ms", "p50"),
    ("e2e_ms", "p50"),
    ("e2e_ms", "p95"),
)
ALPHA = 0.05
_ONE_STAMP = frozenset(metric.column for metric in METRICS if metric.one_stamp)


@dataclass(frozen=True, slots=True)
class ErrorChange:
    """The share of a model's requests that failed in both runs, and the difference new - base with its 95 % interval.

    `difference`, `low` and `high` are None if a run has no requests of the model.
    """

    model: str
    base: Share
    new: Share
    difference: float | None
    low: float | None
    high: float | None

    @property
    def certain(self) -> bool:
        """True if the interval excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class RunsCompared:
    """A run compared with its base. `changes` has one entry per model in both runs and entry of COMPARED.

    Models are in the order of the base.
    """

    base: str
    new: str
    unlike: tuple[Difference, ...]
    incomplete: tuple[str, ...]
    """The runs that are not complete, each with its status."""
    changes: tuple[Change, ...]
    errors: tuple[ErrorChange, ...]
    only_in: Mapping[str, tuple[str, ...]]
    """By run: the models that only this run has."""
    notes: tuple[str, ...]
    lag_ms: float | None = None
    """The larger client lag (p99) of the two runs: a smaller change in ms may come from the client."""

    def shown(self, change: Change) -> bool:
        """True if the change is significant (Holm's p below ALPHA) and larger than the client lag.

        The lag only matters for metrics that end at one timestamp.
        """
        if change.p_holm is None or change.p_holm >= ALPHA:
            return False
        if self.lag_ms is None or change.base is None or change.ratio.value is None or change.metric not in _ONE_STAMP:
            return True
        return abs(change.ratio.value - 1) * change.base > self.lag_ms

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(each.model for each in self.errors)

    def of(self, model: str) -> list[Change]:
        return [each for each in self.changes if each.model == model]


def compare_runs(base: Run, new: Run) -> RunsCompared:
    """Compares two runs, even incomparable ones: `unlike` lists the differences, and the caller may refuse them."""
    then, now = requests_by_model(base), requests_by_model(new)
    both = [model for model in then if model in now]
    pairs = [(then[model], now[model]) for model in both]
    wanted = [(BY_COLUMN[column], statistic) for column, statistic in COMPARED]
    names = names_of(base, new)
    return RunsCompared(
        base=names[0],
        new=names[1],
        unlike=tuple(differences(base.header, new.header)),
        incomplete=tuple(
            f"{name}: {status_of(run)}"
            for name, run in zip(names, (base, new), strict=True)
            if status_of(run) != "complete"
        ),
        changes=tuple(changes_of(pairs, wanted)),
        errors=tuple(_error_change(one, other) for one, other in pairs),
        only_in={
            names[0]: tuple(model for model in then if model not in now),
            names[1]: tuple(model for model in now if model not in then),
        },
        notes=tuple(notes(base.header, new.header)),
        lag_ms=max((lag for lag in (base.lag_ms(), new.lag_ms()) if lag is not None), default=None),
    )


def names_of(base: Run, new: Run) -> tuple[str, str]:
    """Returns the names of the runs' folders, or the whole paths if the names are equal."""
    names = (base.path.name or base.header.run_id, new.path.name or new.header.run_id)
    return names if names[0] != names[1] else (str(base.path), str(new.path))


def changes_of(
    pairs: Sequence[tuple[ModelRequests, ModelRequests]], wanted: Iterable[tuple[Metric, Statistic]]
) -> list[Change]:
    """Returns the change of each (base, new) pair in each (metric, statistic), with Holm's correction over all."""
    asked = list(wanted)
    return corrected_changes(
        change(base.values(metric), new.values(metric), new.model, metric.column, statistic, metric.better or "lower")
        for base, new in pairs
        for metric, statistic in asked
    )


def status_of(run: Run) -> str:
    """Returns the status in the run's end; `unfinished` if the run was killed or is still running."""
    return run.end.status if run.end is not None else "unfinished"


def sentence(compared: RunsCompared, model: str) -> str:
    """Returns one sentence on a model: its significant changes, else that none can be shown, with the interval."""
    found = compared.of(model)
    (errors,) = [each for each in compared.errors if each.model == model]
    changes = [_change_text(each) for each in found if compared.shown(each)]
    if errors.certain and errors.difference is not None:
        word = "more" if errors.difference > 0 else "fewer"
        changes.append(f"{abs(100 * errors.difference):.1f} percentage points {word} requests failed")
    if changes:
        return f"{model}: {'; '.join(changes)}"
    first = next((each for each in found if each.ratio.bounded), None)
    if first is None:
        needs = next((each.ratio.interval_needs for each in found if each.ratio.interval_needs), "answers in both runs")
        return f"{model}: a change cannot be judged; that needs {needs}"
    tiny = any(each.p_holm is not None and each.p_holm < ALPHA for each in found)
    what = "no change larger than the client lag" if tiny else "no significant change"
    return f"{model}: {what}: {label(first)} {percent(first)}"


def label(change: Change) -> str:
    """Returns the metric and the statistic: `TTFT p50`."""
    return f"{BY_COLUMN[change.metric].label} {change.statistic}"


def percent(change: Change) -> str:
    """Returns the change in percent with its interval: `+15.2 % (95 % interval +12.3 to +18.0)`."""
    ratio = change.ratio
    if ratio.value is None:
        return f"unknown (needs {ratio.interval_needs})" if ratio.interval_needs else "unknown"
    if ratio.low is None or ratio.high is None or math.isinf(ratio.high):
        return f"{percent_change(ratio.value - 1)} (an interval needs {ratio.interval_needs})"
    return change_interval(ratio.value - 1, ratio.low - 1, ratio.high - 1)


def _change_text(change: Change) -> str:
    ratio = change.ratio.value or 1.0
    worse = (ratio > 1) == (change.better == "lower")
    return f"{label(change)} is {'worse' if worse else 'better'}: {percent(change)}, on {change.ratio.clusters} prompts"


def _error_change(base: ModelRequests, new: ModelRequests) -> ErrorChange:
    """Computes the interval of the difference from the two Wilson intervals.

    Newcombe 1998 (Statistics in Medicine 17:873), method 10.
    """
    one, other = share(base.failed, base.asked), share(new.failed, new.asked)
    ends = [end for each in (one, other) for end in (each.value, each.low, each.high) if end is not None]
    if len(ends) < 6:
        return ErrorChange(new.model, one, other, None, None, None)
    value, low, high, value_new, low_new, high_new = ends
    difference = value_new - value
    down = math.hypot(value_new - low_new, high - value)
    up = math.hypot(high_new - value_new, value - low)
    return ErrorChange(new.model, one, other, difference, difference - down, difference + up)
