"""A comparison of two runs as terminal text, as Markdown for a pull request, and as JSON data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from streambench.analysis.comparability import Difference
from streambench.analysis.compare import ErrorChange, RunsCompared, sentence
from streambench.analysis.stats.changes import Change
from streambench.analysis.stats.number_format import change_places
from streambench.metrics.definitions import BY_COLUMN
from streambench.report.text_table import Grid, folded
from streambench.text import DASH, for_markdown, for_terminal, number, percent_change, shown

SCHEMA = 1
"""1 (2026-11): first schema of `compare --format json`."""
UNLIKE = "these runs were measured differently, so a change may have another cause than the models:"
_HEAD = ("model", "metric", "base", "new", "change", "95 % interval", "")


def compared_terminal(compared: RunsCompared, width: int) -> str:
    """Returns warnings, the table of changes, a sentence for each model, and remarks, as plain text."""
    parts = [folded(line, width) for line in _top(compared)]
    parts.append("\n")
    parts.append(changes_grid(compared).terminal(width))
    parts.append("\n")
    parts += [folded(line, width) for line in (*sentences(compared), *remarks(compared))]
    return "".join(parts)


def compared_markdown(compared: RunsCompared) -> str:
    """Returns the same as `compared_terminal`, as Markdown with a heading."""
    top = "".join(f"{for_markdown(line)}\n\n" for line in _top(compared))
    bottom = "".join(f"- {for_markdown(line)}\n" for line in (*sentences(compared), *remarks(compared)))
    return f"### Comparison of runs\n\n{top}{changes_grid(compared).markdown()}\n{bottom}"


def compared_plain(compared: RunsCompared) -> dict[str, Any]:
    """Returns the comparison as JSON data; unknown values are null, a ratio is new / base."""
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
    """Returns one printable line for each difference: `load.concurrency: 4 then, 8 now`."""
    return [for_terminal(f"{each.field}: {_value(each.base)} then, {_value(each.new)} now", 240) for each in unlike]


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
    """Returns one sentence for each model that is in both runs, or one that says there is no such model."""
    return [sentence(compared, model) for model in compared.models] or ["no model is in both runs"]


def remarks(compared: RunsCompared) -> Iterator[str]:
    """Yields models that are in one run only, notes on the runs, and the client lag, below which no change counts."""
    for run, models in compared.only_in.items():
        if models:
            yield f"only in {run}: {', '.join(models)}"
    yield from compared.notes
    if compared.lag_ms is not None:
        lag = number(compared.lag_ms)
        yield f"A time that changed by less than the client lag, {lag} ms (p99), is not called better or worse."


def changes_grid(compared: RunsCompared) -> Grid:
    """Returns a table with a row for each model and metric, and one for the model's failed requests.

    A model's name is only in its first row.
    """
    rows = [
        row
        for each in compared.errors
        for row in (*(_row(compared, one) for one in compared.of(each.model)), _error_row(each))
    ]
    named = [row if place == 0 or row[0] != rows[place - 1][0] else ("", *row[1:]) for place, row in enumerate(rows)]
    return Grid(_HEAD, tuple(named), right=frozenset({2, 3, 4}))


def _row(compared: RunsCompared, change: Change) -> tuple[str, ...]:
    name = BY_COLUMN[change.metric].head(change.statistic)
    ratio = change.ratio
    if ratio.value is None or ratio.low is None or ratio.high is None:
        moved = DASH if ratio.value is None else percent_change(ratio.value - 1)
        ends = f"needs {ratio.interval_needs}" if ratio.interval_needs else DASH
    else:
        places = change_places(ratio.low, ratio.high)
        moved, low, high = (percent_change(end - 1, places) for end in (ratio.value, ratio.low, ratio.high))
        ends = f"{low.removesuffix(' %')} to {high}"
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
