"""The figure of conversations: TTFT by turn, which grows with the history that is sent."""

from __future__ import annotations

from collections.abc import Mapping
from math import lgamma, log
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from streambench.analysis.conversations import sessions_of
from streambench.report.figures import style
from streambench.report.figures.data import NO_OK, FigureData
from streambench.report.figures.figure import FigureDraft, figure
from streambench.report.figures.latency import greys, legend
from streambench.text import count, counted, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from streambench.analysis.frames import Frame

FEWEST = 6
"""Sessions of a turn needed for a 95 % interval of their median: with fewer, no two values bound it with 95 %."""
APART = 0.3
"""The share of the step between two turns over which the models' marks of one turn are spread."""

Levels = tuple["NDArray[np.int64]", "NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]
"""Turns from 1, and for each its median and the lower and upper end of its interval, NaN if unknown; each (turns,)."""


@figure("ttft-by-turn", "Time to the first token, by turn of the conversation")
def ttft_by_turn(material: FigureData) -> FigureDraft | str:
    """Draws each model's median TTFT in ms at each turn over its whole sessions, with the 95 % interval.

    Only whole sessions count: otherwise the last turns would be of sessions that lasted, which may be the fast ones.
    """
    if not _has_turns(material):
        return "the run has no conversations"
    rows = _of_whole_sessions(material)
    if not len(rows):
        return NO_OK if not len(material.ok) else "no conversation of two or more turns was answered completely"
    levels = {name: _levels(part) for name, part in _by_model(material, rows).items()}
    shown = style.in_focus({name: float(found[1][-1]) for name, found in levels.items()})
    sheet, axes = style.sheet(3.6)
    every = np.concatenate([np.concatenate(found[1:]) for found in levels.values()])
    log = style.scale(axes, "y", every[~np.isnan(every)])
    for place, name in enumerate(sorted(levels, key=lambda name: name in shown)):
        shift = APART * ((place + 0.5) / len(levels) - 0.5) if name in shown else 0.0
        _line(axes, material, name, levels[name], shift, in_colour=name in shown)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    axes.set_xlabel("turn")
    axes.set_ylabel(style.unit("TTFT in ms", log=log))
    ranges = {name: f"{three_digits(levels[name][1][0])} to {three_digits(levels[name][1][-1])} ms" for name in shown}
    legend(sheet, material, shown, levels, ranges, title="median, first to last turn")
    sessions = rows["session_id"].nunique()
    return FigureDraft(
        sheet,
        _most_grown(material, levels),
        "Lines, one for each model: the median TTFT over the turn, with a bar for its 95 % interval.",
        f"A bar is the 95 % interval of the median, from {FEWEST} sessions on. Only sessions whose every turn was ok "
        f"({count(sessions)}); a turn includes conversations of different lengths. {material.left_out}{greys(levels)}",
    )


def _has_turns(material: FigureData) -> bool:
    turns = material.requests["turn"].dropna()
    return bool(len(turns) and int(turns.max()) > 0)


def _of_whole_sessions(material: FigureData) -> Frame:
    """Returns the requests of sessions with two or more turns, where every planned turn is `ok` and has a TTFT."""
    sessions = sessions_of(material.measured, material.header)
    planned = [each.requests for each in sessions if len(each.requests) == each.turns > 1]
    known = set(material.ok.loc[material.ok["ttft_ms"].notna(), "seq"])
    whole = [requests for requests in planned if known.issuperset(request.ticket.seq for request in requests)]
    return material.ok[material.ok["seq"].isin([request.ticket.seq for requests in whole for request in requests])]


def _by_model(material: FigureData, rows: Frame) -> dict[str, Frame]:
    parts = {str(name): part for name, part in rows.groupby("model", observed=True)}
    return {model.name: parts[model.name] for model in material.models if model.name in parts}


def _levels(rows: Frame) -> Levels:
    at = rows["turn"].to_numpy(dtype=int)
    ttft = rows["ttft_ms"].to_numpy(dtype=float)
    found = [(turn + 1, *median_interval(ttft[at == turn])) for turn in sorted(set(at))]
    turns, middles, lows, highs = zip(*found, strict=True)
    return np.array(turns), np.array(middles), np.array(lows), np.array(highs)


def median_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Returns the median and the two values that bound it with 95 % confidence or more, for any distribution.

    The bounds are the k-th smallest and the k-th largest of the n values, with the largest k for which
    P(X < k) <= 2.5 %, X ~ Binomial(n, 1/2) (Conover, Practical Nonparametric Statistics, 3.2). NaN if no k does.
    """
    ordered, n = np.sort(values), len(values)
    heads = np.arange(n // 2 + 1)
    ways = np.array([lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) for k in heads])
    k = int(np.searchsorted(np.cumsum(np.exp(ways - n * log(2))), 0.025, side="right"))
    middle = float(np.median(ordered))
    return (middle, float(ordered[k - 1]), float(ordered[n - k])) if k else (middle, float("nan"), float("nan"))


def _line(axes: Axes, material: FigureData, name: str, found: Levels, shift: float, *, in_colour: bool) -> None:
    turns, middles, lows, highs = found
    if not in_colour:
        axes.plot(turns, middles, color=style.REST[0], linewidth=0.8, label=name, zorder=2)
        return
    look = material.model(name).look
    axes.plot(turns + shift, middles, color=look.colour, linestyle=look.dash, marker=look.marker, label=name, zorder=4)
    axes.vlines(turns + shift, lows, highs, color=look.colour, linewidth=1.2, zorder=3)


def _most_grown(material: FigureData, levels: Mapping[str, Levels]) -> str:
    """Returns a sentence on the model with the highest ratio of the last turn's median to the first's."""
    grown = {name: found for name, found in levels.items() if len(found[0]) > 1 and found[1][0] > 0}
    if not grown:
        return f"{counted(len(levels), 'model')} with one answered turn."
    most = max(grown, key=lambda name: grown[name][1][-1] / grown[name][1][0])
    turns, middles, _, _ = grown[most]
    first, last = (
        f"{three_digits(middles[0])} ms at turn {turns[0]}",
        f"{three_digits(middles[-1])} ms at turn {turns[-1]}",
    )
    if middles[-1] > middles[0]:
        most_of = "" if len(grown) == 1 else " most"
        return f"The median TTFT of {material.model(most).label} grows{most_of}: from {first} to {last}."
    return f"No model's median TTFT grows: {material.model(most).label} goes from {first} to {last}."
