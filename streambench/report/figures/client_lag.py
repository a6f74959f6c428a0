"""The figure of streambench's own measurement error: how late requests started and how late its event loop was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from streambench.report.figures import style
from streambench.report.figures.data import FigureData, quantile_ends
from streambench.report.figures.figure import FigureDraft, figure
from streambench.text import count, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

FLOOR_MS = 0.001
"""A shorter lag is drawn at this value, as a logarithmic axis has no 0."""
TAIL = 20
"""Requests needed for a p95."""


@figure("lags", "Measurement error: start lag and client lag")
def lags(material: FigureData) -> FigureDraft | str:
    """Draws a lane for each model: median, p95 and maximum of start lag and client lag in ms.

    start lag = start - scheduled time (includes the wait for a throttle or a free slot); client lag = the largest
    lateness of the client's event loop while the request ran. All measured requests count, failed ones too: the lag
    belongs to the client, not to the response.
    """
    panels = {column: material.by_model(column, material.requests) for column in ("start_lag_ms", "client_lag_ms")}
    if not any(panels.values()):
        return "no measured request has a known lag"
    names = [model.name for model in material.models if any(model.name in found for found in panels.values())]
    sheet, (left, right) = style.sheet(style.lanes(len(names), 0.27), ncols=2, sharey=True)
    for axes, column, title in ((left, "start_lag_ms", "start lag"), (right, "client_lag_ms", "client lag")):
        _panel(axes, material, names, panels[column], title)
    style.name_rows(left, [material.model(name).label for name in names])
    right.tick_params(axis="y", length=0)
    right.grid(visible=False, axis="y")
    soft = style.INK[0]
    style.top_key(
        sheet,
        [
            Line2D([], [], color=soft, marker="o", linestyle="none"),
            Line2D([], [], color=soft, marker="|", linestyle="none", markersize=9),
            Line2D([], [], color=soft, marker="o", linestyle="none", markerfacecolor=style.GROUND[0], markersize=4),
        ],
        ["median", f"p95 (from {TAIL} requests)", "largest"],
        columns=3,
    )
    return FigureDraft(
        sheet,
        _sentence(panels),
        "Two panels with a row for each model: the median, the 95th percentile and the largest start lag and client "
        "lag.",
        f"Start lag includes the wait for a throttle or a free slot. A lag under {FLOOR_MS:g} ms is drawn at that "
        f"value. All measured requests, failed ones included; {count(material.warmup)} warm-up requests left out.",
    )


def _panel(
    axes: Axes, material: FigureData, names: list[str], found: dict[str, NDArray[np.float64]], title: str
) -> None:
    if not found:
        axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", color=style.SOFT[0])
        axes.set_xticks([])
    else:
        everything = np.maximum(np.concatenate(list(found.values())), FLOOR_MS)
        style.scale(axes, "x", everything, log=True)
    for lane, name in enumerate(names):
        if name in found:
            _lane(axes, material, name, lane, np.maximum(found[name], FLOOR_MS))
    axes.set_xlabel(f"{title} in ms, log scale")


def _lane(axes: Axes, material: FigureData, name: str, lane: int, sample: NDArray[np.float64]) -> None:
    look = material.model(name).look
    middle, tail, largest = *quantile_ends(sample, [0.5, 0.95]), float(sample.max())
    axes.plot([middle, largest], [lane, lane], color=look.colour, linewidth=1.2, zorder=2)
    axes.plot([middle], [lane], color=look.colour, marker=look.marker, linestyle="none", label=name, zorder=3)
    if len(sample) >= TAIL:
        axes.plot([tail], [lane], color=look.colour, marker="|", markersize=9, markeredgewidth=1.6, linestyle="none")
    axes.plot([largest], [lane], "o", color=look.colour, markersize=4, markerfacecolor=style.GROUND[0])


def _sentence(panels: dict[str, dict[str, NDArray[np.float64]]]) -> str:
    texts = []
    for column, what in (("start_lag_ms", "started"), ("client_lag_ms", "client")):
        if not panels[column]:
            continue
        every = np.concatenate(list(panels[column].values()))
        middle, largest = three_digits(float(np.median(every))), three_digits(float(every.max()))
        texts.append(
            f"requests started {middle} ms (median) and {largest} ms (largest) after their scheduled time"
            if what == "started"
            else f"the client's event loop was {middle} ms (median) and {largest} ms (largest) late"
        )
    text = "; ".join(texts)
    return f"{text[0].upper()}{text[1:]}."
