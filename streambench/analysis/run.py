"""Reads runs from their folders. `Run` is one run; `Runs` combines the frames of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from streambench.analysis.measured import MeasuredRequest, ModelRequests, RunFacts, by_model, measured_requests
from streambench.errors import ResultsError
from streambench.metrics.definitions import NS_PER_MS
from streambench.metrics.model_names import model_order
from streambench.records.reader import check_segments, end_of_all, part_took_ns, read_end, read_records
from streambench.records.run_folder import RECORDS, end_name, read_header
from streambench.records.schema import AttemptRecord, RunEnd, RunHeader

if TYPE_CHECKING:
    from streambench.analysis.frames import Frame


@dataclass(frozen=True)
class Run:
    """A run read from disk. `end` is None if it was killed or is still running; `warnings` lists what was skipped.

    For a resumed run, `end` is that of its last part, with the client lag of the worst part and the measured time of
    all parts.
    """

    path: Path
    header: RunHeader
    records: tuple[AttemptRecord, ...]
    end: RunEnd | None
    warnings: tuple[str, ...]
    took_ns: int = 0
    """Duration of all parts in ns: each from its anchor to its end (if killed: to the end of its last attempt)."""

    @cached_property
    def facts(self) -> RunFacts:
        """The cached outcomes and findings of the records."""
        return RunFacts(self.header)

    @cached_property
    def measured(self) -> tuple[MeasuredRequest, ...]:
        """The requests of the measured phase, in the order in which they were first recorded."""
        return measured_requests(self.records, self.facts)

    # pandas is imported on first use: the import takes 0.5 s, and plain records do not need it.

    @cached_property
    def attempts(self) -> Frame:
        """One row per attempt: see `frames.attempts_frame`."""
        from streambench.analysis import frames

        return frames.attempts_frame(self.records, self.header, self.facts)

    @cached_property
    def requests(self) -> Frame:
        """One row per request: see `frames.requests_frame`."""
        from streambench.analysis import frames

        return frames.requests_frame(self.records, self.header, self.facts)

    def lag_ms(self, percentile: str = "p99") -> float | None:
        """Returns a percentile of the client's event loop lag in ms; None if the run has no end that states it."""
        lag = self.end.client_lag_ns.get(percentile) if self.end is not None else None
        return None if lag is None else lag / NS_PER_MS

    def chunks_of(self, model: str) -> Frame:
        """Returns the chunks of one model (by alias). Not cached, because the chunks of all may not fit into memory."""
        from streambench.analysis import frames

        return frames.chunks_frame(self.records, self.header, model, self.facts)

    @property
    def models(self) -> tuple[str, ...]:
        """The models' aliases: those of the config in its order, then any others that have records."""
        seen = dict.fromkeys(record.ticket.model for record in self.records)
        return tuple(dict.fromkeys((*model_order(self.header.config), *seen)))

    @cached_property
    def chunks(self) -> Frame:
        """One row per chunk: see `frames.chunks_frame`."""
        from streambench.analysis import frames

        return frames.chunks_frame(self.records, self.header, facts=self.facts)


def requests_by_model(run: Run) -> Mapping[str, ModelRequests]:
    """Returns a run's measured requests by model alias."""
    return by_model(run.header, run.measured)


def load(folder: str | Path) -> Run:
    """Reads the run in `folder`, which may still be running. Raises ResultsError or SchemaError.

    A truncated last line and any line that is not a record are skipped and reported in `warnings`.
    """
    path = Path(folder)
    header = read_header(path)
    warnings: list[str] = []
    records = tuple(read_records(path / RECORDS, warnings))
    check_segments(path, header, records)
    ends = [read_end(path / end_name(segment), warnings) for segment in range(len(header.resumed) + 1)]
    took_ns = sum(part_took_ns(end, segment, records, header) for segment, end in enumerate(ends))
    return Run(path, header, records, end_of_all(ends, records, header), tuple(warnings), took_ns)


@dataclass(frozen=True)
class Runs:
    """Several runs in the order given; each frame has the rows of the first run, then of the second, and so on."""

    runs: tuple[Run, ...]

    @cached_property
    def attempts(self) -> Frame:
        """One row per attempt: see `frames.attempts_frame`."""
        return self._together(lambda run: run.attempts)

    @cached_property
    def requests(self) -> Frame:
        """One row per request: see `frames.requests_frame`."""
        return self._together(lambda run: run.requests)

    @cached_property
    def chunks(self) -> Frame:
        """One row per chunk of all models; `chunks_of` needs less memory."""
        return self._together(lambda run: run.chunks)

    def chunks_of(self, model: str) -> Frame:
        """Returns the chunks of one model (by alias); not cached."""
        return self._together(lambda run: run.chunks_of(model))

    @property
    def models(self) -> tuple[str, ...]:
        """The aliases of the models of all runs."""
        return tuple(dict.fromkeys(model for run in self.runs for model in run.models))

    def _together(self, part: Callable[[Run], Frame]) -> Frame:
        from streambench.analysis import frames

        return frames.together([part(run) for run in self.runs])


def load_several(folders: Sequence[str | Path]) -> Runs:
    """Reads several runs. Raises ResultsError or SchemaError; ResultsError also if a run is given twice, because rows
    are told apart by run id.
    """
    runs = tuple(load(folder) for folder in folders)
    seen: dict[str, Run] = {}
    for run in runs:
        if seen.setdefault(run.header.run_id, run) is not run:
            raise ResultsError(f"{run.path}: this is the same run as {seen[run.header.run_id].path}")
    return Runs(runs)
