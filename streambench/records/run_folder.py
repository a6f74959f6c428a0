"""The files of a run's folder: their names, writing whole files atomically, reading the headers."""

from __future__ import annotations

import errno
import itertools
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from streambench.clock import utc_stamp
from streambench.errors import DiskError, ResultsError, SchemaError
from streambench.records.schema import Resumption, RunHeader, header_from_plain, resumption_from_plain
from streambench.text import for_file_name

HEADER = "run.json"
RECORDS = "records.jsonl"
END = "end.json"

NO_RECORD = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""Exceptions that parsing raises if a line or file does not hold a record."""

_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EROFS})


def new_folder(parent: Path, header: RunHeader) -> Path:
    """Creates a folder named after the run, its start (UTC) and six random hex digits. Raises OSError."""
    parent.mkdir(parents=True, exist_ok=True)
    start = f"{for_file_name(header.name)}-{utc_stamp(header.wall_ns)}"
    while True:
        folder = parent / f"{start}-{secrets.token_hex(3)}"
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


def end_name(segment: int) -> str:
    """Returns the file name of a part's `RunEnd`."""
    return f"end-{segment}.json" if segment else END


def resume_name(segment: int) -> str:
    """Returns the file name of a resumed part's header."""
    return f"resume-{segment}.json"


def to_json(plain: Any) -> str:
    """Returns indented JSON with a final newline. Mappings and paths are accepted. Raises TypeError for other types."""
    return json.dumps(plain, indent=2, default=_to_plain) + "\n"


def _to_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def write_whole(path: Path, text: str) -> None:
    """Writes a file atomically: if the process is killed, the file is complete or unchanged. Raises OSError."""
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


def write_asked(path: Path, text: str) -> None:
    """Writes a file that the user asked for, atomically. Raises DiskError."""
    try:
        write_whole(path, text)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {reason_of(error)}") from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        sync(fd)
    finally:
        os.close(fd)


def sync(fd: int) -> None:
    """Writes a file's data to the disk. Raises OSError, for example if the disk is full."""
    # Pipes, devices and some network folders do not support fsync although they keep the data.
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sweep_drafts(folder: Path) -> None:
    """Deletes the temporary files of processes that were killed in `write_whole`."""
    for draft in folder.glob(".*.json.*"):
        draft.unlink(missing_ok=True)


def reason_of(error: OSError) -> str:
    """Returns the system's message, such as `No space left on device`."""
    return error.strerror or str(error)


def read_header(path: Path) -> RunHeader:
    """Returns the header of the run in folder `path`, with those of its resumed parts.

    Raises ResultsError if the folder does not hold a readable run, SchemaError if a newer streambench wrote it.
    """
    try:
        found = "" if path.is_dir() else "is not a folder" if path.exists() else "no such folder"
    except OSError as error:
        found = f"cannot be read: {reason_of(error)}"
    if found:
        raise ResultsError(f"{path}: {found}; give the folder of a run")
    try:
        header = header_from_plain(json.loads((path / HEADER).read_bytes()))
    except FileNotFoundError:
        raise ResultsError(f"{path}: is not the folder of a run: it has no {HEADER}") from None
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None
    except OSError as error:
        raise ResultsError(f"{path / HEADER}: cannot be read: {reason_of(error)}") from error
    except NO_RECORD as error:
        raise ResultsError(f"{path / HEADER}: is not the header of a run: {short(error)}") from error
    return replace(header, resumed=tuple(_read_resumptions(path)))


def _read_resumptions(path: Path) -> Iterator[Resumption]:
    for segment in itertools.count(1):
        file = path / resume_name(segment)
        try:
            yield resumption_from_plain(json.loads(file.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, *NO_RECORD) as error:
            raise ResultsError(f"{file}: is not the header of a resumed run: {short(error)}") from error


def short(error: BaseException) -> str:
    """Returns the exception's type and message in at most 160 characters."""
    return f"{type(error).__name__}: {error}"[:160]
