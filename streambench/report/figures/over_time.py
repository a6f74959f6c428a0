"""The figure of TTFT and failures over the run's time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streambench.metrics.definitions import NS_PER_MS
from streambench.report.figures import style
from streambench.report.figures.data import FigureData, evenly, medians
from streambench.report.figures.figure import FigureDraft, figure
from streambench.report.figures.latency import greys, legend
from streambench.text import count, counted, percent, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from streambench.analysis.frames import Frame

BINS = 24
"""A model's line has one median for each of at most this many equal parts of the run's time."""
PER_BIN = 6
"""The model's requests that a part must have on average: a model with few requests has fewer parts."""
FEWEST = 3
"""Requests needed for a median of the line or of a third of the run."""


@figure("latency-over-time", "Time to the first token over the run")
def latency_over_time(material: FigureData) -> FigureDraft | str:
    """Draws each request at its start (s since the first start) and its TTFT in ms, with failures in lanes below, by
    kind.

    The parts of a resumed run are drawn one after the other, without the time between them.
    """
    rows = material.requests
    if not len(rows):
        return "no measured request was recorded"
    at, seams = _clock(rows)
    timed = rows.assign(at_s=at)
    ok, failed = timed[(timed["outcome"] == "ok") & timed["ttft_ms"].notna()], timed[timed["outcome"] != "ok"]
    kinds = _kinds(failed)
    lanes = sorted(set(kinds))
    sheet, upper, lower = _panels(len(ok) > 0, len(lanes))
    middles = medians(material.by_model("ttft_ms"))
    shown = _shown(material, middles)
    if upper is not None:
        log = style.scale(upper, "y", ok["ttft_ms"])
        for name in sorted(middles, key=lambda name: name in shown):
            mine = ok[ok["model"] == name]
            _course(upper, material, name, mine, float(at.max()), in_colour=name in shown)
        upper.set_ylabel(style.unit("TTFT in ms", log=log))
    if lower is not None:
        _failures(lower, material, failed, kinds, lanes, shown)
    bottom = lower if lower is not None else upper
    style.scale(bottom, "x", at, log=False)
    bottom.set_xlabel("time since the first measured request, in s")
    for axes in (upper, lower):
        for seam in seams if axes is not None else ():
            axes.axvline(seam, color=style.SOFT[0], linestyle=(0, (2, 2)), linewidth=1)
    if len(shown):
        typical = {name: f"{three_digits(middles[name])} ms" if name in middles else "none ok" for name in shown}
        legend(sheet, material, shown, dict.fromkeys([*middles, *shown]), typical, title="median")
    crosses = " (grey crosses: of models in grey)" if failed["model"].nunique() > len(shown) else ""
    return FigureDraft(
        sheet,
        _sentence(material, ok, failed, float(at.max())),
        "Dots, one for each request: its TTFT over the time of its start, with a line of medians for each model, and "
        "failures marked below by kind.",
        f"Line: medians over equal parts of the run, at most {BINS}, of {FEWEST} or more requests. Hollow: "
        f"requests that were not ok, which have no latency{crosses}. {count(material.warmup)} warm-up requests "
        f"left out.{_sampled(material, kinds)}{_resumed(seams)}{greys(middles)}",
    )


def _shown(material: FigureData, middles: dict[str, float]) -> list[str]:
    """Returns the models in colour, at most MANY: by median TTFT, then those without an `ok` request if all fit."""
    present = [model.name for model in material.models if (material.requests["model"] == model.name).any()]
    if len(present) > style.MANY and middles:
        return style.in_focus(middles)
    return [*style.in_focus(middles), *(name for name in present if name not in middles)][: style.MANY]


def _clock(rows: Frame) -> tuple[NDArray[np.float64], list[float]]:
    """Returns the seconds since the first start, (n,), and the seconds at which each further part begins.

    The parts (segments) follow one another without a gap.
    """
    starts = rows["start_at_ns"].to_numpy(dtype=float)
    ends = starts + rows["ended_ns"].fillna(0).to_numpy(dtype=float)
    segments = rows["segment"].to_numpy(dtype=np.int64)
    at, seams, offset = np.zeros(len(rows)), [], 0.0
    for segment in np.unique(segments):
        mine = segments == segment
        first = starts[mine].min()
        at[mine] = (starts[mine] - first) / NS_PER_MS / 1000 + offset
        if segment != segments.min():
            seams.append(offset)
        offset += float(ends[mine].max() - first) / NS_PER_MS / 1000
    return at, seams


def _kinds(failed: Frame) -> list[str]:
    """Returns each request's outcome; status 429 is a kind of its own, "rate limit (429)"."""
    pairs = zip(failed["outcome"], failed["status"].fillna(0), strict=True)
    return ["rate limit (429)" if status == 429 else str(outcome) for outcome, status in pairs]


def _panels(latencies: bool, lanes: int) -> tuple[Any, Any, Any]:  # noqa: FBT001 - whether there are any
    high = 0.22 * lanes + 0.15
    if latencies and lanes:
        sheet, (upper, lower) = style.sheet(3.5 + high, nrows=2, sharex=True, height_ratios=[3.1, high])
        return sheet, upper, lower
    sheet, axes = style.sheet(3.6 if latencies else 0.7 + high)
    return (sheet, axes, None) if latencies else (sheet, None, axes)


def _course(axes: Axes, material: FigureData, name: str, rows: Frame, end: float, *, in_colour: bool) -> None:
    at, ttft = rows["at_s"].to_numpy(dtype=float), rows["ttft_ms"].to_numpy(dtype=float)
    picked = evenly(len(at), style.DOTS // len(material.models))
    look = material.model(name).look
    drawn: dict[str, Any] = (
        {"color": look.colour, "marker": look.marker, "markersize": 3.2, "alpha": 0.6, "zorder": 3}
        if in_colour
        else {"color": style.REST[0], "marker": ".", "markersize": 2, "zorder": 2}
    )
    axes.plot(at[picked], ttft[picked], linestyle="none", label=name, rasterized=not in_colour, **drawn)
    if in_colour:
        x, y = _line(at, ttft, end)
        axes.plot(x, y, color=look.colour, linestyle=look.dash, zorder=4)


def _line(at: NDArray[np.float64], ttft: NDArray[np.float64], end: float) -> tuple[list[float], list[float]]:
    """Returns the median times and the median TTFTs of the run's equal parts that have FEWEST requests or more."""
    bins = min(BINS, max(1, len(at) // PER_BIN))
    part = np.minimum((at / end * bins).astype(int), bins - 1) if end > 0 else np.zeros(len(at), dtype=int)
    full = [part == one for one in np.unique(part) if int((part == one).sum()) >= FEWEST]
    return [float(np.median(at[mine])) for mine in full], [float(np.median(ttft[mine])) for mine in full]


def _failures(
    axes: Axes, material: FigureData, failed: Frame, kinds: list[str], lanes: list[str], shown: list[str]
) -> None:
    places = np.array([lanes.index(kind) for kind in kinds])
    for model in material.models:
        for lane in range(len(lanes)):
            mine = (failed["model"] == model.name).to_numpy() & (places == lane)
            at = failed["at_s"].to_numpy(dtype=float)[mine]
            picked = evenly(len(at), max(1, style.DOTS // 3 // len(lanes) // len(material.models)))
            if len(at):
                known = model.name in shown
                axes.plot(
                    at[picked],
                    np.full(len(picked), lane),
                    marker=model.look.marker if known else "x",
                    color=model.look.colour if known else style.REST[0],
                    markerfacecolor=style.GROUND[0],
                    linestyle="none",
                    markersize=5,
                    markeredgewidth=1.2,
                    zorder=3 if known else 2,
                    label=model.name,
                    clip_on=False,
                )
    style.name_rows(axes, [f"{lane}, {count(kinds.count(lane))}" for lane in lanes])


def _sentence(material: FigureData, ok: Frame, failed: Frame, end: float) -> str:
    drift = _drift(material, ok, end)
    if not len(failed):
        return f"{drift} No request failed."
    limited = int((failed["status"].fillna(0) == 429).sum())
    return (
        f"{drift} {count(len(failed))} of {counted(len(ok) + len(failed), 'request')} failed"
        f"{f', {count(limited)} by a rate limit' if limited else ''}."
    )


def _drift(material: FigureData, ok: Frame, end: float) -> str:
    """Returns a sentence on the model whose median changes most, relatively, from the first third of the run's time to
    the last.
    """
    found: dict[str, tuple[float, float]] = {}
    for model in material.models:
        mine = ok[ok["model"] == model.name]
        first, last = mine.loc[mine["at_s"] <= end / 3, "ttft_ms"], mine.loc[mine["at_s"] >= end * 2 / 3, "ttft_ms"]
        if min(len(first), len(last)) >= FEWEST and float(first.median()) > 0:
            found[model.name] = (float(first.median()), float(last.median()))
    if not found:
        return "The run is too short to show a drift." if len(ok) else "No request was ok."
    most = max(found, key=lambda name: abs(found[name][1] / found[name][0] - 1))
    first_ms, last_ms = found[most]
    change = last_ms / first_ms - 1
    return (
        f"From the first to the last third of the run {material.model(most).label} changes most: its median goes from "
        f"{three_digits(first_ms)} to {three_digits(last_ms)} ms "
        f"({'+' if change >= 0 else '-'}{percent(abs(change))})."
    )


def _sampled(material: FigureData, kinds: list[str]) -> str:
    counts = material.ok["model"].value_counts()
    if (len(counts) and int(counts.max()) > style.DOTS // len(material.models)) or len(kinds) > style.DOTS // 3:
        most = f"{count(style.DOTS)} ok and {count(style.DOTS // 3)} failed"
        return f" Marks: an even sample, at most {most}; the lines use all."
    return ""


def _resumed(seams: list[float]) -> str:
    return " Dotted: the next part, or the next run, begins here; the time between is left out." if seams else ""
