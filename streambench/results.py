"""A run's folder: appended to as each attempt ends, read back whole, however the run ended.

    run.json  records.jsonl  end.json  summary.json  summary.csv    resume-1.json  end-1.json  ...

A line is one `write` to a file opened for appending, so a killed process loses nothing but the attempts in flight.
A run that is resumed gets a header and an end for each further part; the journal stays one.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import itertools
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from streambench.clock import utc_stamp
from streambench.errors import DiskError, ResultsError, SchemaError
from streambench.records import (
    AttemptRecord,
    Resumption,
    RunEnd,
    RunHeader,
    as_plain,
    from_line,
    header_from_plain,
    resumption_from_plain,
    to_line,
)

if TYPE_CHECKING:
    from streambench.frames import Frame

HEADER = "run.json"
RECORDS = "records.jsonl"
END = "end.json"
SUMMARY_JSON = "summary.json"
SUMMARY_CSV = "summary.csv"

NO_RECORD = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading a line that is no record may raise."""

FORMULA = tuple("=+-@\t\r")
"""What a spreadsheet takes for the start of a formula."""

_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EROFS})
_CANNOT_LOCK = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS})
_BLOCK = 1 << 16


class Summarised(Protocol):
    """What `write_summary` needs of a summary, which is built further up."""

    def to_plain(self) -> Mapping[str, Any]: ...

    def to_rows(self) -> Sequence[Mapping[str, Any]]: ...


class Journal:
    """The open journal of a run that goes on. One thread at a time may append; the process that does holds its lock.

    `header` is the one given to `create` with its `run_id` set to the folder's name, or the one found by `reopen`.
    """

    def __init__(self, folder: Path, header: RunHeader, fd: int, segment: int = 0) -> None:
        self.folder = folder
        self.header = header
        self.segment = segment
        """Which part of the run is being written: 0 unless it is resumed."""
        self.written = 0
        self._fd: int | None = fd
        self._size = os.fstat(fd).st_size
        self._torn = False

    @classmethod
    def create(cls, parent: str | Path, header: RunHeader) -> Journal:
        """A new folder under `parent`, with `run.json` and an empty journal. Raises ResultsError."""
        try:
            folder = _new_folder(Path(parent), header)
            header = replace(header, run_id=folder.name)
            _write_whole(folder / HEADER, _to_json(as_plain(header)))
            fd = os.open(folder / RECORDS, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
            _lock(fd)
        except OSError as error:
            raise ResultsError(
                f"cannot make a results folder in {parent}: {_reason(error)}; choose another with --output DIR"
            ) from error
        return cls(folder, header, fd)

    @classmethod
    def reopen(cls, folder: str | Path) -> Journal:
        """The journal of a run that has stopped, locked and not changed yet: `begin` comes before the first `append`.

        Raises ResultsError, also where another process still writes it.
        """
        path = Path(folder)
        _read_header(path)
        fd = _open_locked(path / RECORDS)
        try:
            header = _read_header(path)  # once more: it may have been resumed before the lock was ours
        except ResultsError:
            os.close(fd)
            raise
        return cls(path, header, fd, segment=len(header.resumed) + 1)

    def begin(self, resumption: Resumption, kept: int) -> int:
        """Writes the header of the run's next part and makes the journal end with a whole line. Raises DiskError.

        `kept` is the number of records that are there. Returns how many bytes of a torn last line were cut off.
        """
        if self._fd is None:
            raise DiskError(f"cannot resume {self.folder}: the journal is closed")
        try:
            _sweep_drafts(self.folder)
            cut = _end_with_a_whole_line(self._fd)
            _write_whole(self.folder / _resume_name(resumption.segment), _to_json(as_plain(resumption)))
        except OSError as error:
            raise DiskError(f"cannot resume {self.folder}: {_reason(error)}; its {kept} records are kept") from error
        self._size = os.fstat(self._fd).st_size
        self.header = replace(self.header, resumed=(*self.header.resumed, resumption))
        self.written = kept
        return cut

    def append(self, record: AttemptRecord) -> None:
        """One more line, in the kernel's hands when this returns. Raises DiskError; then the line is not there."""
        line = f"{to_line(record)}\n".encode()
        try:
            self._write(b"\n" + line if self._torn else line)
        except OSError as error:
            self._cut_back()
            raise DiskError(
                f"cannot write to {self.folder / RECORDS}: {_reason(error)}; its {self.written} records are kept"
            ) from error
        self.written += 1
        self._torn = False

    def close(self, end: RunEnd | None = None) -> None:
        """Everything on the disk, and `end.json` if the part's end is known. Safe to call again. Raises DiskError."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            _sync(fd)
            if end is not None:
                _write_whole(self.folder / _end_name(self.segment), _to_json(as_plain(end)))
        except OSError as error:
            raise DiskError(
                f"cannot finish {self.folder}: {_reason(error)}; its {self.written} records are kept"
            ) from error
        finally:
            os.close(fd)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        if self._fd is None:
            raise OSError("the journal is closed")
        left = memoryview(line)
        while left:
            left = left[os.write(self._fd, left) :]
        self._size += len(line)

    def _cut_back(self) -> None:
        """A half line is taken away again; where that fails, the next line starts on a new one."""
        self._torn = True
        if self._fd is not None:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
                self._torn = False


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
    header = _read_header(path)
    warnings: list[str] = []
    records = tuple(_read_records(path / RECORDS, warnings))
    _check_segments(path, header, records)
    ends = [_read_end(path / _end_name(segment), warnings) for segment in range(len(header.resumed) + 1)]
    return Run(path, header, records, _end_of_all(ends, records), tuple(warnings))


def write_summary(folder: str | Path, summary: Summarised) -> None:
    """`summary.json`, and the same numbers as a flat table in `summary.csv`. Raises DiskError."""
    path = Path(folder)
    try:
        _write_whole(path / SUMMARY_JSON, _to_json(summary.to_plain()))
        _write_whole(path / SUMMARY_CSV, to_csv(summary.to_rows()))
    except OSError as error:
        raise DiskError(f"cannot write the summary into {path}: {_reason(error)}") from error


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with the first row's keys as its head; a text that a spreadsheet would run as a formula is inert."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180, and only so does `csv` quote a lone \r
    if rows:
        writer.writerow(rows[0])
    writer.writerows([_inert(row[key]) for key in rows[0]] for row in rows)
    return out.getvalue()


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _new_folder(parent: Path, header: RunHeader) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    start = f"{slug(header.name)}-{utc_stamp(header.wall_ns)}"
    while True:
        folder = parent / f"{start}-{secrets.token_hex(3)}"
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


def slug(name: str) -> str:
    """A name as a part of a file's name: a-z, 0-9 and single hyphens, 1 to 40 of them."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:40].strip("-") or "run"


def _to_json(plain: Any) -> str:
    return json.dumps(plain, indent=2, default=_to_plain) + "\n"


def _to_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _end_name(segment: int) -> str:
    return f"end-{segment}.json" if segment else END


def _resume_name(segment: int) -> str:
    return f"resume-{segment}.json"


def _open_locked(path: Path) -> int:
    """The journal's file, also where a run was killed before it made one. Raises ResultsError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {_reason(error)}") from error
    try:
        _lock(fd)
    except OSError as error:
        os.close(fd)
        raise ResultsError(f"{path.parent}: this run still goes on; it can be resumed once it has stopped") from error
    return fd


def _lock(fd: int) -> None:
    """One writer at a time; the kernel unlocks when the process is gone. Raises BlockingIOError if another has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:  # some network folders know no locks: the run is worth more
            raise


def _end_with_a_whole_line(fd: int) -> int:
    """Cuts a torn last line off, or ends a whole one that lacks only its line's end. Returns the bytes cut."""
    size = os.fstat(fd).st_size
    tail = _after_last_line(fd, size)
    if not tail:
        return 0
    try:
        _whole(from_line(tail))
    except NO_RECORD:
        os.ftruncate(fd, size - len(tail))
        return len(tail)
    os.write(fd, b"\n")
    return 0


def _after_last_line(fd: int, size: int) -> bytes:
    tail = b""
    while size and b"\n" not in tail:
        start = max(0, size - _BLOCK)
        tail = os.pread(fd, size - start, start) + tail
        size = start
    return tail.rpartition(b"\n")[2]


def _sweep_drafts(folder: Path) -> None:
    """What a process that was killed in `_write_whole` left behind."""
    for draft in folder.glob(".*.json.*"):
        draft.unlink(missing_ok=True)


def _write_whole(path: Path, text: str) -> None:
    """All of the file or none of it, whenever we are killed."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        _sync(fd)
    finally:
        os.close(fd)


def _sync(fd: int) -> None:
    # A pipe, a device or a network folder may refuse to sync and hold the data all the same; a full disk may not.
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _read_header(path: Path) -> RunHeader:
    if not path.is_dir():
        raise ResultsError(f"{path}: {'is no folder' if path.exists() else 'no such folder'}; give a run's folder")
    try:
        header = header_from_plain(json.loads((path / HEADER).read_bytes()))
    except FileNotFoundError:
        raise ResultsError(f"{path}: is no run, as it has no {HEADER}; give a run's folder") from None
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None
    except OSError as error:
        raise ResultsError(f"{path / HEADER}: cannot be read: {_reason(error)}") from error
    except NO_RECORD as error:
        raise ResultsError(f"{path / HEADER}: is no run's header: {_short(error)}") from error
    return replace(header, resumed=tuple(_read_resumptions(path)))


def _read_resumptions(path: Path) -> Iterator[Resumption]:
    for segment in itertools.count(1):
        file = path / _resume_name(segment)
        try:
            yield resumption_from_plain(json.loads(file.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, *NO_RECORD) as error:
            raise ResultsError(f"{file}: is no header of a resumed run: {_short(error)}") from error


def _check_segments(path: Path, header: RunHeader, records: Sequence[AttemptRecord]) -> None:
    """Without its part's anchor a record's instants mean nothing."""
    last = max((record.segment for record in records), default=0)
    if last > len(header.resumed):
        missing = _resume_name(len(header.resumed) + 1)
        raise ResultsError(f"{path}: {missing} is missing, which dates some of its records")


def _read_records(path: Path, warnings: list[str]) -> Iterator[AttemptRecord]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield from _read_line(line, f"{path.name} line {number}", warnings)
    except FileNotFoundError:
        warnings.append(f"{path.name} is missing: no attempt was recorded")
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {_reason(error)}") from error


def _read_line(line: bytes, where: str, warnings: list[str]) -> Iterator[AttemptRecord]:
    if not line.strip():
        return
    try:
        yield _whole(from_line(line))
    except NO_RECORD as error:
        torn = not line.endswith(b"\n")
        why = f"torn after {len(line)} bytes" if torn else f"no record ({_short(error)})"
        warnings.append(f"{where} skipped: {why}")


def _whole(record: AttemptRecord) -> AttemptRecord:
    line = record.timeline
    if len({len(line.offset_ns), len(line.kind), len(line.chars), len(line.read)}) != 1:
        raise ValueError("the timeline's columns differ in length")
    return record


def _read_end(path: Path, warnings: list[str]) -> RunEnd | None:
    try:
        return RunEnd(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, *NO_RECORD) as error:
        warnings.append(f"{path.name} skipped: {_short(error)}")
        return None


def _end_of_all(ends: Sequence[RunEnd | None], records: Sequence[AttemptRecord]) -> RunEnd | None:
    """The last part's end, and with it what holds for all parts together."""
    last = ends[-1]
    if last is None or len(ends) == 1:
        return last
    known = [end for end in ends if end is not None]
    return replace(
        last,
        client_lag_ns=_lag_of_all([end.client_lag_ns for end in known]),
        clock_steps=sum(end.clock_steps for end in known),
        clock_error_ns=max(end.clock_error_ns for end in known),
        measured_ns=sum(_measured_ns(end, segment, records) for segment, end in enumerate(ends)),
    )


def _lag_of_all(lags: Sequence[Mapping[str, int | None]]) -> dict[str, int | None]:
    """Samples add up; percentiles do not, so each is that of the part where it was worst."""
    known: dict[str, list[int]] = {}
    for lag in lags:
        for name, value in lag.items():
            known.setdefault(name, []).extend([] if value is None else [value])
    join = {name: sum if name == "n" else max for name in known}
    return {name: join[name](values) if values else None for name, values in known.items()}


def _measured_ns(end: RunEnd | None, segment: int, records: Sequence[AttemptRecord]) -> int:
    """A part's measured window; of one that was killed, from its first recorded start to its last recorded end."""
    if end is not None:
        if end.measure_started_at_ns is None or end.measure_ended_at_ns is None:
            return 0
        return end.measure_ended_at_ns - end.measure_started_at_ns
    spans = [
        (record.start_at_ns, record.start_at_ns + record.ended_ns)
        for record in records
        if record.segment == segment and record.ticket.phase == "measure"
    ]
    return max(ended for _, ended in spans) - min(started for started, _ in spans) if spans else 0


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:160]
