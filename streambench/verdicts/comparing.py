"""Two runs compared: each model's change in each metric, paired by prompt, with intervals, and a sentence of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.assertions import Statistic
from streambench.metrics import METRICS, Metric
from streambench.stats import Change, Share, change, corrected_changes, share
from streambench.verdicts.answers import Answers, answers_of
from streambench.verdicts.likeness import Difference, differences, notes

if TYPE_CHECKING:
    from streambench.results import Run

COMPARED: tuple[tuple[str, Statistic], ...] = (
    ("ttft", "p50"),
    ("ttft", "p95"),
    ("tpot", "p50"),
    ("e2e", "p50"),
    ("e2e", "p95"),
)
ALPHA = 0.05
_ONE_STAMP = frozenset(
    {
        "ttfb_ms",
        "ttfc_ms",
        "ttft_ms",
        "ttfa_ms",
        "tool_name_ms",
        "tool_call_ms",
        "json_ms",
        "e2e_ms",
        "stream_end_ms",
        "response_time_ms",
    }
)
"""Metrics that end at one stamp, which our lag can move; in TPOT it is spread over all tokens."""


@dataclass(frozen=True, slots=True)
class ErrorChange:
    """The share of a model's requests that failed, in both runs; the difference new - base with its 95 % interval."""

    model: str
    base: Share
    new: Share
    difference: float | None
    low: float | None
    high: float | None

    @property
    def certain(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class RunsCompared:
    """A run against its base. `changes` has a row for each model of both and each of COMPARED, in the base's order."""

    base: str
    new: str
    unlike: tuple[Difference, ...]
    incomplete: tuple[str, ...]
    """The runs that did not come to their end, each with its status."""
    changes: tuple[Change, ...]
    errors: tuple[ErrorChange, ...]
    only_in: Mapping[str, tuple[str, ...]]
    """By run: the models that the other one lacks."""
    notes: tuple[str, ...]
    lag_ms: float | None = None
    """The larger of the two runs' client lag (p99): a smaller change in ms may be our own."""

    def shown(self, change: Change) -> bool:
        """Whether a change is certain, corrected for all of them, and larger than our own lag."""
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
    """Whatever differs between them: `unlike` says what, and the caller whether that is refused."""
    then, now = answers_of(base), answers_of(new)
    both = [model for model in then if model in now]
    pairs = [(then[model], now[model]) for model in both]
    wanted = [(_metric(name), statistic) for name, statistic in COMPARED]
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
    """Their folders' names, or the whole paths where those are the same."""
    names = (base.path.name or base.header.run_id, new.path.name or new.header.run_id)
    return names if names[0] != names[1] else (str(base.path), str(new.path))


def changes_of(pairs: Sequence[tuple[Answers, Answers]], wanted: Iterable[tuple[Metric, Statistic]]) -> list[Change]:
    """The change of each pair (base, new) of a model in each metric, corrected for all of them together."""
    asked = list(wanted)
    return corrected_changes(
        change(base.values(metric), new.values(metric), new.model, metric.column, statistic, metric.better or "lower")
        for base, new in pairs
        for metric, statistic in asked
    )


def status_of(run: Run) -> str:
    """As its end says; `unfinished` if it was killed or still goes on."""
    return run.end.status if run.end is not None else "unfinished"


def sentence(compared: RunsCompared, model: str) -> str:
    """One sentence on a model: what changed for certain; else that nothing can be shown, and how far that reaches."""
    found = compared.of(model)
    (errors,) = [each for each in compared.errors if each.model == model]
    told = [_told(each) for each in found if compared.shown(each)]
    if errors.certain and errors.difference is not None:
        word = "more" if errors.difference > 0 else "fewer"
        told.append(f"{abs(100 * errors.difference):.1f} points {word} requests failed")
    if told:
        return f"{model}: {'; '.join(told)}"
    first = next((each for each in found if each.ratio.bounded), None)
    if first is None:
        needs = next((each.ratio.interval_needs for each in found if each.ratio.interval_needs), "answers in both runs")
        return f"{model}: nothing can be said of a change; that takes {needs}"
    tiny = any(each.p_holm is not None and each.p_holm < ALPHA for each in found)
    what = "no change larger than the client's own lag" if tiny else "no change can be shown"
    return f"{model}: {what}: {label(first)} {percent(first)}"


def label(change: Change) -> str:
    """`TTFT p50`."""
    metric = next(one for one in METRICS if one.column == change.metric)
    return f"{metric.label} {change.statistic}"


def percent(change: Change) -> str:
    """`+15.2 % (95 % interval +12.3 to +18.0)`."""
    ratio = change.ratio
    if ratio.value is None:
        return f"unknown (needs {ratio.interval_needs})" if ratio.interval_needs else "unknown"
    if ratio.low is None or ratio.high is None or math.isinf(ratio.high):
        return f"{signed(ratio.value, 1)} % (an interval needs {ratio.interval_needs})"
    places = 1 if ratio.high - ratio.low < 0.1 else 0
    value, low, high = (signed(end, places) for end in (ratio.value, ratio.low, ratio.high))
    return f"{value} % (95 % interval {low} to {high})"


def signed(ratio: float, places: int) -> str:
    """`+15.2` for 1.152; never `-0.0`."""
    return f"{round(100 * (ratio - 1), places) + 0.0:+.{places}f}"


def _told(change: Change) -> str:
    ratio = change.ratio.value or 1.0
    worse = (ratio > 1) == (change.better == "lower")
    return f"{label(change)} is {'worse' if worse else 'better'}: {percent(change)}, on {change.ratio.clusters} prompts"


def _metric(name: str) -> Metric:
    return next(metric for metric in METRICS if metric.name == name)


def _error_change(base: Answers, new: Answers) -> ErrorChange:
    """Newcombe 1998 (Statistics in Medicine 17:873), method 10: from the two Wilson intervals."""
    one, other = share(base.failed, base.asked), share(new.failed, new.asked)
    ends = [end for each in (one, other) for end in (each.value, each.low, each.high) if end is not None]
    if len(ends) < 6:
        return ErrorChange(new.model, one, other, None, None, None)
    value, low, high, value_new, low_new, high_new = ends
    difference = value_new - value
    down = math.hypot(value_new - low_new, high - value)
    up = math.hypot(high_new - value_new, value - low)
    return ErrorChange(new.model, one, other, difference, difference - down, difference + up)
