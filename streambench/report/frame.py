"""A leaderboard and a comparison as pandas frames, and as the HTML tables that Jupyter shows."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from streambench.analysis.stats.number_format import shown
from streambench.text import DASH, count, for_html, percent_change

if TYPE_CHECKING:
    from streambench.analysis.compare import RunsCompared
    from streambench.analysis.frames import Frame
    from streambench.analysis.leaderboard import Leaderboard, LeaderboardRow
    from streambench.analysis.stats.estimates import Estimate

IN_HTML = ("ttft_ms:p50", "ttft_ms:p95", "chunk_gap_ms:p99", "output_tok_s:p50", "e2e_ms:p50")
"""The estimates that the table in a notebook shows, by `LeaderboardColumn.key`; the frame has all."""


def leaderboard_frame(board: Leaderboard) -> Frame:
    """Returns a frame with one row for each model, indexed by its name.

    Columns: requests, ok, failed, then value, low and high (95 % interval) of each estimate. NaN is unknown.
    """
    rows = [
        {"requests": row.model.requests, "ok": row.model.ok, "failed": row.failed}
        | {
            f"{_name(column.metric, column.statistic)}{end}": _or_nan(getattr(row.estimates[column.key], field))
            for column in board.columns
            for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        for row in board.rows
    ]
    index = pd.Index([row.model.model for row in board.rows], name="model", dtype="object")
    return pd.DataFrame(rows, index=index)


def _name(metric: str, statistic: str) -> str:
    """Returns the frame's column name, with the unit last: `ttft_p50_ms`, `output_p50_tok_s`."""
    for unit in ("_tok_s", "_ms"):
        if metric.endswith(unit):
            return f"{metric.removesuffix(unit)}_{statistic}{unit}"
    return f"{metric}_{statistic}"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def leaderboard_html(board: Leaderboard, status: str) -> str:
    """Returns the HTML table that a notebook shows for a run. Every text is escaped: gateways choose model names."""
    columns = [column for column in board.columns if column.key in IN_HTML]
    head = ["model", "requests ok", *(column.head for column in columns)]
    rows = [
        [row.name, f"{count(row.model.ok)} of {count(row.model.requests)}"]
        + [_cell(row.estimates[column.key], board, row, column.metric) for column in columns]
        for row in board.rows
    ]
    caption = f"{board.summary.run_id}: {status}. Values with their 95 % intervals; {DASH} is unknown."
    return _table(caption, head, rows)


def _cell(estimate: Estimate, board: Leaderboard, row: LeaderboardRow, metric: str) -> str:
    return " ".join(shown(estimate, "", board.resolution(metric, row)).split())  # the unit is in the column's head


def changes_frame(compared: RunsCompared) -> Frame:
    """Returns a frame with one row for each model and estimate, with the columns CHANGES.

    `ratio` is new / base; `ratio_low` and `ratio_high` are its 95 % interval; `p_holm` is corrected for all rows
    (Holm); `significant` is `RunsCompared.shown`. NaN is unknown.
    """
    rows = [
        {
            "model": change.model,
            "metric": change.metric,
            "statistic": change.statistic,
            "base": _or_nan(change.base),
            "new": _or_nan(change.new),
            "ratio": _or_nan(change.ratio.value),
            "ratio_low": _or_nan(change.ratio.low),
            "ratio_high": _or_nan(change.ratio.high),
            "p_holm": _or_nan(change.p_holm),
            "significant": compared.shown(change),
        }
        for change in compared.changes
    ]
    return pd.DataFrame(rows, columns=CHANGES)


CHANGES = [
    "model",
    "metric",
    "statistic",
    "base",
    "new",
    "ratio",
    "ratio_low",
    "ratio_high",
    "p_holm",
    "significant",
]


def changes_html(compared: RunsCompared) -> str:
    """Returns the HTML table that a notebook shows for a comparison, with every text escaped."""
    rows = [
        [
            for_html(change.model),
            f"{change.metric} {change.statistic}",
            _number(change.base),
            _number(change.new),
            _change(change.ratio.value),
            f"{_change(change.ratio.low)} to {_change(change.ratio.high)}",
            "yes" if compared.shown(change) else "no",
        ]
        for change in compared.changes
    ]
    head = ["model", "estimate", "base", "new", "change", "95 % interval", "significant"]
    return _table(f"{compared.base} (base) and {compared.new} (new)", head, rows)


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:,.4g}"


def _change(ratio: float | None) -> str:
    return percent_change(None if ratio is None else ratio - 1)


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    heads = "".join(f"<th>{html.escape(each)}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )
