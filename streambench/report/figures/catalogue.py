"""Every figure by its name. `all_figures(run)` draws each, or gives the reason why it is skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from streambench.report.figures.chunk_gaps import chunk_gaps, gap_heatmap
from streambench.report.figures.client_lag import lags
from streambench.report.figures.cost import cost_speed
from streambench.report.figures.data import FigureData
from streambench.report.figures.figure import (
    DrawnFigure,
    FigureOf,
    ImageFormat,
    SkippedFigure,
    save,
    to_png,
    to_svg,
    write,
)
from streambench.report.figures.latency import latency_by_prompt, ttft_by_prompt_length, ttft_ecdf
from streambench.report.figures.outcomes import findings, outcomes
from streambench.report.figures.over_time import latency_over_time
from streambench.report.figures.pace import pace
from streambench.report.figures.run_comparison import run_changes, run_levels
from streambench.report.figures.svg import dark_css
from streambench.report.figures.turns import ttft_by_turn
from streambench.report.figures.waterfall import waterfall

if TYPE_CHECKING:
    from streambench.analysis.run import Run

__all__ = [
    "FIGURES",
    "DrawnFigure",
    "FigureData",
    "ImageFormat",
    "SkippedFigure",
    "all_figures",
    "dark_css",
    "run_changes",
    "run_levels",
    "save",
    "to_png",
    "to_svg",
    "write",
]

FIGURES: Mapping[str, FigureOf] = {
    "ttft-ecdf": ttft_ecdf,
    "latency-by-prompt": latency_by_prompt,
    "pace": pace,
    "chunk-gaps": chunk_gaps,
    "gap-heatmap": gap_heatmap,
    "outcomes": outcomes,
    "findings": findings,
    "latency-over-time": latency_over_time,
    "ttft-by-prompt-length": ttft_by_prompt_length,
    "ttft-by-turn": ttft_by_turn,
    "cost-speed": cost_speed,
    "waterfall": waterfall,
    "lags": lags,
}
"""Every figure by its name, in the order in which a page shows them."""


def all_figures(run: Run) -> list[DrawnFigure | SkippedFigure]:
    """Returns every figure of the run in the order of FIGURES: drawn, or skipped with the reason."""
    material = FigureData.of(run)
    return [draw(material) for draw in FIGURES.values()]
