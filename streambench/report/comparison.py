"""A comparison of runs drawn: for the terminal, as Markdown for a pull request, as plain JSON data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from streambench.documents import shown
from streambench.metrics import METRICS
from streambench.report.grid import Grid, folded, markdown_text
from streambench.stats import Change
from streambench.verdicts import Difference, ErrorChange, RunsCompared, sentence, signed
from streambench.words import DASH, inert, number

SCHEMA = 1
"""1 (2026-11): first schema of `compare --format json`."""
UNLIKE = "these runs are not alike, so a change may have another cause than the models:"
_HEAD = ("model", "metric", "base", "new", "change", "95 % interval", "")


def compared_terminal(compared: RunsCompared, width: int) -> str:
    parts = [folded(line, width) for line in _top(compared)]
    parts.append("\n")
    parts.append(changes_grid(compared).terminal(width))
    parts.append("\n")
    parts += [folded(line, width) for line in (*sentences(compared), *remarks(compared))]
    return "".join(parts)


def compared_markdown(compared: RunsCompared) -> str:
    top = "".join(f"{markdown_text(line)}\n\n" for line in _top(compared))
    bottom = "".join(f"- {markdown_text(line)}\n" for line in (*sentences(compared), *remarks(compared)))
    return f"### Comparison of runs\n\n{top}{changes_grid(compared).markdown()}\n{bottom}"


def compared_plain(compared: RunsCompared) -> dict[str, Any]:
    """As JSON data; unknown is null, a ratio is new / base."""
    return {
        "schema": SCHEMA,
        "base": compared.base,
        "new": compared.new,
        "unlike": [asdict(each) for each in compared.unlike],
        "incomplete": list(compared.incomplete),
        "changes": [_plain_change(each) for each in compared.changes],
        "errors": [asdict(each) for each in compared.errors],
        "only_in": {run: list(models) for run, models in compared.only_in.items()},
        "notes": list(compared.notes),
        "client_lag_ms": compared.lag_ms,
        "sentences": {model: sentence(compared, model) for model in compared.models},
    }


def unlike_lines(unlike: Sequence[Difference]) -> list[str]:
    """`load.concurrency: 4 then, 8 now`, each inert on one line."""
    return [inert(f"{each.field}: {_value(each.base)} then, {_value(each.new)} now", 240) for each in unlike]


def _value(value: Any) -> str:
    return "nothing" if value in (None, {}, [], "") else shown(value)


def _top(compared: RunsCompared) -> Iterator[str]:
    yield f"{compared.new} against {compared.base}"
    if compared.unlike:
        yield f"WARNING: {UNLIKE}"
        yield from unlike_lines(compared.unlike)
    for line in compared.incomplete:
        yield f"WARNING: incomplete: {line}"


def sentences(compared: RunsCompared) -> list[str]:
    """One on each model that is in both runs."""
    return [sentence(compared, model) for model in compared.models] or ["no model is in both runs"]


def remarks(compared: RunsCompared) -> Iterator[str]:
    """What is to be known beside the changes."""
    for run, models in compared.only_in.items():
        if models:
            yield f"only in {run}: {', '.join(models)}"
    yield from compared.notes
    if compared.lag_ms is not None:
        lag = number(compared.lag_ms)
        yield f"No time that moved by less than the client's own lag, {lag} ms (p99), is called better or worse."


def changes_grid(compared: RunsCompared) -> Grid:
    rows = [
        row
        for each in compared.errors
        for row in (*(_row(compared, one) for one in compared.of(each.model)), _error_row(each))
    ]
    named = [row if place == 0 or row[0] != rows[place - 1][0] else ("", *row[1:]) for place, row in enumerate(rows)]
    return Grid(_HEAD, tuple(named), right=frozenset({2, 3, 4}))


def _row(compared: RunsCompared, change: Change) -> tuple[str, ...]:
    metric = next(one for one in METRICS if one.column == change.metric)
    name = f"{metric.label} {change.statistic}, {metric.unit}"
    ratio = change.ratio
    moved = DASH if ratio.value is None else _signed(ratio.value, ratio.low, ratio.high)
    if ratio.value is None or ratio.low is None or ratio.high is None:
        ends = f"needs {ratio.interval_needs}" if ratio.interval_needs else DASH
    else:
        places = _places(ratio.low, ratio.high)
        ends = f"{signed(ratio.low, places)} to {signed(ratio.high, places)} %"
    return change.model, name, number(change.base), number(change.new), moved, ends, _mark(compared, change)


def _error_row(each: ErrorChange) -> tuple[str, ...]:
    base, new = (f"{one.k}/{one.n}" for one in (each.base, each.new))
    if each.difference is None or each.low is None or each.high is None:
        return each.model, "failed requests", base, new, DASH, DASH, ""
    mark = ("worse" if each.difference > 0 else "better") if each.certain else ""
    ends = f"{100 * each.low:+.1f} to {100 * each.high:+.1f} points"
    return each.model, "failed requests", base, new, f"{100 * each.difference:+.1f} points", ends, mark


def _mark(compared: RunsCompared, change: Change) -> str:
    if change.ratio.value is None or not compared.shown(change):
        return ""
    return "worse" if (change.ratio.value > 1) == (change.better == "lower") else "better"


def _signed(value: float, low: float | None, high: float | None) -> str:
    return f"{signed(value, 1 if low is None or high is None else _places(low, high))} %"


def _places(low: float, high: float) -> int:
    return 1 if 100 * (high - low) < 10 else 0


def _plain_change(change: Change) -> dict[str, Any]:
    ratio = change.ratio
    return {
        "model": change.model,
        "metric": change.metric,
        "statistic": change.statistic,
        "base": change.base,
        "new": change.new,
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "prompts": ratio.clusters,
        "interval_needs": ratio.interval_needs or None,
        "p": change.p,
        "p_holm": change.p_holm,
    }
