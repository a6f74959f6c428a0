"""Writes the journal of a run: one line per attempt. It can be reopened to resume the run.

A line is one `write` to a file opened for appending, so a killed process loses only the attempts in flight.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from streambench.errors import DiskError, ResultsError
from streambench.records.reader import record_in
from streambench.records.run_folder import (
    HEADER,
    NO_RECORD,
    RECORDS,
    end_name,
    new_folder,
    read_header,
    reason_of,
    resume_name,
    sweep_drafts,
    sync,
    to_json,
    write_whole,
)
from streambench.records.schema import AttemptRecord, Resumption, RunEnd, RunHeader, as_plain, header_to_plain, to_line

_CANNOT_LOCK = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS})
_BLOCK = 1 << 16


class Journal:
    """The open journal of a run. Only one thread at a time may append. The process holds a lock on the file.

    `header` is the one given to `create` with its `run_id` set to the folder's name, or the one read by `reopen`.
    `written` is the number of records in the journal.
    """

    def __init__(self, folder: Path, header: RunHeader, fd: int, segment: int = 0) -> None:
        self.folder = folder
        self.header = header
        self.segment = segment
        """The part of the run that is being written: 0 unless the run was resumed."""
        self.written = 0
        self._fd: int | None = fd
        self._size = os.fstat(fd).st_size
        self._torn = False

    @classmethod
    def create(cls, parent: str | Path, header: RunHeader) -> Journal:
        """Makes a new folder under `parent`, with `run.json` and an empty journal. Raises ResultsError."""
        try:
            folder = new_folder(Path(parent), header)
            header = replace(header, run_id=folder.name)
            write_whole(folder / HEADER, to_json(header_to_plain(header)))
            fd = os.open(folder / RECORDS, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
            _lock(fd)
        except OSError as error:
            raise ResultsError(
                f"cannot create a results folder in {parent}: {reason_of(error)}; choose another with --output DIR"
            ) from error
        return cls(folder, header, fd)

    @classmethod
    def reopen(cls, folder: str | Path) -> Journal:
        """Opens and locks the journal of a stopped run without changing it. Call `begin` before the first `append`.

        Raises ResultsError if the folder does not hold a run, or if another process still writes to it.
        """
        path = Path(folder)
        read_header(path)
        fd = _open_locked(path / RECORDS)
        try:
            header = read_header(path)  # again: another process may have resumed the run before the lock
        except ResultsError:
            os.close(fd)
            raise
        return cls(path, header, fd, segment=len(header.resumed) + 1)

    def begin(self, resumption: Resumption, kept: int) -> int:
        """Writes the header of the run's next part, and removes a torn last line. Raises DiskError.

        `kept` is the number of records in the journal. Returns the number of bytes removed.
        """
        if self._fd is None:
            raise DiskError(f"cannot resume {self.folder}: the journal is closed")
        try:
            sweep_drafts(self.folder)
            cut = _end_with_a_whole_line(self._fd)
            write_whole(self.folder / resume_name(resumption.segment), to_json(header_to_plain(resumption)))
        except OSError as error:
            raise DiskError(f"cannot resume {self.folder}: {reason_of(error)}; its {kept} records are kept") from error
        self._size = os.fstat(self._fd).st_size
        self.header = replace(self.header, resumed=(*self.header.resumed, resumption))
        self.written = kept
        return cut

    def append(self, record: AttemptRecord) -> None:
        """Writes a record as one line, which the kernel has when this returns.

        Raises DiskError; the line is then not in the file.
        """
        line = f"{to_line(record)}\n".encode()
        try:
            self._write(b"\n" + line if self._torn else line)
        except OSError as error:
            self._cut_back()
            raise DiskError(
                f"cannot write to {self.folder / RECORDS}: {reason_of(error)}; its {self.written} records are kept"
            ) from error
        self.written += 1
        self._torn = False

    def close(self, end: RunEnd | None = None) -> None:
        """Syncs the journal to disk, writes the part's end if given, and closes it. Further calls do nothing.

        Raises DiskError.
        """
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            sync(fd)
            if end is not None:
                write_whole(self.folder / end_name(self.segment), to_json(as_plain(end)))
        except OSError as error:
            raise DiskError(
                f"cannot finish {self.folder}: {reason_of(error)}; its {self.written} records are kept"
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
        """Removes a partly written line. If that fails, the next record starts on a new line."""
        self._torn = True
        if self._fd is not None:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
                self._torn = False


def _open_locked(path: Path) -> int:
    """Opens and locks the journal's file, and creates it if the run was killed before it did. Raises ResultsError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {reason_of(error)}") from error
    try:
        _lock(fd)
    except OSError as error:
        os.close(fd)
        raise ResultsError(f"{path.parent}: this run is still in progress; resume it after it has stopped") from error
    return fd


def _lock(fd: int) -> None:
    """Locks the file for one writer; the kernel releases the lock when the process ends.

    Raises BlockingIOError if another process holds the lock.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:  # some network folders have no locks; then the run goes on without
            raise


def _end_with_a_whole_line(fd: int) -> int:
    """Removes a torn last line, or adds the newline that a complete last line lacks. Returns the bytes removed."""
    size = os.fstat(fd).st_size
    tail = _after_last_line(fd, size)
    if not tail:
        return 0
    try:
        record_in(tail)
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
