"""The journal while it is written: a line an attempt, whatever becomes of the process; reopened, it goes on.

A line is one `write` to a file opened for appending, so a killed process loses nothing but the attempts in flight.
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
from streambench.records import AttemptRecord, Resumption, RunEnd, RunHeader, as_plain, to_line
from streambench.results.folder import (
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
from streambench.results.reading import record_in

_CANNOT_LOCK = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS})
_BLOCK = 1 << 16


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
            folder = new_folder(Path(parent), header)
            header = replace(header, run_id=folder.name)
            write_whole(folder / HEADER, to_json(as_plain(header)))
            fd = os.open(folder / RECORDS, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
            _lock(fd)
        except OSError as error:
            raise ResultsError(
                f"cannot make a results folder in {parent}: {reason_of(error)}; choose another with --output DIR"
            ) from error
        return cls(folder, header, fd)

    @classmethod
    def reopen(cls, folder: str | Path) -> Journal:
        """The journal of a run that has stopped, locked and not changed yet: `begin` comes before the first `append`.

        Raises ResultsError, also where another process still writes it.
        """
        path = Path(folder)
        read_header(path)
        fd = _open_locked(path / RECORDS)
        try:
            header = read_header(path)  # once more: it may have been resumed before the lock was ours
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
            sweep_drafts(self.folder)
            cut = _end_with_a_whole_line(self._fd)
            write_whole(self.folder / resume_name(resumption.segment), to_json(as_plain(resumption)))
        except OSError as error:
            raise DiskError(f"cannot resume {self.folder}: {reason_of(error)}; its {kept} records are kept") from error
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
                f"cannot write to {self.folder / RECORDS}: {reason_of(error)}; its {self.written} records are kept"
            ) from error
        self.written += 1
        self._torn = False

    def close(self, end: RunEnd | None = None) -> None:
        """Everything on the disk, and `end.json` if the part's end is known. Safe to call again. Raises DiskError."""
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
        """A half line is taken away again; where that fails, the next line starts on a new one."""
        self._torn = True
        if self._fd is not None:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
                self._torn = False


def _open_locked(path: Path) -> int:
    """The journal's file, also where a run was killed before it made one. Raises ResultsError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {reason_of(error)}") from error
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
