"""Traces and metrics: records as spans and points, out by OTLP. `tree` and `observing` are pure views of records.

Each name is loaded when it is first used: whoever only resolves settings does not load OpenTelemetry.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streambench.telemetry.apart import Apart, open_session
    from streambench.telemetry.live import Private
    from streambench.telemetry.pipeline import provider_installed
    from streambench.telemetry.preflight import Trouble, check
    from streambench.telemetry.session import Outcome, Session, send
    from streambench.telemetry.settings import Flags, Settings, resolve

__all__ = [
    "Apart",
    "Flags",
    "Outcome",
    "Private",
    "Session",
    "Settings",
    "Trouble",
    "check",
    "open_session",
    "provider_installed",
    "resolve",
    "send",
]

_ROOMS = {
    "apart": ("Apart", "open_session"),
    "live": ("Private",),
    "pipeline": ("provider_installed",),
    "preflight": ("Trouble", "check"),
    "session": ("Outcome", "Session", "send"),
    "settings": ("Flags", "Settings", "resolve"),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
