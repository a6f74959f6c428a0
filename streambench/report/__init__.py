"""What a run says: its summary as data, and the views that show it, each drawing the same numbers.

Names are loaded when they are asked for: the live view must start before the first request without pandas' half second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streambench.report.live import LiveView, Progress
    from streambench.report.summary import Estimate, ModelSummary, Summary, exit_code, summarise
    from streambench.report.terminal import render, show
    from streambench.report.text import inert

__all__ = [
    "Estimate",
    "LiveView",
    "ModelSummary",
    "Progress",
    "Summary",
    "exit_code",
    "inert",
    "render",
    "show",
    "summarise",
]

_HOMES = {
    "live": ("LiveView", "Progress"),
    "summary": ("Estimate", "ModelSummary", "Summary", "exit_code", "summarise"),
    "terminal": ("render", "show"),
    "text": ("inert",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
