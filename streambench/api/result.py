"""`RunResult`, which `run`, `resume` and `load` return: a run with its frames, summary, leaderboard and report.

Methods import what they need, as pandas takes half a second to import and plain records do not need it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

from streambench.analysis import run as runs
from streambench.api.arguments import RUN
from streambench.config.arguments import FILE, Place, path_of

if TYPE_CHECKING:
    from streambench.analysis.frames import Frame
    from streambench.analysis.leaderboard import Leaderboard
    from streambench.analysis.summary import Summary


@dataclass(frozen=True)
class RunResult(runs.Run):
    """A run, read from its results folder.

    It has the pandas DataFrames `attempts`, `requests`, `chunks` and, for one model, `chunks_of(model)`; docs/frames.md
    lists their columns. Jupyter shows a run as its leaderboard.
    """

    @classmethod
    def wrap(cls, run: runs.Run) -> Self:
        return cls(**{each.name: getattr(run, each.name) for each in fields(runs.Run)})

    @property
    def status(self) -> str:
        """How the run ended: `complete`, `interrupted`, `budget`, ...; `unfinished` if it was killed or is running."""
        return self.end.status if self.end is not None else "unfinished"

    def summary(self) -> Summary:
        """Returns the numbers per model that summary.json holds. Its `.to_plain()` returns them as JSON data."""
        return self._board.summary

    def leaderboard(self) -> Frame:
        """Returns a DataFrame with one row per model, in the order of the config.

        Index: the model's alias. Columns: `requests`, `ok`, `failed` (counts), then for each estimate, such as
        `ttft_p50_ms`, its value and the ends of its 95 % interval, `<name>_low` and `<name>_high`. The names contain
        the units. NaN means unknown, as the sample is too small.
        """
        from streambench.report.frame import leaderboard_frame

        return leaderboard_frame(self._board)

    def report(self, path: Place | None = None) -> Path:
        """Writes the HTML report, one self-contained file, and returns its path.

        The default path is report.html in the run's folder. Raises DiskError.
        """
        from streambench.report.page import PAGE, write_page

        place = self.path / PAGE if path is None else path_of(path, "path", FILE)
        write_page(self, place, self._board)
        return place

    @cached_property
    def _board(self) -> Leaderboard:
        from streambench.analysis.leaderboard import leaderboard_of

        return leaderboard_of(self)

    def _repr_html_(self) -> str:
        from streambench.report.frame import leaderboard_html

        return leaderboard_html(self._board, self.status)

    def __repr__(self) -> str:
        return f"RunResult({str(self.path)!r}, status={self.status!r}, models={list(self.models)!r})"


@overload
def load(folder: Place, /) -> RunResult: ...


@overload
def load(folder: Place, /, *more: Place) -> runs.Runs: ...


def load(folder: Place, /, *more: Place) -> RunResult | runs.Runs:
    """Returns the run in `folder`, which may still be running; with several folders, their runs together as `Runs`.

    Both have the pandas DataFrames `attempts`, `requests`, `chunks` and, for one model, `chunks_of(model)`;
    docs/frames.md lists their columns. Raises ResultsError, SchemaError.
    """
    if more:
        return runs.load_several([path_of(each, "folder") for each in (folder, *more)])
    return RunResult.wrap(runs.load(path_of(folder, "folder")))


def as_run(run: runs.Run | Place) -> RunResult:
    """Returns the run itself, or the run in this folder. Raises InputError, ResultsError, SchemaError."""
    if isinstance(run, RunResult):
        return run
    return RunResult.wrap(run if isinstance(run, runs.Run) else runs.load(path_of(run, "run", RUN)))
