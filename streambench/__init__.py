"""streambench: fair, true timings of many models' token streams. `streambench.load(folder)` reads a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from streambench.results import Run


def load(folder: str) -> Run:
    """A run read back from its results folder; see `streambench.results.Run`. Raises ResultsError, SchemaError."""
    from streambench.results import load as load_run

    return load_run(folder)
