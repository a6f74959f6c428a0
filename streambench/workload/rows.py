"""Tables for templates: reads a CSV, TSV, JSONL or JSON file, or a list in the suite, as rows with their places.

`expansion` replaces `{{name}}` in a prompt by the rows' values. The csv and json modules read the files; nothing is
executed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.documents import Document, KeyPath, dotted, read_json, read_jsonl, read_text, value_at
from streambench.errors import InputError, Problem
from streambench.text import for_terminal, shown

MAX_ROWS = 100_000
MAX_BYTES = 64 * 1024 * 1024
KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """A row's values by column, its number from 1, and its name in messages: `row 3 (cities.csv:4)`."""

    values: Mapping[str, Any]
    number: int
    place: str


def read_rows(path: Path) -> tuple[TemplateRow, ...]:
    """Returns the rows of a file; its extension gives the format. Raises InputError with what is wrong."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError(
            [Problem("is not a supported table format", str(path), found=shown(path.suffix), accepted=", ".join(KINDS))]
        )
    _refuse_large(path)
    if kind in (".csv", ".tsv"):
        return tuple(_csv_rows(path, "," if kind == ".csv" else "\t"))
    return _of_document(read_json(path) if kind == ".json" else read_jsonl(path), path.name)


def rows_of(document: Document, name: str | None, at: KeyPath = ()) -> tuple[TemplateRow, ...]:
    """Returns the rows in the list at a path of a document, in which `fault_of` found no fault.

    `name`: the file's name, if messages are about another file; else None.
    """
    return tuple(
        TemplateRow(row, number, _place(number, name, document.line((*at, number - 1))))
        for number, row in enumerate(value_at(document, at), start=1)
    )


def fault_of(data: Any) -> tuple[KeyPath, str, str, str] | None:
    """Returns a fault of a list of rows: its path in the list, the message, what was found, what is accepted.

    None if the list is valid.
    """
    if not isinstance(data, list) or not data:
        return (), "must be a list of rows", shown(data), "a list such as [{city: Oslo}]"
    if len(data) > MAX_ROWS:
        return (), "has too many rows", str(len(data)), f"up to {MAX_ROWS}"
    wrong = next((index for index, row in enumerate(data) if not isinstance(row, dict)), None)
    if wrong is not None:
        return (wrong,), "must be a row", shown(data[wrong]), "a mapping of columns to values"
    return None


def columns_of(rows: Sequence[TemplateRow]) -> tuple[str, ...]:
    """Returns the columns of all rows, in the order in which they first appear."""
    return tuple(dict.fromkeys(name for row in rows for name in row.values))


def _of_document(document: Document, name: str) -> tuple[TemplateRow, ...]:
    fault = fault_of(document.data)
    if fault:
        at, message, found, accepted = fault
        problem = Problem(message, document.file, document.line(at), dotted(at) or None, found, accepted)
        raise InputError([problem])
    return rows_of(document, name)


def _refuse_large(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        return  # the code that reads the file reports it
    if size > MAX_BYTES:
        raise InputError(
            [Problem("is too large", str(path), found=f"{size} bytes", accepted=f"up to {MAX_BYTES} bytes")]
        )


def _place(number: int, name: str | None, line: int | None) -> str:
    at = ":".join(str(part) for part in (name, line) if part) if name else f"line {line}" if line else ""
    return f"row {number} ({at})" if at else f"row {number}"


# ---- CSV


def _csv_rows(path: Path, delimiter: str) -> Iterator[TemplateRow]:
    file = str(path)
    text = read_text(path)
    with _wide_fields(len(text)):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = _header(next(reader, []), file)
            yield from _body(reader, header, path)
        except csv.Error as error:
            raise InputError([Problem(f"is not CSV: {error}", file, reader.line_num or 1)]) from None


def _header(cells: Sequence[str], file: str) -> tuple[str, ...]:
    names = tuple(cell.strip() for cell in cells)
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise InputError(
            [Problem(f"has column {shown(twice)} twice", file, 1, accepted="a unique name for each column")]
        )
    if not any(names):
        raise InputError([Problem("has no column names", file, 1, accepted="a first line such as id,city,question")])
    return names


def _body(reader: Any, header: tuple[str, ...], path: Path) -> Iterator[TemplateRow]:
    """Yields the rows, each with the number of its first line. Empty lines are skipped."""
    number, line = 0, reader.line_num + 1
    for cells in reader:
        if cells:
            number += 1
            if number > MAX_ROWS:
                raise InputError([Problem("has too many rows", str(path), line, accepted=f"up to {MAX_ROWS}")])
            yield TemplateRow(_named(cells, header, path, line), number, _place(number, path.name, line))
        line = reader.line_num + 1
    if not number:
        raise InputError(
            [Problem("has no rows", str(path), accepted="a line of column names, then a line for each row")]
        )


def _named(cells: Sequence[str], header: tuple[str, ...], path: Path, line: int) -> dict[str, str]:
    if len(cells) != len(header):
        accepted = f"{len(header)} cells: {', '.join(header)}; put a cell that holds a comma in double quotes"
        what, accepted = "has a different number of cells than the first line", for_terminal(accepted, 300)
        raise InputError([Problem(what, str(path), line, None, str(len(cells)), accepted)])
    return {name: cell for name, cell in zip(header, cells, strict=True) if name}


@contextmanager
def _wide_fields(limit: int) -> Iterator[None]:
    """Raises the csv module's limit of 128 KiB per cell, as a cell may hold a long document.

    The limit belongs to the process, so it is restored at the end.
    """
    before = csv.field_size_limit(max(limit, 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
