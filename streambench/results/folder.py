"""What lies in a run's folder: the files' names, whole files written at once, and the headers read back."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from streambench.clock import utc_stamp
from streambench.errors import DiskError, ResultsError, SchemaError
from streambench.records import Resumption, RunHeader, header_from_plain, resumption_from_plain

HEADER = "run.json"
RECORDS = "records.jsonl"
END = "end.json"

NO_RECORD = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading a line that is no record may raise."""

_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EROFS})


def new_folder(parent: Path, header: RunHeader) -> Path:
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


def end_name(segment: int) -> str:
    return f"end-{segment}.json" if segment else END


def resume_name(segment: int) -> str:
    return f"resume-{segment}.json"


def to_json(plain: Any) -> str:
    return json.dumps(plain, indent=2, default=_to_plain) + "\n"


def _to_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def write_whole(path: Path, text: str) -> None:
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


def write_asked(path: Path, text: str) -> None:
    """A file that a command was asked for, all of it or none. Raises DiskError."""
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
    # A pipe, a device or a network folder may refuse to sync and hold the data all the same; a full disk may not.
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sweep_drafts(folder: Path) -> None:
    """What a process that was killed in `write_whole` left behind."""
    for draft in folder.glob(".*.json.*"):
        draft.unlink(missing_ok=True)


def reason_of(error: OSError) -> str:
    return error.strerror or str(error)


def read_header(path: Path) -> RunHeader:
    if not path.is_dir():
        raise ResultsError(f"{path}: {'is no folder' if path.exists() else 'no such folder'}; give a run's folder")
    try:
        header = header_from_plain(json.loads((path / HEADER).read_bytes()))
    except FileNotFoundError:
        raise ResultsError(f"{path}: is no run, as it has no {HEADER}; give a run's folder") from None
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None
    except OSError as error:
        raise ResultsError(f"{path / HEADER}: cannot be read: {reason_of(error)}") from error
    except NO_RECORD as error:
        raise ResultsError(f"{path / HEADER}: is no run's header: {short(error)}") from error
    return replace(header, resumed=tuple(_read_resumptions(path)))


def _read_resumptions(path: Path) -> Iterator[Resumption]:
    for segment in itertools.count(1):
        file = path / resume_name(segment)
        try:
            yield resumption_from_plain(json.loads(file.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, *NO_RECORD) as error:
            raise ResultsError(f"{file}: is no header of a resumed run: {short(error)}") from error


def short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:160]
