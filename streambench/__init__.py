"""streambench: fair, true timings of many models' token streams. `streambench.load(folder)` reads a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from os import PathLike

    from streambench.results import Run, Runs


@overload
def load(folder: str | PathLike[str], /) -> Run: ...


@overload
def load(folder: str | PathLike[str], /, *more: str | PathLike[str]) -> Runs: ...


def load(folder: str | PathLike[str], /, *more: str | PathLike[str]) -> Run | Runs:
    """A run read back from its results folder, or several as one: see `results.Run` and `results.Runs`.

    Both have the pandas frames `attempts`, `requests`, `chunks` and, for one model, `chunks_of(model)`; their columns
    are in docs/frames.md. Raises ResultsError, SchemaError.
    """
    from streambench.results import load as load_run
    from streambench.results import load_several

    return load_several([str(folder), *map(str, more)]) if more else load_run(str(folder))
