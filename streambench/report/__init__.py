"""What a run says: its summary as data, and the views that show it, each drawing the same numbers.

Names are loaded when they are asked for: the live view must start before the first request without pandas' half second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streambench.report.comparison import compared_markdown, compared_plain, compared_terminal
    from streambench.report.forecasting import plan_text
    from streambench.report.grid import markdown_text
    from streambench.report.groups import grouping, groups_markdown, groups_terminal
    from streambench.report.lane import lane_text
    from streambench.report.live import LiveView, Progress
    from streambench.report.markdown import render_markdown
    from streambench.report.names import lines_of
    from streambench.report.page import PAGE, check_trace_url, render_page, write_page
    from streambench.report.runs_page import compared_html, trend_html
    from streambench.report.sentences import Line, headline
    from streambench.report.standings import Board, board
    from streambench.report.summary import Estimate, ModelSummary, Summary, exit_code, summarise
    from streambench.report.terminal import render, show, tell
    from streambench.report.together import board_together
    from streambench.report.trending import trend_markdown, trend_plain, trend_terminal
    from streambench.report.verdict import (
        doubts_markdown,
        doubts_terminal,
        junit_xml,
        verdict_line,
        verdict_markdown,
        verdict_plain,
        verdict_terminal,
    )

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
    "board_together",
    "check_trace_url",
    "compared_html",
    "compared_markdown",
    "compared_plain",
    "compared_terminal",
    "doubts_markdown",
    "doubts_terminal",
    "exit_code",
    "grouping",
    "groups_markdown",
    "groups_terminal",
    "headline",
    "junit_xml",
    "lane_text",
    "lines_of",
    "markdown_text",
    "plan_text",
    "render",
    "render_markdown",
    "render_page",
    "show",
    "summarise",
    "tell",
    "trend_html",
    "trend_markdown",
    "trend_plain",
    "trend_terminal",
    "verdict_line",
    "verdict_markdown",
    "verdict_plain",
    "verdict_terminal",
    "write_page",
]

_HOMES = {
    "comparison": ("compared_markdown", "compared_plain", "compared_terminal"),
    "forecasting": ("plan_text",),
    "grid": ("markdown_text",),
    "groups": ("grouping", "groups_markdown", "groups_terminal"),
    "lane": ("lane_text",),
    "names": ("lines_of",),
    "standings": ("Board", "board"),
    "sentences": ("Line", "headline"),
    "markdown": ("render_markdown",),
    "page": ("PAGE", "check_trace_url", "render_page", "write_page"),
    "runs_page": ("compared_html", "trend_html"),
    "live": ("LiveView", "Progress"),
    "summary": ("Estimate", "ModelSummary", "Summary", "exit_code", "summarise"),
    "terminal": ("render", "show", "tell"),
    "together": ("board_together",),
    "trending": ("trend_markdown", "trend_plain", "trend_terminal"),
    "verdict": (
        "doubts_markdown",
        "doubts_terminal",
        "junit_xml",
        "verdict_line",
        "verdict_markdown",
        "verdict_plain",
        "verdict_terminal",
    ),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
