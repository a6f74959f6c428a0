"""A run's folder: appended to as each attempt ends, read back whole, however the run ended.

    run.json  records.jsonl  end.json  summary.json  summary.csv

A line is one `write` to a file opened for appending, so a killed process loses nothing but the attempts in flight.
"""

from __future__ import annotations

import csv
import errno
import io
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
from streambench.records import AttemptRecord, RunEnd, RunHeader, as_plain, from_line, header_from_plain, to_line

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


class Summarised(Protocol):
    """What `write_summary` needs of a summary, which is built further up."""

    def to_plain(self) -> Mapping[str, Any]: ...

    def to_rows(self) -> Sequence[Mapping[str, Any]]: ...


class Journal:
    """The open journal of a run that goes on. One thread at a time may append.

    `header` is the one given to `create` with its `run_id` set to the folder's name.
    """

    def __init__(self, folder: Path, header: RunHeader, fd: int) -> None:
        self.folder = folder
        self.header = header
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
        except OSError as error:
            raise ResultsError(
                f"cannot make a results folder in {parent}: {_reason(error)}; choose another with --output DIR"
            ) from error
        return cls(folder, header, fd)

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
        """Everything on the disk, and `end.json` if the run's end is known. Safe to call again. Raises DiskError."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            _sync(fd)
            if end is not None:
                _write_whole(self.folder / END, _to_json(as_plain(end)))
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
    """A run read back. `end` is None if it was killed or still goes on; `warnings` say what was skipped."""

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
    return Run(path, header, records, _read_end(path / END, warnings), tuple(warnings))


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


def _write_whole(path: Path, text: str) -> None:
    """All of the file or none of it, whenever we are killed."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("x", encoding="utf-8", newline="") as out:
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
        return header_from_plain(json.loads((path / HEADER).read_bytes()))
    except FileNotFoundError:
        raise ResultsError(f"{path}: is no run, as it has no {HEADER}; give a run's folder") from None
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None
    except OSError as error:
        raise ResultsError(f"{path / HEADER}: cannot be read: {_reason(error)}") from error
    except NO_RECORD as error:
        raise ResultsError(f"{path / HEADER}: is no run's header: {_short(error)}") from error


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


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:160]
