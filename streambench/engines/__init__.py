"""Where runners run. So far: this process, on one event loop."""

from __future__ import annotations

from streambench.engines.guard import retry_policy
from streambench.engines.local import Job, Measured, Watcher, conclude, measure

__all__ = ["Job", "Measured", "Watcher", "conclude", "measure", "retry_policy"]
