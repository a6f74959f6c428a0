"""The style of all figures, for print, screens, greyscale and colour-blind readers.

A model is marked by colour, dash, marker and its name, so colour is never the only difference. The ten colours differ
from each other under protanopia, deuteranopia and tritanopia, and contrast with the background; tests check the
numbers. Each light colour has a dark counterpart: `svg` writes both into one file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from streambench.report.figures.labels import tick

WIDTH = 8.6
"""Width of every figure in inches."""
DPI = 150
MANY = 10
"""With more models than this, figures with overlapping lines show some in colour and the rest in grey."""
BEST, WORST = 4, 3
"""How many of more than MANY models are in colour: those with the lowest and the highest value of the figure's metric.
"""
LOG_FROM = 12.0
"""An axis is logarithmic if its largest value is at least this many times its smallest."""
DOTS = 1_500
"""Marks of one kind in a figure at most; of more, an even sample with the same share for each model. Lines are computed
from all values."""
NOTE_WIDTH = 150
"""Characters in a line of the note."""

# Every colour is (light, dark). COLOURS are for models only; INK to GROUND are never a model's colour.
COLOURS: tuple[tuple[str, str], ...] = (
    ("#6192e7", "#616df3"),  # blue
    ("#aa9218", "#ffff3d"),  # gold
    ("#4900c2", "#866daa"),  # indigo
    ("#552400", "#b6610c"),  # brown
    ("#f33daa", "#b692aa"),  # pink
    ("#18866d", "#00f39e"),  # teal
    ("#003155", "#c2e7ff"),  # navy
    ("#614986", "#b6b6f3"),  # plum
    ("#7949f3", "#9292ff"),  # violet
    ("#793d3d", "#ff7955"),  # rosewood
)
INK = ("#1f2328", "#e6edf3")
SOFT = ("#57606a", "#a3adb8")
REST = ("#8d96a0", "#6c7681")
MIDDLE = ("#b6bec7", "#4d5661")
GRID = ("#dfe3e8", "#2d333b")
GROUND = ("#ffffff", "#14181d")
THEMED: tuple[tuple[str, str], ...] = (*COLOURS, INK, SOFT, REST, MIDDLE, GRID, GROUND)
"""Every colour of a vector mark, (light, dark). Light colours are unique: `svg` finds the dark one by the light one."""

DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1.5, 2)))
MARKERS = "osD^vPX*<>"
HATCHES = ("////", "\\\\", "xxxx", "----", "||||", "++++")
"""Hatches made of lines only: dots and rings are circles of many points, which make the SVG a hundred times larger."""
_ON_TOP, _BESIDE = "key-on-top", "key-beside"
_TITLE = 0.36

PARAMS: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,  # a `$` in a name is a dollar sign
    "text.usetex": False,
    "text.color": INK[0],
    "axes.labelcolor": INK[0],
    "axes.edgecolor": SOFT[0],
    "axes.facecolor": "none",
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID[0],
    "grid.linewidth": 0.7,
    "xtick.color": SOFT[0],
    "ytick.color": SOFT[0],
    "xtick.labelcolor": INK[0],
    "ytick.labelcolor": INK[0],
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "figure.facecolor": GROUND[0],
    "savefig.facecolor": GROUND[0],
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.0,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "streambench",
}


def theme() -> AbstractContextManager[None]:
    """Returns a context in which PARAMS apply over matplotlib's defaults, without matplotlibrc; settings are restored.

    Figures must be drawn and written inside it.
    """
    return matplotlib.style.context(dict(PARAMS), after_reset=True)


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """How a model is drawn in every figure of a run."""

    colour: str
    dash: Any
    marker: str

    @classmethod
    def of(cls, place: int) -> SeriesStyle:
        """Returns the look of a model by its place in the config, from 0.

        Any forty consecutive places differ in colour or dash, in most cases in both.
        """
        lap = place // len(COLOURS)
        return cls(
            colour=COLOURS[place % len(COLOURS)][0],
            dash=DASHES[(place + lap) % len(DASHES)],
            marker=MARKERS[(place + 3 * lap) % len(MARKERS)],
        )

    def line(self, **more: Any) -> Line2D:
        """Returns the line that represents the model in a legend."""
        return Line2D([], [], color=self.colour, linestyle=self.dash, marker=self.marker, **more)

    def dot(self, **more: Any) -> Line2D:
        """Returns the marker that represents the model in the legend of a figure without lines."""
        return Line2D([], [], color=self.colour, linestyle="none", marker=self.marker, **more)


def in_focus(scores: Mapping[str, float]) -> list[str]:
    """Returns the names drawn in colour, by ascending score; ties keep the order given.

    All if there are at most MANY, else the BEST with the lowest and the WORST with the highest score.
    """
    ranked = sorted(scores, key=lambda name: scores[name])
    return ranked if len(ranked) <= MANY else [*ranked[:BEST], *ranked[-WORST:]]


def sheet(height: float, **grid: Any) -> tuple[Figure, Any]:
    """Returns a figure WIDTH inches wide, and its axes as `Figure.subplots(**grid)` returns them.

    `height` is that of the axes in inches: `finish` adds space for title, legend and note.
    """
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # attaches a canvas, which measures text
    return figure, figure.subplots(**grid)


def lanes(count: int, each: float = 0.3, around: float = 0.75) -> float:
    """Returns the height in inches of axes with `count` lanes; `around` is the space for the axis and its labels."""
    return around + each * max(1, count)


def is_wide(values: Any) -> bool:
    """True if the axis should be logarithmic: all values are above 0, and max >= LOG_FROM * min."""
    array = np.asarray(values, dtype=float)
    return bool(array.size) and float(array.min()) > 0 and float(array.max()) >= LOG_FROM * float(array.min())


def scale(axes: Axes, which: str, values: Any, *, log: bool | None = None, origin: bool = True) -> bool:
    """Fits the axis `which` ("x" or "y") to its values and returns True if it is logarithmic.

    `log` None decides by `is_wide`. A linear axis includes 0 if `origin`.
    """
    array = np.asarray(values, dtype=float)
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 1.0)
    log = is_wide(array) if log is None else log
    axis, limits = (axes.xaxis, axes.set_xlim) if which == "x" else (axes.yaxis, axes.set_ylim)
    if log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        limits(low / 1.25, high * 1.25)
        axis.set_major_locator(log_ticks(low / 1.25, high * 1.25))
        axis.set_minor_locator(NullLocator())
    else:
        room = 0.05 * (high - (min(0.0, low) if origin else low)) or 1.0
        limits(min(0.0, low) if origin else low - room, high + room)
        axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(tick))
    axis.set_minor_formatter(NullFormatter())
    return log


def log_ticks(low: float, high: float) -> FixedLocator:
    """Returns ticks at round numbers from `low` to `high`: at most three per decade, at most 40."""
    decades = np.log10(high / low)
    subs = (1.0,) if decades > 4 else (1.0, 3.0) if decades > 2.5 else (1.0, 2.0, 5.0)
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = np.sort(np.outer(powers, subs).ravel())
    return FixedLocator([float(at) for at in ticks if low <= at <= high][:40])


def unit(name: str, *, log: bool) -> str:
    """Returns the title of an axis, with "log scale" if it is logarithmic."""
    return f"{name}, log scale" if log else name


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Makes a lane for each name, the first on top."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def side_text(axes: Axes, rows: Sequence[str]) -> None:
    """Writes a text to the right of each lane."""
    for lane, text in enumerate(rows):
        axes.annotate(
            text,
            (1, lane),
            (5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            annotation_clip=False,
            fontsize=7.5,
            va="center",
            color=SOFT[0],
        )


def key(figure: Figure, handles: Sequence[Artist], names: Sequence[str], title: str | None = None) -> None:
    """Adds a legend beside the axes, so that it covers nothing."""
    _legend(figure, handles, names, _BESIDE, loc="upper right", title=title, alignment="left", title_fontsize=8.5)


def top_key(figure: Figure, handles: Sequence[Artist], names: Sequence[str], columns: int) -> None:
    """Adds a legend between title and axes, for figures whose lanes need the full width."""
    _legend(figure, handles, names, _ON_TOP, loc="upper left", ncols=columns, columnspacing=1.4)


def _legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str], place: str, **more: Any) -> None:
    found = figure.legend(list(handles), list(names), borderaxespad=0, borderpad=0.2, **more)
    found.set_in_layout(False)  # `finish` reserves its space
    found.set_gid(place)


def finish(figure: Figure, title: str, note: str) -> None:
    """Adds the title and the note, makes space for legends, and fixes the layout: later drawing moves nothing, and
    reads no text as a formula.
    """
    lines = textwrap.wrap(note, NOTE_WIDTH, break_on_hyphens=False)
    height, above, beside, below = float(figure.get_figheight()), _TITLE, 0.0, 0.13 + 0.145 * len(lines)
    for legend in figure.legends:
        box = legend.get_window_extent()
        if legend.get_gid() == _ON_TOP:
            above += box.height / figure.dpi + 0.06
        else:
            beside = box.width / figure.dpi + 0.12
            height = max(height, box.height / figure.dpi + 0.1)
    whole = height + above + below
    figure.set_size_inches(WIDTH, whole)
    for legend in figure.legends:
        legend.set_bbox_to_anchor((0.008, 0, 0.984, 1 - _TITLE / whole), figure.transFigure)
    figure.text(0.012, 1 - 0.09 / whole, title, va="top", fontsize=11.5, fontweight="bold")
    figure.text(0.012, 0.07 / whole, "\n".join(lines), va="bottom", fontsize=7.5, color=SOFT[0], linespacing=1.35)
    engine = figure.get_layout_engine()
    engine.set(rect=(0, below / whole, 1 - beside / WIDTH, height / whole))  # type: ignore[union-attr, call-arg]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        # The solver's last bits differ between processes, and matplotlib hashes SVG ids from the positions.
        x, y, wide, high = axes.get_position(original=True).bounds
        axes.set_position((round(x, 5), round(y, 5), round(wide, 5), round(high, 5)))
    for text in texts(figure):
        text.set_parse_math(False)


def texts(figure: Figure) -> Iterable[Text]:
    """Returns every text in the figure."""
    return (artist for artist in figure.findobj(Text) if isinstance(artist, Text))
