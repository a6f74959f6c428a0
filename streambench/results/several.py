"""Several runs as one set of frames: the column `run_id` tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from streambench.errors import ResultsError
from streambench.results.reading import Run, load

if TYPE_CHECKING:
    from streambench.frames import Frame


@dataclass(frozen=True)
class Runs:
    """Runs in the order they were asked for; the frames have the rows of the first, then of the second, ..."""

    runs: tuple[Run, ...]

    @cached_property
    def attempts(self) -> Frame:
        """One row an attempt: see `frames.attempts_frame`."""
        return self._together(lambda run: run.attempts)

    @cached_property
    def requests(self) -> Frame:
        """One row a request: see `frames.requests_frame`."""
        return self._together(lambda run: run.requests)

    @cached_property
    def chunks(self) -> Frame:
        """One row a chunk, of all models; `chunks_of` takes less memory."""
        return self._together(lambda run: run.chunks)

    def chunks_of(self, model: str) -> Frame:
        """The chunks of one model, made anew each time."""
        return self._together(lambda run: run.chunks_of(model))

    @property
    def models(self) -> tuple[str, ...]:
        """Of all runs, by alias."""
        return tuple(dict.fromkeys(model for run in self.runs for model in run.models))

    def _together(self, part: Callable[[Run], Frame]) -> Frame:
        from streambench import frames

        return frames.together([part(run) for run in self.runs])


def load_several(folders: Sequence[str | Path]) -> Runs:
    """Raises ResultsError, SchemaError; also where a run is given twice, whose rows nobody could tell apart."""
    runs = tuple(load(folder) for folder in folders)
    seen: dict[str, Run] = {}
    for run in runs:
        if seen.setdefault(run.header.run_id, run) is not run:
            raise ResultsError(f"{run.path}: is the same run as {seen[run.header.run_id].path}")
    return Runs(runs)
