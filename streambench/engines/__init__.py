"""Where runners run. So far: this process, on one event loop."""

from __future__ import annotations

from streambench.engines.local import Job, Measured, Watcher, measure

__all__ = ["Job", "Measured", "Watcher", "measure"]
