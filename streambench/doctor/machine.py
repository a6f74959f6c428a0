"""Checks of the local machine: the limit on open files, the results folder, and free disk space. Uses no network."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from streambench.config.config import Config
from streambench.doctor.check import Check
from streambench.text import count

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

SPARE_FILES = 64
"""Number of files that a run has open in addition to its connections."""
RECORD_BYTES = 30_000
"""Size of one request in the journal, with some hundred chunks."""
LEAST_FREE = 50_000_000


def machine_checks(config: Config, requests: int) -> Iterator[Check]:
    """Yields the checks for a run of `requests` requests."""
    yield _open_files(config)
    yield _results(config.output)
    yield _room(config.output, requests)


def _open_files(config: Config) -> Check:
    limit = None if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit is None or limit == resource.RLIM_INFINITY:
        return Check("ok", "open files", "no limit")
    if not config.load.closed:
        found = f"the limit is {limit}; an open loop needs a connection for each request in flight"
        return Check("ok", "open files", found)
    wanted = config.load.concurrency + SPARE_FILES
    if limit < wanted:
        found = f"the limit is {limit}, but {config.load.concurrency} concurrent requests need about {wanted}"
        return Check("wrong", "open files", found, f"run `ulimit -n {wanted}`, or lower load.concurrency")
    return Check("ok", "open files", f"the limit is {limit}, enough for {config.load.concurrency} concurrent requests")


def _results(output: Path) -> Check:
    """Checks that the results folder can be written to, or created, with a temporary file that is deleted again."""
    place = _nearest_folder(output)
    if output.exists() and not output.is_dir():
        return Check(
            "wrong", "results", f"{output} is not a folder", "choose another `output`, as with --set output=..."
        )
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        found = f"{place} cannot be written to: {error.strerror or error}"
        return Check("wrong", "results", found, "choose another `output`, as with --set output=...")
    return Check("ok", "results", f"{output} can be written to" if place == output else f"{output} can be created")


def _room(output: Path, requests: int) -> Check:
    wanted = max(LEAST_FREE, requests * RECORD_BYTES)
    free = None
    with suppress(OSError):
        free = shutil.disk_usage(_nearest_folder(output)).free
    if free is None:
        return Check("note", "disk", "free space unknown")
    if free < wanted:
        found = f"{_size(free)} free, but {count(requests)} requests may need {_size(wanted)}"
        return Check("wrong", "disk", found, "free some space, or choose another `output`")
    return Check("ok", "disk", f"{_size(free)} free")


def _nearest_folder(path: Path) -> Path:
    """Returns the path if it is a folder, else its nearest parent that exists."""
    return next((place for place in (path, *path.absolute().parents) if place.is_dir()), Path(os.sep))


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
