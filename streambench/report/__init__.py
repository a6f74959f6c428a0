"""What a run says: its summary as data, and the views that show it, each drawing the same numbers.

Names are loaded when they are asked for: the live view must start before the first request without pandas' half second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streambench.report.live import LiveView, Progress
    from streambench.report.markdown import render_markdown
    from streambench.report.page import PAGE, check_trace_url, render_page, write_page
    from streambench.report.sentences import Line, headline
    from streambench.report.standings import Board, board
    from streambench.report.summary import Estimate, ModelSummary, Summary, exit_code, summarise
    from streambench.report.terminal import render, show, tell
    from streambench.report.text import inert

__all__ = [
    "PAGE",
    "Board",
    "Estimate",
    "Line",
    "LiveView",
    "ModelSummary",
    "Progress",
    "Summary",
    "board",
    "check_trace_url",
    "exit_code",
    "headline",
    "inert",
    "render",
    "render_markdown",
    "render_page",
    "show",
    "summarise",
    "tell",
    "write_page",
]

_HOMES = {
    "standings": ("Board", "board"),
    "sentences": ("Line", "headline"),
    "markdown": ("render_markdown",),
    "page": ("PAGE", "check_trace_url", "render_page", "write_page"),
    "live": ("LiveView", "Progress"),
    "summary": ("Estimate", "ModelSummary", "Summary", "exit_code", "summarise"),
    "terminal": ("render", "show", "tell"),
    "text": ("inert",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
