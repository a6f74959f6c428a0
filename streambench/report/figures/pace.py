"""The figure of pace: how much of the answer has arrived, over the time since the request's start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from streambench.metrics.definitions import streamed_tokens
from streambench.report.figures import style
from streambench.report.figures.data import NO_OK, Chunks, FigureData, medians
from streambench.report.figures.figure import FigureDraft, figure
from streambench.report.figures.labels import listed
from streambench.report.figures.latency import legend
from streambench.text import three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

WORDS_A_MINUTE = 250
"""A fast adult reader of English; Brysbaert (2019), Journal of Memory and Language 109, finds 238 for non-fiction."""
TOKENS_A_WORD = 4 / 3
"""Rule of thumb for English: a token is three quarters of a word."""
CHARS_A_WORD = 6
"""Including the space after the word."""
TOGETHER = 5
"""With more models than this, each has its own small panel, as the bands would hide each other."""
MOMENTS = 61
"""Points of a curve."""
PER_ROW = 4
"""Small panels in a row."""


@figure("pace", "Pace: output received over time")
def pace(material: FigureData) -> FigureDraft | str:
    """Draws for each model the median of what its `ok` requests had received by each time, with quartiles as a band.

    Tokens are the streamed tokens of the usage, spread over the generated chunks in proportion to their characters. If
    any sampled request has unknown usage, all models are drawn in characters. A curve ends when half of the model's
    answers have ended: after that it would show their length, not their pace.
    """
    if not len(material.ok):
        return NO_OK
    names = [model.name for model in material.models if (material.ok["model"] == model.name).any()]
    chunks = {name: material.chunks(name) for name in names}
    tokens = {name: _tokens(material, chunks[name]) for name in names}
    unknown = [name for name in names if np.isnan(tokens[name]).any()]
    what = "characters" if unknown else "tokens"
    curves = {name: _curve(chunks[name], None if unknown else tokens[name]) for name in names}
    reading = WORDS_A_MINUTE / 60 * (CHARS_A_WORD if unknown else TOKENS_A_WORD)
    speeds = _speeds(material, chunks, what)
    if len(names) <= TOGETHER:
        sheet = _together(material, curves, speeds, reading, what)
    else:
        sheet = _apart(material, curves, reading, what)
    why = (
        f"Counted in characters, as {listed([material.model(name).label for name in unknown])} "
        f"{'has' if len(unknown) == 1 else 'have'} answers without usage."
        if unknown
        else "A request's tokens are spread over its chunks by their characters."
    )
    return FigureDraft(
        sheet,
        _sentence(material, names, speeds, reading, what),
        f"Curves, one for each model: the {what} received since the start, with a person's reading speed.",
        f"Line: median; band: the middle half of the requests; an answer that has ended keeps its count, a line ends "
        f"when half of the answers have ended. {why} Reading: {WORDS_A_MINUTE} words per minute, about "
        f"{reading:.1f} {what}/s (Brysbaert 2019 finds 238 words). Only ok requests. "
        f"{material.left_out}{material.sample_note(names)}",
    )


def _tokens(material: FigureData, chunks: Chunks) -> NDArray[np.float64]:
    """Returns the streamed tokens of each sampled request, (requests,); NaN if unknown."""
    found = [streamed_tokens(material.finals[seq]) for seq in chunks.seqs]
    return np.array([np.nan if one is None or one < 1 else one for one in found], dtype=float)


def _answers(chunks: Chunks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the index of the first chunk of each sampled answer, and the index after its last."""
    starts = np.flatnonzero(np.r_[True, np.diff(chunks.request) != 0])
    return starts, np.r_[starts[1:], len(chunks.request)]


Curve = tuple[Any, Any, Any, Any]
"""Times in ms, then the lower quartile, the median and the upper quartile of what had arrived; each (MOMENTS,)."""


def _curve(chunks: Chunks, tokens: NDArray[np.float64] | None) -> Curve:
    starts, ends = _answers(chunks)
    until = float(np.median([chunks.at_ms[end - 1] for end in ends]))
    moments = np.linspace(0, until, MOMENTS)
    had = np.zeros((len(starts), MOMENTS))
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        grown = np.cumsum(chunks.chars[start:end].astype(float))
        if tokens is not None:
            weights = grown / grown[-1] if grown[-1] > 0 else np.arange(1, end - start + 1) / (end - start)
            grown = weights * tokens[chunks.request[start]]
        arrived = np.searchsorted(chunks.at_ms[start:end], moments, side="right")
        had[row] = np.r_[0.0, grown][arrived]
    low, middle, high = np.quantile(had, [0.25, 0.5, 0.75], axis=0)
    return moments, low, middle, high


def _together(
    material: FigureData, curves: dict[str, Curve], speeds: dict[str, float], reading: float, what: str
) -> Any:
    sheet, axes = style.sheet(3.6)
    _frame(axes, curves)
    for name, curve in curves.items():
        _draw(axes, material, name, curve)
    _reading_line(axes, reading)
    axes.annotate(
        f"a person reads {reading:.1f} {what}/s",
        (0.995, reading * axes.get_xlim()[1] / 1000),
        (0, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=7.5,
        color=style.SOFT[0],
    )
    axes.set_xlabel("time since the request's start in ms")
    axes.set_ylabel(what)
    order = sorted(curves, key=lambda name: -speeds.get(name, 0.0))
    rates = {name: f"{three_digits(speeds[name])}/s" if name in speeds else "at once" for name in order}
    legend(sheet, material, order, curves, rates, title=f"output speed, median {what}")
    return sheet


def _apart(material: FigureData, curves: dict[str, Curve], reading: float, what: str) -> Any:
    rows = -(-len(curves) // PER_ROW)
    sheet, grid = style.sheet(0.3 + 1.5 * rows, nrows=rows, ncols=PER_ROW, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    for axes, (name, curve) in zip(grid.flat, curves.items(), strict=False):
        _frame(axes, curves)
        _draw(axes, material, name, curve)
        _reading_line(axes, reading)
        axes.set_title(material.model(name).label.replace(" (sim", "\n(sim"), fontsize=7.5, loc="left", pad=3)
        axes.tick_params(labelsize=7, bottom=False, left=False)
        axes.grid(visible=False)
    for axes in grid.flat[max(0, len(curves) - PER_ROW) : len(curves)]:
        axes.xaxis.set_tick_params(labelbottom=True)
        axes.set_xlabel("ms", fontsize=7.5)
    for axes in grid[:, 0]:
        axes.set_ylabel(what, fontsize=7.5)
    handle = Line2D([], [], color=style.SOFT[0], linestyle=(0, (2, 2)), linewidth=1)
    style.top_key(sheet, [handle], [f"a person's reading speed, {reading:.1f} {what}/s"], columns=1)
    return sheet


def _frame(axes: Axes, curves: dict[str, Curve]) -> None:
    style.scale(axes, "x", [curve[0][-1] for curve in curves.values()], log=False)
    style.scale(axes, "y", [curve[3].max() for curve in curves.values()], log=False)
    if len(curves) > TOGETHER:
        axes.locator_params(axis="x", nbins=4)
        axes.locator_params(axis="y", nbins=4)


def _draw(axes: Axes, material: FigureData, name: str, curve: Curve) -> None:
    moments, low, middle, high = curve
    look = material.model(name).look
    axes.fill_between(moments, low, high, color=look.colour, alpha=0.2, linewidth=0, zorder=2)
    axes.plot(moments, middle, color=look.colour, linestyle=look.dash, label=name, zorder=3)
    axes.plot(moments[-1:], middle[-1:], color=look.colour, marker=look.marker, zorder=4)


def _reading_line(axes: Axes, reading: float) -> None:
    """Draws the reading speed from the request's start: a reader never waits for a curve that stays above this line."""
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    until = min(right, top / reading * 1000)
    axes.plot(
        [0, until],
        [0, reading * until / 1000],
        color=style.SOFT[0],
        linestyle=(0, (2, 2)),
        linewidth=1,
        label="reading",
    )


def _speeds(material: FigureData, chunks: dict[str, Chunks], what: str) -> dict[str, float]:
    """Returns each model's median speed per second.

    For tokens it is the median of `output_tok_s`; for characters, that of (characters after the first chunk) / (time
    from the first chunk to the last). Models whose answers arrived all at once are left out.
    """
    if what == "tokens":
        return medians(material.by_model("output_tok_s"))
    found = {name: _characters_per_second(one) for name, one in chunks.items()}
    return {name: float(np.median(speeds)) for name, speeds in found.items() if len(speeds)}


def _characters_per_second(chunks: Chunks) -> NDArray[np.float64]:
    starts, ends = _answers(chunks)
    took = chunks.at_ms[ends - 1] - chunks.at_ms[starts]
    after = np.add.reduceat(chunks.chars.astype(float), starts) - chunks.chars[starts]
    return np.asarray(after[took > 0] / took[took > 0] * 1000, dtype=float)


def _sentence(material: FigureData, names: list[str], speeds: dict[str, float], reading: float, what: str) -> str:
    blind = [material.model(name).label for name in names if name not in speeds]
    if not speeds:
        return f"The answers arrived all at once, so there is no pace to compare ({what})."
    best, last = max(speeds, key=lambda name: speeds[name]), min(speeds, key=lambda name: speeds[name])
    slow = [material.model(name).label for name in speeds if speeds[name] < reading]
    text = f"{material.model(best).label} is the fastest, with a median of {three_digits(speeds[best])} {what}/s"
    if last != best:
        text += f", and {material.model(last).label} the slowest, with {three_digits(speeds[last])}"
    than = f"than a person reads ({reading:.1f} {what}/s)"
    text += f"; {f'slower {than}: {listed(slow)}' if slow else f'none is slower {than}'}."
    return f"{text} The speed of {listed(blind)} is unknown." if blind else text
