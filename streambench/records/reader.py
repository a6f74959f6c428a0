"""Reads the records and ends of a run's folder, and combines the ends of a resumed run's parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from streambench.errors import ResultsError
from streambench.records.run_folder import NO_RECORD, reason_of, resume_name, short
from streambench.records.schema import AttemptRecord, RunEnd, RunHeader, from_line


def check_segments(path: Path, header: RunHeader, records: Sequence[AttemptRecord]) -> None:
    """Raises ResultsError if a part's header is missing: without its anchor, its records' instants are unknown."""
    last = max((record.segment for record in records), default=0)
    if last > len(header.resumed):
        missing = resume_name(len(header.resumed) + 1)
        raise ResultsError(f"{path}: {missing} is missing, so the times of some records are unknown")
    for segment, worker in sorted({(record.segment, record.worker) for record in records if record.worker}):
        try:
            header.anchor_wall_ns(segment, worker)
        except LookupError as error:
            raise ResultsError(f"{path}: {error}, so the times of some records are unknown") from error


def read_records(path: Path, warnings: list[str]) -> Iterator[AttemptRecord]:
    """Yields the records of a journal. A missing file or a bad line adds a warning and is skipped.

    Raises ResultsError if the file cannot be read.
    """
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
        why = f"cut off after {len(line)} bytes" if torn else f"not a record ({short(error)})"
        warnings.append(f"{where} skipped: {why}")


def record_in(line: bytes) -> AttemptRecord:
    """Returns the record in a line of the journal. Raises one of NO_RECORD if the line is torn or not a record."""
    record = from_line(line)
    columns = record.timeline
    if len({len(columns.offset_ns), len(columns.kind), len(columns.chars), len(columns.read)}) != 1:
        raise ValueError("the timeline's columns differ in length")
    return record


def read_end(path: Path, warnings: list[str]) -> RunEnd | None:
    """Returns a part's end; None if the file is missing, or unreadable, which adds a warning."""
    try:
        return RunEnd(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, *NO_RECORD) as error:
        warnings.append(f"{path.name} skipped: {short(error)}")
        return None


def end_of_all(ends: Sequence[RunEnd | None], records: Sequence[AttemptRecord], header: RunHeader) -> RunEnd | None:
    """Returns the last part's end with lag, clock and measured time of all parts; None if the last part has no end."""
    last = ends[-1]
    if last is None or len(ends) == 1:
        return last
    known = [end for end in ends if end is not None]
    return replace(
        last,
        client_lag_ns=lag_of_all([end.client_lag_ns for end in known]),
        clock_steps=sum(end.clock_steps for end in known),
        clock_error_ns=max(end.clock_error_ns for end in known),
        measured_ns=sum(_measured_ns(end, segment, records, header) for segment, end in enumerate(ends)),
    )


def lag_of_all(lags: Sequence[Mapping[str, int | None]]) -> dict[str, int | None]:
    """Combines the lag summaries of parts: sample counts add up; each percentile is the largest of any part."""
    known: dict[str, list[int]] = {}
    for lag in lags:
        for name, value in lag.items():
            known.setdefault(name, []).extend([] if value is None else [value])
    join = {name: sum if name == "n" else max for name in known}
    return {name: join[name](values) if values else None for name, values in known.items()}


def part_took_ns(end: RunEnd | None, segment: int, records: Sequence[AttemptRecord], header: RunHeader) -> int:
    """Returns a part's duration in ns: until its end; without one, until its last recorded attempt ended."""
    if end is not None:
        return end.ended_at_ns
    of_part = (record for record in records if record.segment == segment)
    return max((header.start_in_part_ns(record) + record.ended_ns for record in of_part), default=0)


def _measured_ns(end: RunEnd | None, segment: int, records: Sequence[AttemptRecord], header: RunHeader) -> int:
    """Returns a part's measured time in ns; without an end, from its first recorded start to its last recorded end."""
    if end is not None:
        return end.window_ns or 0
    spans = [
        (header.start_in_part_ns(record), header.start_in_part_ns(record) + record.ended_ns)
        for record in records
        if record.segment == segment and record.ticket.phase == "measure"
    ]
    return max(ended for _, ended in spans) - min(started for started, _ in spans) if spans else 0
