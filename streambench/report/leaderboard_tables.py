"""The tables of the page and of Markdown as cells: text, interval, and the value to sort by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from streambench.analysis.leaderboard import Leaderboard, LeaderboardRow
from streambench.analysis.stats.estimates import Estimate, Share, share
from streambench.analysis.stats.number_format import shown as shown_digits
from streambench.analysis.stats.paired import Comparison
from streambench.analysis.stats.throughput import Throughput, good_requests, throughput
from streambench.metrics.assertions import AssertionTextError, parse_all
from streambench.metrics.cost import usd
from streambench.metrics.definitions import BY_COLUMN
from streambench.text import DASH, count, number, percent

if TYPE_CHECKING:
    from streambench.analysis.frames import Frame
    from streambench.analysis.run import Run
    from streambench.records.schema import RunHeader

IN_MATRIX = 12
"""Models in a matrix at most; if there are more, those with the best ranks."""


@dataclass(frozen=True, slots=True)
class Cell:
    """`text` with its `aside` (the interval, or what is missing). Tables sort by `value`; cells with None come last."""

    text: str
    aside: str = ""
    value: float | None = None


def estimate_cell(found: Estimate, resolution: float | None) -> Cell:
    """Returns the estimate without its unit, which is in the column's head.

    Digits below `resolution` are not shown. Infinity, which means that too many requests failed, is "never".
    """
    text, _, aside = shown_digits(found, "", resolution).partition("(")
    text, aside = text.strip(), aside.removesuffix(")").strip()
    if found.value is None:
        return Cell(text, aside)
    if math.isinf(found.value):
        return Cell("never", "too many failed", math.inf)
    return Cell(text, aside or "no interval", found.value)


def leaderboard(board: Leaderboard, colours: Mapping[str, str]) -> dict[str, Any]:
    """Returns the leaderboard's heads and rows, ordered by TTFT rank; models without a rank come last.

    `colours` maps a model to its colour in the figures.
    """
    places = {place.model: place for place in board.places("ttft_ms")}
    order = [*places, *(row.name for row in board.rows if row.name not in places)]
    called, formed = (any(getattr(row.facts, name) for row in board.rows) for name in ("called", "formed"))
    return {
        "heads": [column.head for column in board.columns],
        "keys": [column.key for column in board.columns],
        "form": [head for head, has in (("tool called", called), ("JSON valid", formed)) if has],
        "priced": any(_cost(row).value is not None for row in board.rows),
        "rows": [
            {
                "row": row,
                "colour": colours.get(row.model.model, "#57606a"),
                "place": places[name].shown if name in places else DASH,
                "order": position,
                "ok": _ok(row),
                "cells": [estimate_cell(row.estimates[c.key], board.resolution(c.metric, row)) for c in board.columns],
                "form": [_part_cell(of) for of, has in ((row.facts.called, called), (row.facts.formed, formed)) if has],
                "cost": _cost(row),
                "per_1k": _per_1k(row),
            }
            for position, name in enumerate(order)
            for row in [board.row(name)]
        ],
    }


def _ok(row: LeaderboardRow) -> Cell:
    return share_cell(share(row.model.ok, row.model.requests))


def _part_cell(of: tuple[int, int] | None) -> Cell:
    """Returns the share (part, whole) as a cell; a dash if no request asked for it."""
    return Cell(DASH, "not asked") if of is None else share_cell(share(*of))


def _per_1k(row: LeaderboardRow) -> Cell:
    value = row.model.cost_usd.per_1k_output_tok
    return Cell(usd(value), value=value)


def share_cell(found: Share) -> Cell:
    """Returns the share as `46/50`, with its interval in percent."""
    if found.value is None or found.low is None or found.high is None:
        return Cell("0/0", "none measured", None)
    return Cell(
        f"{found.k}/{found.n}", f"{percent(found.low)} to {percent(found.high)}".replace(" %", "\u00a0%"), found.value
    )


def _cost(row: LeaderboardRow) -> Cell:
    cost = row.model.cost_usd
    if cost.priced is not None:
        more = f"{cost.attempts_unpriced} unknown" if cost.attempts_unpriced else ""
        return Cell(f"{'>= ' if cost.attempts_unpriced else ''}{usd(cost.priced)}", more, cost.priced)
    return Cell(DASH if cost.stated is None else usd(cost.stated), "" if cost.stated is None else "stated", cost.stated)


# --- pairs


def matrices(board: Leaderboard) -> list[dict[str, Any]]:
    """Returns a matrix for each compared metric that ranks two or more models: the row's model against the column's."""
    found = []
    for metric in board.comparisons:
        names = [place.model for place in board.places(metric)]
        shown = names[:IN_MATRIX]
        if len(shown) < 2:
            continue
        found.append(
            {
                "metric": metric,
                "label": BY_COLUMN[metric].label,
                "unit": BY_COLUMN[metric].unit,
                "names": shown,
                "of": len(names),
                "better": board.comparisons[metric][0].better,
                "rows": [(one, [_versus(board, metric, one, other) for other in shown]) for one in shown],
            }
        )
    return found


def _versus(board: Leaderboard, metric: str, one: str, other: str) -> dict[str, str] | None:
    pair = board.between(metric, one, other) if one != other else None
    if pair is None:
        return None
    turned = pair.a != one
    difference = _turned(pair.difference) if turned else pair.difference
    cell = estimate_cell(difference, board.resolution(metric, board.row(one)))
    sign = "+" if (difference.value or 0) > 0 else ""
    won = pair.lost if turned else pair.won
    verdict = "unsure" if pair.winner is None else "better" if pair.winner == one else "worse"
    return {
        "text": f"{sign}{cell.text}",
        "aside": cell.aside,
        "won": f"better on {won.k} of {won.n} prompts" if won.n else "no prompt in common",
        "verdict": verdict,
        "word": {
            "unsure": "no significant difference",
            "better": "significantly better",
            "worse": "significantly worse",
        }[verdict],
        "p": _p(pair),
    }


def _turned(found: Estimate) -> Estimate:
    value, low, high = (None if end is None else -end for end in (found.value, found.high, found.low))
    return replace(found, value=value, low=low, high=high)


def _p(pair: Comparison) -> str:
    if pair.p_holm is None:
        return ""
    return "p < 0.001" if pair.p_holm < 0.001 else f"p = {pair.p_holm:.3f}"


# --- usage


def usage_rows(board: Leaderboard, run: Run) -> list[dict[str, Any]]:
    """Returns each model's tokens, cost and throughput over the measured window, and its share of good requests.

    The window is that of all models' requests in the segment (part of a run) where the model's requests are. Rates are
    unknown for a model whose requests are in several segments.
    """
    requests = run.requests
    measured = requests[~requests["warmup"].astype(bool)]
    starts, ends = _times_ms(measured)
    tokens = measured["output_tokens"].to_numpy(dtype=float, na_value=math.nan)
    segments = measured["segment"].to_numpy(dtype=int)
    limits = objective(run.header)
    good = good_requests(measured["outcome"] == "ok", {name: measured[name] for name in limits}, limits)
    rows = []
    for row in board.rows:
        mine = (measured["model"] == row.model.model).to_numpy(dtype=bool)
        # Clocks of two segments cannot be compared.
        here = segments == segments[mine][0] if len(set(segments[mine])) == 1 else None
        window = None if here is None else (float(starts[here].min()), float(ends[here].max()))
        rates = throughput(starts[mine], ends[mine], tokens[mine], good[mine], window) if window else None
        usage, cost = row.model.usage, row.model.cost_usd
        rows.append(
            {
                "name": row.name,
                "tokens": [count(n) for n in (usage.input, usage.output, usage.reasoning, usage.cached)],
                "unknown": f"{usage.attempts_unknown} of {row.model.attempts}",
                "priced": _cost(row) if cost.priced is not None else Cell(DASH),
                "stated": usd(cost.stated),
                "per_request": usd(cost.per_request),
                "per_1k": usd(cost.per_1k_output_tok),
                "per_session": usd(cost.per_session),
                "request_s": number(rates.request_s if rates else None),
                "token_s": _token_rate(rates),
                "good": share_cell(share(int(good[mine].sum()), row.asked)),
                "goodput": number(rates.goodput if rates else None),
            }
        )
    return rows


def _times_ms(requests: Frame) -> tuple[Any, Any]:
    """Returns starts and ends in ms, two arrays (n,); only times of one segment are on the same clock."""
    starts, took = (
        requests[name].to_numpy(dtype=float, na_value=math.nan) / 1e6 for name in ("start_at_ns", "ended_ns")
    )
    return starts, starts + took


def _token_rate(rates: Throughput | None) -> str:
    if rates is None or rates.system_tok_s is None:
        return DASH
    return f"{'>= ' if rates.tokens_unknown else ''}{number(rates.system_tok_s)}"


def objective(header: RunHeader) -> Mapping[str, float]:
    """Returns the limits of a good request by column, in ms: those of the `goodput` assertion in the run's config.

    Empty if the config has no such assertion or its assertions cannot be parsed.
    """
    try:
        stated, _ = parse_all(header.config.get("assertions") or {})
    except AssertionTextError:
        return {}
    return next((each.limits for each in stated if each.kind == "goodput"), {})


def objective_text(header: RunHeader) -> str:
    """Returns the objective in words: `TTFT up to 800 ms and E2E up to 5000 ms`; "" if there is none."""
    return " and ".join(f"{BY_COLUMN[name].label} up to {limit:g} ms" for name, limit in objective(header).items())
