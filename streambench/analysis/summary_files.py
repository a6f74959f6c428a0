"""Writes the summary files: `summary.json`, and the numbers per model as a flat table in `summary.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from streambench.errors import DiskError
from streambench.records.run_folder import reason_of, to_json, write_whole
from streambench.text import for_csv

SUMMARY_JSON = "summary.json"
SUMMARY_CSV = "summary.csv"


class SummaryLike(Protocol):
    """The methods of a summary that `write_summary` calls."""

    def to_plain(self) -> Mapping[str, Any]: ...

    def to_rows(self) -> Sequence[Mapping[str, Any]]: ...


def write_summary(folder: str | Path, summary: SummaryLike) -> None:
    """Writes `summary.json` and `summary.csv` into `folder`. Raises DiskError if that fails."""
    path = Path(folder)
    try:
        write_whole(path / SUMMARY_JSON, to_json(summary.to_plain()))
        write_whole(path / SUMMARY_CSV, to_csv(summary.to_rows()))
    except OSError as error:
        raise DiskError(f"cannot write the summary into {path}: {reason_of(error)}") from error


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows as CSV, with the keys of the first row as header; "" if there are no rows.

    A text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    out = io.StringIO()
    # RFC 4180 asks for "\r\n"; with "\n", `csv` would not quote a lone "\r".
    writer = csv.writer(out, lineterminator="\r\n")
    if rows:
        writer.writerow(rows[0])
    writer.writerows([for_csv(row[key]) for key in rows[0]] for row in rows)
    return out.getvalue()
