"""Where runners run. So far: this process, on one event loop."""

from __future__ import annotations

from streambench.engines.guard import retry_policy, spent_already
from streambench.engines.listeners import NoTelemetry, Telemetry, Watcher
from streambench.engines.local import Job, Measured, Status, conclude, measure

__all__ = [
    "Job",
    "Measured",
    "NoTelemetry",
    "Status",
    "Telemetry",
    "Watcher",
    "conclude",
    "measure",
    "retry_policy",
    "spent_already",
]
