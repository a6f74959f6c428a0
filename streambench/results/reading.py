"""A run read back whole, however it ended: its headers, its records, and the end of all its parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from streambench.errors import ResultsError
from streambench.metrics import NS_PER_MS
from streambench.model_names import model_order
from streambench.records import AttemptRecord, RunEnd, RunHeader, from_line
from streambench.results.folder import NO_RECORD, RECORDS, end_name, read_header, reason_of, resume_name, short

if TYPE_CHECKING:
    from streambench.frames import Frame


@dataclass(frozen=True)
class Run:
    """A run read back. `end` is None if it was killed or still goes on; `warnings` say what was skipped.

    Of a resumed run the end is that of its last part, with the lag of the worst part and the time of all.
    """

    path: Path
    header: RunHeader
    records: tuple[AttemptRecord, ...]
    end: RunEnd | None
    warnings: tuple[str, ...]
    took_ns: int = 0
    """The time of all parts, each from its anchor to its end; of a part that was killed, to its last recorded end."""

    # pandas takes half a second to import, which a reader of plain records need not pay.

    @cached_property
    def attempts(self) -> Frame:
        """One row an attempt: see `frames.attempts_frame`."""
        from streambench import frames

        return frames.attempts_frame(self.records, self.header)

    @cached_property
    def requests(self) -> Frame:
        """One row a request: see `frames.requests_frame`."""
        from streambench import frames

        return frames.requests_frame(self.records, self.header)

    def lag_ms(self, percentile: str = "p99") -> float | None:
        """How late our own event loop was; None where the run has no end that says it."""
        lag = self.end.client_lag_ns.get(percentile) if self.end is not None else None
        return None if lag is None else lag / NS_PER_MS

    def chunks_of(self, model: str) -> Frame:
        """The chunks of one model (its alias), made anew each time: all of them may be more than fit into memory."""
        from streambench import frames

        return frames.chunks_frame(self.records, self.header, model)

    @property
    def models(self) -> tuple[str, ...]:
        """By alias: those of the config, in its order, then any others that have records."""
        seen = dict.fromkeys(record.ticket.model for record in self.records)
        return tuple(dict.fromkeys((*model_order(self.header.config), *seen)))

    @cached_property
    def chunks(self) -> Frame:
        """One row a chunk: see `frames.chunks_frame`."""
        from streambench import frames

        return frames.chunks_frame(self.records, self.header)


def load(folder: str | Path) -> Run:
    """The run in `folder`, also while it still goes on. Raises ResultsError, SchemaError.

    A torn last line, and any line that is no record, is skipped and told of in `warnings`.
    """
    path = Path(folder)
    header = read_header(path)
    warnings: list[str] = []
    records = tuple(_read_records(path / RECORDS, warnings))
    _check_segments(path, header, records)
    ends = [_read_end(path / end_name(segment), warnings) for segment in range(len(header.resumed) + 1)]
    took_ns = sum(_took_ns(end, segment, records) for segment, end in enumerate(ends))
    return Run(path, header, records, _end_of_all(ends, records), tuple(warnings), took_ns)


def _check_segments(path: Path, header: RunHeader, records: Sequence[AttemptRecord]) -> None:
    """Without its part's anchor a record's instants mean nothing."""
    last = max((record.segment for record in records), default=0)
    if last > len(header.resumed):
        missing = resume_name(len(header.resumed) + 1)
        raise ResultsError(f"{path}: {missing} is missing, which dates some of its records")


def _read_records(path: Path, warnings: list[str]) -> Iterator[AttemptRecord]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield from _read_line(line, f"{path.name} line {number}", warnings)
    except FileNotFoundError:
        warnings.append(f"{path.name} is missing: no attempt was recorded")
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {reason_of(error)}") from error


def _read_line(line: bytes, where: str, warnings: list[str]) -> Iterator[AttemptRecord]:
    if not line.strip():
        return
    try:
        yield record_in(line)
    except NO_RECORD as error:
        torn = not line.endswith(b"\n")
        why = f"torn after {len(line)} bytes" if torn else f"no record ({short(error)})"
        warnings.append(f"{where} skipped: {why}")


def record_in(line: bytes) -> AttemptRecord:
    """Raises one of NO_RECORD where the line is torn or no record."""
    record = from_line(line)
    columns = record.timeline
    if len({len(columns.offset_ns), len(columns.kind), len(columns.chars), len(columns.read)}) != 1:
        raise ValueError("the timeline's columns differ in length")
    return record


def _read_end(path: Path, warnings: list[str]) -> RunEnd | None:
    try:
        return RunEnd(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, *NO_RECORD) as error:
        warnings.append(f"{path.name} skipped: {short(error)}")
        return None


def _end_of_all(ends: Sequence[RunEnd | None], records: Sequence[AttemptRecord]) -> RunEnd | None:
    """The last part's end, and with it what holds for all parts together."""
    last = ends[-1]
    if last is None or len(ends) == 1:
        return last
    known = [end for end in ends if end is not None]
    return replace(
        last,
        client_lag_ns=lag_of_all([end.client_lag_ns for end in known]),
        clock_steps=sum(end.clock_steps for end in known),
        clock_error_ns=max(end.clock_error_ns for end in known),
        measured_ns=sum(_measured_ns(end, segment, records) for segment, end in enumerate(ends)),
    )


def lag_of_all(lags: Sequence[Mapping[str, int | None]]) -> dict[str, int | None]:
    """Samples add up; percentiles do not, so each is that of the part where it was worst."""
    known: dict[str, list[int]] = {}
    for lag in lags:
        for name, value in lag.items():
            known.setdefault(name, []).extend([] if value is None else [value])
    join = {name: sum if name == "n" else max for name in known}
    return {name: join[name](values) if values else None for name, values in known.items()}


def _took_ns(end: RunEnd | None, segment: int, records: Sequence[AttemptRecord]) -> int:
    if end is not None:
        return end.ended_at_ns
    of_part = (record for record in records if record.segment == segment)
    return max((record.start_at_ns + record.ended_ns for record in of_part), default=0)


def _measured_ns(end: RunEnd | None, segment: int, records: Sequence[AttemptRecord]) -> int:
    """A part's measured window; of one that was killed, from its first recorded start to its last recorded end."""
    if end is not None:
        return end.window_ns or 0
    spans = [
        (record.start_at_ns, record.start_at_ns + record.ended_ns)
        for record in records
        if record.segment == segment and record.ticket.phase == "measure"
    ]
    return max(ended for _, ended in spans) - min(started for started, _ in spans) if spans else 0
