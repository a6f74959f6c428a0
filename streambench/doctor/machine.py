"""This machine: open files, the folder for results and the room in it. No network."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from streambench.config import Config
from streambench.doctor.check import Check

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

SPARE_FILES = 64
"""Files that a run has open beside its connections."""
RECORD_BYTES = 30_000
"""Of one request in the journal, with some hundred chunks."""
LEAST_FREE = 50_000_000


def machine_checks(config: Config, requests: int) -> Iterator[Check]:
    """Of a run of so many requests."""
    yield _open_files(config)
    yield _results(config.output)
    yield _room(config.output, requests)


def _open_files(config: Config) -> Check:
    limit = None if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit is None or limit == resource.RLIM_INFINITY:
        return Check("ok", "open files", "no limit")
    if config.load.mode != "closed":
        told = f"the limit is {limit}; an open loop takes a connection for each request under way"
        return Check("ok", "open files", told)
    wanted = config.load.concurrency + SPARE_FILES
    if limit < wanted:
        told = f"the limit is {limit}, and {config.load.concurrency} requests at once take about {wanted}"
        return Check("wrong", "open files", told, f"ulimit -n {wanted}, or a lower load.concurrency")
    return Check("ok", "open files", f"the limit is {limit}, for {config.load.concurrency} requests at once")


def _results(output: Path) -> Check:
    """Tried where it is, or would be made; nothing stays behind."""
    place = _nearest_folder(output)
    if output.exists() and not output.is_dir():
        return Check("wrong", "results", f"{output} is no folder", "another `output`, or --set output=...")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        told = f"{place} cannot be written to: {error.strerror or error}"
        return Check("wrong", "results", told, "another `output`, or --set output=...")
    return Check("ok", "results", f"{output} can be written to" if place == output else f"{output} can be made")


def _room(output: Path, requests: int) -> Check:
    wanted = max(LEAST_FREE, requests * RECORD_BYTES)
    free = None
    with suppress(OSError):
        free = shutil.disk_usage(_nearest_folder(output)).free
    if free is None:
        return Check("note", "disk", "its free space is unknown")
    if free < wanted:
        told = f"{_size(free)} free, and {requests:,} requests may take {_size(wanted)}"
        return Check("wrong", "disk", told, "free some, or another `output`")
    return Check("ok", "disk", f"{_size(free)} free")


def _nearest_folder(path: Path) -> Path:
    """The path, or the first of the folders around it that is there."""
    return next((place for place in (path, *path.absolute().parents) if place.is_dir()), Path(os.sep))


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
