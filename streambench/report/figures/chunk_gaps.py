"""Figures of chunk gaps: their distribution with the stalls, and how they change along the answer.

Only observed gaps count: the gap between chunks that came in one read is unknown, not zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, NullLocator

from streambench.report.figures import style
from streambench.report.figures.data import NO_OK, Chunks, FigureData, evenly, medians, quantile_ends
from streambench.report.figures.figure import FigureDraft, figure
from streambench.report.figures.labels import listed, tick
from streambench.text import count, counted, percent, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

FLOOR_MS = 0.01
"""A shorter gap is drawn at this value: a logarithmic axis has no 0, and shorter gaps cannot be distinguished."""
PER_DECADE = 24
"""Bins of the distribution per decade (factor of ten)."""
COLUMNS = 60
"""Columns of the heat-map at most; if there are more positions, each column covers several."""
REACHED = 0.25
"""The heat-map shows positions that at least this share of a model's answers reaches."""
SEEN = 0.5
"""Share of a model's gaps that must have been observed for the sentence to compare its median with others."""
OBSERVED = 0.25
"""Share of the gaps of one cell of the heat-map that must have been observed."""
STANDS_OUT = 1.5
"""The sentence names a column only if it is at least this many times the median of its model's columns."""
NONE_SEEN = "no chunk gap was observed: chunks came in shared reads, or answers had a single chunk"


# --- distribution -----------------------------------------------------------------------------------------------------


@figure("chunk-gaps", "Gaps between chunks, and stalls")
def chunk_gaps(material: FigureData) -> FigureDraft | str:
    """Draws a lane for each model: the distribution of its observed chunk gaps in ms, and its stalled requests.

    The height is the number of the model's gaps in a bin, divided by that of its fullest bin. A stalled request is
    drawn at its longest gap; stalls are of all `ok` requests, not only of the sampled ones.
    """
    if not len(material.ok):
        return NO_OK
    chunks = {model.name: material.chunks(model.name) for model in material.models if _any_ok(material, model.name)}
    gaps = {name: found.gap_ms[~np.isnan(found.gap_ms)] for name, found in chunks.items()}
    stalls = _stalls(material)
    if not sum(map(len, gaps.values())) and not stalls:
        return NONE_SEEN
    names = list(gaps)
    drawn = [np.maximum(one, FLOOR_MS) for one in (*gaps.values(), *stalls.values()) if len(one)]
    sheet, axes = style.sheet(style.lanes(len(names), 0.44, 0.85))
    everything = np.concatenate([*drawn, [material.stall_ms]])
    style.scale(axes, "x", everything, log=True)
    edges = _edges(everything)
    for lane, name in enumerate(names):
        _hill(axes, material, name, lane, np.maximum(gaps[name], FLOOR_MS), edges)
        if name in stalls:
            x = np.sort(stalls[name])
            x = x[evenly(len(x), style.DOTS // len(names))]
            axes.plot(x, np.full(len(x), lane), "x", color=style.INK[0], markersize=5, zorder=5, label="stalls")
    axes.axvline(material.stall_ms, color=style.SOFT[0], linestyle=(0, (2, 2)), linewidth=1)
    axes.annotate(
        f"a stall: over {three_digits(material.stall_ms)} ms",
        (material.stall_ms, 1),
        (3, 1),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=7.5,
        va="bottom",
        ha="center",
        color=style.SOFT[0],
    )
    style.name_rows(axes, [material.model(name).label for name in names])
    style.side_text(axes, [_gap_text(gaps[name], chunks[name], len(stalls.get(name, ()))) for name in names])
    axes.set_xlabel("chunk gap in ms, log scale")
    return FigureDraft(
        sheet,
        _sentence(material, chunks, gaps, stalls),
        "Density curves, one for each model: how often each gap between two chunks occurred, on a log scale, with a "
        "cross for each request that stalled.",
        f"Height: share of the model's gaps, scaled to its peak; bar: p50; cross: a stalled request's longest gap. "
        f"Gaps into a read of several chunks are unknown and left out. Only ok requests. {material.left_out}"
        f"{material.sample_note(names)}",
    )


def _any_ok(material: FigureData, name: str) -> bool:
    return bool((material.ok["model"] == name).any())


def _stalls(material: FigureData) -> dict[str, NDArray[np.float64]]:
    rows = material.ok
    stalled = rows["findings"].fillna("").str.split(",").map(lambda found: "stalled" in found).astype(bool)
    return material.by_model("longest_gap_ms", rows[stalled])


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.log10(float(values.min())), np.log10(float(values.max()))
    first, last = np.floor(low * PER_DECADE), np.floor(high * PER_DECADE) + 1
    return np.asarray(10 ** (np.arange(first, last + 1) / PER_DECADE), dtype=float)


def _hill(axes: Axes, material: FigureData, name: str, lane: int, gaps: NDArray[np.float64], edges: Any) -> None:
    axes.axhline(lane + 0.36, color=style.GRID[0], linewidth=0.7, zorder=1)
    if not len(gaps):
        return
    counts, _ = np.histogram(gaps, edges)
    full = np.flatnonzero(counts)
    counts, edges = counts[full[0] : full[-1] + 1], edges[full[0] : full[-1] + 2]
    tops = lane + 0.36 - 0.78 * counts / counts.max()
    look = material.model(name).look
    axes.stairs(tops, edges, baseline=lane + 0.36, fill=True, color=look.colour, alpha=0.55, zorder=2, label=name)
    axes.stairs(tops, edges, baseline=None, color=look.colour, linewidth=0.9, zorder=3)
    axes.plot([np.median(gaps)] * 2, [lane + 0.36, lane - 0.42], color=style.INK[0], linewidth=1.4, zorder=4)


def _gap_text(gaps: NDArray[np.float64], chunks: Chunks, stalls: int) -> str:
    unknown = int((chunks.position > 0).sum()) - len(gaps)
    every = len(gaps) + unknown
    parts = []
    if len(gaps):
        parts.append(f"p50 {three_digits(float(np.median(gaps)))}")
    if len(gaps) >= 100:
        parts.append(f"p99 {three_digits(quantile_ends(gaps, [0.99])[0])} ms")
    if unknown:
        parts.append(f"{percent(unknown / every)} unknown")
    if stalls:
        parts.append(f"{count(stalls)} stalled")
    return ", ".join(parts) or "one chunk per answer"


def _sentence(material: FigureData, chunks: dict[str, Chunks], gaps: dict[str, Any], stalls: dict[str, Any]) -> str:
    seen = {name: found for name, found in gaps.items() if len(found) >= SEEN * (chunks[name].position > 0).sum() > 0}
    parts = []
    if seen:
        middles = medians(seen)
        best, last = min(middles, key=lambda name: middles[name]), max(middles, key=lambda name: middles[name])
        parts.append(f"{material.model(best).label} has the shortest median gap, {three_digits(middles[best])} ms")
        if last != best:
            parts[-1] += f"; {material.model(last).label} the longest, {three_digits(middles[last])} ms"
    blind = [material.model(name).label for name in gaps if name not in seen]
    if blind:
        parts.append(f"fewer than half of the gaps of {listed(blind)} were observed")
    stalled = sum(map(len, stalls.values()))
    parts.append(
        f"{counted(stalled, 'request')} stalled for more than {three_digits(material.stall_ms)} ms"
        if stalled
        else f"no request stalled for more than {three_digits(material.stall_ms)} ms"
    )
    return f"{'. '.join(part[0].upper() + part[1:] if n else part for n, part in enumerate(parts))}."


# --- along the answer -------------------------------------------------------------------------------------------------


@figure("gap-heatmap", "Chunk gaps by position in the answer")
def gap_heatmap(material: FigureData) -> FigureDraft | str:
    """Draws the median observed gap in ms before each position in the answer: a row for each model."""
    if not len(material.ok):
        return NO_OK
    models = [model for model in material.models if _any_ok(material, model.name)]
    chunks = [material.chunks(model.name) for model in models]
    reach = max((_reach(one) for one in chunks), default=0)
    if reach < 1:
        return NONE_SEEN
    width = -(-reach // COLUMNS)
    columns = -(-reach // width)
    cells = np.array([_cells(one, width, columns) for one in chunks])
    if np.isnan(cells).all():
        return NONE_SEEN
    sheet, axes = style.sheet(max(style.lanes(len(models), 0.3), 2.0))
    image = _heat(axes, cells, columns, width)
    style.name_rows(axes, [model.label for model in models])
    axes.grid(visible=False)
    axes.set_xlabel("position in the answer: the gap before chunk number ...")
    bar = sheet.colorbar(image, ax=axes, pad=0.015, fraction=0.05, aspect=max(8, 4 * len(models)))
    bar.outline.set_visible(False)
    bar.set_label("median ms, log scale", fontsize=8)
    bar.ax.yaxis.set_major_locator(style.log_ticks(*image.get_clim()))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(tick))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    return FigureDraft(
        sheet,
        _slowest(material, [model.name for model in models], cells, width),
        "A heat-map with a row for each model and a column for each position in the answer; darker is a longer gap.",
        f"{counted(width, 'chunk')} per column, as far as {percent(REACHED)} of the model's answers "
        f"reach. Blank: no gap there, or "
        f"fewer than {percent(OBSERVED)} of them were observed (unknown is not zero). "
        f"Only ok requests. {material.left_out}{material.sample_note([model.name for model in models])}",
    )


def _reach(chunks: Chunks) -> int:
    """Returns the last position (of the gap's later chunk, from 0) that a share REACHED of the answers has.

    Less than 1 if there is no gap at that position.
    """
    if not len(chunks.position):
        return 0
    lengths = np.bincount(chunks.request, minlength=len(chunks.seqs))
    longest_first = np.sort(lengths)[::-1]
    return int(longest_first[max(0, int(np.ceil(REACHED * len(lengths))) - 1)]) - 1


def _cells(chunks: Chunks, width: int, columns: int) -> NDArray[np.float64]:
    """Returns the median gap of each column, (columns,), in ms.

    NaN if less than the share OBSERVED of the column's gaps was observed, or if too few answers reach the column.
    """
    row = np.full(columns, np.nan)
    inside = (chunks.position >= 1) & (chunks.position <= _reach(chunks))
    column, gaps = (chunks.position[inside] - 1) // width, chunks.gap_ms[inside]
    order = np.argsort(column, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(column[order])) + 1):
        known = gaps[part][~np.isnan(gaps[part])]
        if len(known) and len(known) >= OBSERVED * len(part):
            row[column[part[0]]] = np.median(known)
    return row


def _heat(axes: Axes, cells: NDArray[np.float64], columns: int, width: int) -> Any:
    known = np.maximum(cells[~np.isnan(cells)], FLOOR_MS)
    low, high = float(known.min()), float(known.max())
    image = axes.imshow(
        np.ma.masked_invalid(np.maximum(cells, FLOOR_MS)),
        aspect="auto",
        interpolation="nearest",
        cmap="cividis_r",
        norm=LogNorm(low / 1.1, high * 1.1),
        extent=(1.5, 1.5 + columns * width, len(cells) - 0.5, -0.5),
    )
    for lane, row in enumerate(cells):
        if np.isnan(row).all():
            middle = 1.5 + columns * width / 2
            axes.text(middle, lane, "too few gaps observed", fontsize=8, ha="center", va="center", color=style.SOFT[0])
    for edge in np.arange(0.5, len(cells) - 0.5):
        axes.axhline(edge, color=style.GROUND[0], linewidth=2.5)
    return image


def _slowest(material: FigureData, names: list[str], cells: NDArray[np.float64], width: int) -> str:
    """Returns a sentence on the cell with the highest ratio to the median of its model's columns."""
    middles = np.array([np.median(row[~np.isnan(row)]) if not np.isnan(row).all() else np.nan for row in cells])
    ratio = cells / np.maximum(middles, FLOOR_MS)[:, None]
    lane, column = np.unravel_index(int(np.nanargmax(ratio)), ratio.shape)
    most = max(1.0, float(ratio[lane, column]))
    if most < STANDS_OUT:
        over = f"{three_digits(most)} times the median of its model's columns"
        return f"The gaps are even along the answer: no column is over {over}."
    first = 2 + int(column) * width
    where = f"chunk {first}" if width == 1 else f"chunks {first} to {first + width - 1}"
    return (
        f"The most unusual gap is that of {material.model(names[int(lane)]).label} before {where}: "
        f"{three_digits(float(cells[lane, column]))} ms; "
        f"the median of its columns is {three_digits(float(middles[lane]))} ms."
    )
