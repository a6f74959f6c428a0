"""The summary's files: `summary.json`, and the same numbers as a flat table in `summary.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from streambench.errors import DiskError
from streambench.results.folder import reason_of, to_json, write_whole

SUMMARY_JSON = "summary.json"
SUMMARY_CSV = "summary.csv"

FORMULA = tuple("=+-@\t\r")
"""What a spreadsheet takes for the start of a formula."""


class Summarised(Protocol):
    """What `write_summary` needs of a summary, which is built further up."""

    def to_plain(self) -> Mapping[str, Any]: ...

    def to_rows(self) -> Sequence[Mapping[str, Any]]: ...


def write_summary(folder: str | Path, summary: Summarised) -> None:
    """`summary.json`, and the same numbers as a flat table in `summary.csv`. Raises DiskError."""
    path = Path(folder)
    try:
        write_whole(path / SUMMARY_JSON, to_json(summary.to_plain()))
        write_whole(path / SUMMARY_CSV, to_csv(summary.to_rows()))
    except OSError as error:
        raise DiskError(f"cannot write the summary into {path}: {reason_of(error)}") from error


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
