"""A run as figures in the house style: `all_figures(run)` draws each, or says why it is left out; `save` writes it.

The only door to matplotlib. Pure: a run goes in, matplotlib Figures come out; pyplot and global settings are not
touched. What each figure shows, and the style's rules: docs/figures.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from streambench.plots.cost import cost_speed
from streambench.plots.drawn import Drawn, FigureOf, Kind, Left, save, to_png, to_svg, write
from streambench.plots.gaps import chunk_gaps, gap_heatmap
from streambench.plots.lags import lags
from streambench.plots.latency import latency_by_prompt, ttft_by_prompt_length, ttft_ecdf
from streambench.plots.material import Material
from streambench.plots.of_runs import run_changes, run_levels
from streambench.plots.over_time import latency_over_time
from streambench.plots.pace import pace
from streambench.plots.svg import dark_css
from streambench.plots.turns import ttft_by_turn
from streambench.plots.verdicts import findings, outcomes
from streambench.plots.waterfall import waterfall

if TYPE_CHECKING:
    from streambench.results import Run

__all__ = [
    "FIGURES",
    "Drawn",
    "Kind",
    "Left",
    "Material",
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


def all_figures(run: Run) -> list[Drawn | Left]:
    """Every figure of the run, in order: drawn, or left out with the reason."""
    material = Material.of(run)
    return [draw(material) for draw in FIGURES.values()]
