"""Where runners run. So far: this process, on one event loop."""

from __future__ import annotations

from streambench.engines.guard import retry_policy, spent_already
from streambench.engines.local import Job, Measured, Status, Watcher, conclude, measure

__all__ = ["Job", "Measured", "Status", "Watcher", "conclude", "measure", "retry_policy", "spent_already"]
