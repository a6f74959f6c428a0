"""Tables for templates: a CSV, TSV, JSONL or JSON file, or a list in the suite, becomes rows that know their place.

On the way: `expansion` fills a prompt's `{{name}}` from them. Read by the csv and json modules; nothing is executed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.documents import Document, KeyPath, dotted, read_json, read_jsonl, read_text, shown, value_at
from streambench.errors import InputError, Problem

MAX_ROWS = 100_000
MAX_BYTES = 64 * 1024 * 1024
KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values by column; `place` is what messages call it: `row 3 (cities.csv:4)`."""

    values: Mapping[str, Any]
    number: int
    place: str


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a file, of the kind that its ending tells. Raises InputError with what is wrong."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError(
            [Problem("is not a kind of table", str(path), found=shown(path.suffix), accepted=", ".join(KINDS))]
        )
    _refuse_large(path)
    if kind in (".csv", ".tsv"):
        return tuple(_csv_rows(path, "," if kind == ".csv" else "\t"))
    return _of_document(read_json(path) if kind == ".json" else read_jsonl(path), path.name)


def rows_of(document: Document, name: str | None, at: KeyPath = ()) -> tuple[Row, ...]:
    """The rows that a document holds as a list at a path, once `fault_of` finds nothing wrong with it.

    `name` is the file's, where messages are about another one.
    """
    return tuple(
        Row(row, number, _place(number, name, document.line((*at, number - 1))))
        for number, row in enumerate(value_at(document, at), start=1)
    )


def fault_of(data: Any) -> tuple[KeyPath, str, str, str] | None:
    """What is wrong with a list of rows: where in it, the message, what was found, what is accepted."""
    if not isinstance(data, list) or not data:
        return (), "must be a list of rows", shown(data), "a list such as [{city: Oslo}]"
    if len(data) > MAX_ROWS:
        return (), "has too many rows", str(len(data)), f"up to {MAX_ROWS}"
    wrong = next((index for index, row in enumerate(data) if not isinstance(row, dict)), None)
    if wrong is not None:
        return (wrong,), "must be a row", shown(data[wrong]), "a mapping of columns to values"
    return None


def columns_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Every column that a row has, in the order of their first."""
    return tuple(dict.fromkeys(name for row in rows for name in row.values))


def _of_document(document: Document, name: str) -> tuple[Row, ...]:
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
        return  # its reader tells it better
    if size > MAX_BYTES:
        raise InputError(
            [Problem("is too large a table", str(path), found=f"{size} bytes", accepted=f"up to {MAX_BYTES}")]
        )


def _place(number: int, name: str | None, line: int | None) -> str:
    at = ":".join(str(part) for part in (name, line) if part) if name else f"line {line}" if line else ""
    return f"row {number} ({at})" if at else f"row {number}"


# ---- CSV


def _csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
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
        raise InputError([Problem(f"has column {shown(twice)} twice", file, 1, accepted="a name of its own for each")])
    if not any(names):
        raise InputError(
            [Problem("has no names of columns", file, 1, accepted="a first line such as id,city,question")]
        )
    return names


def _body(reader: Any, header: tuple[str, ...], path: Path) -> Iterator[Row]:
    """Rows with their first line; empty lines are skipped."""
    number, line = 0, reader.line_num + 1
    for cells in reader:
        if cells:
            number += 1
            if number > MAX_ROWS:
                raise InputError([Problem("has too many rows", str(path), line, accepted=f"up to {MAX_ROWS}")])
            yield Row(_named(cells, header, path, line), number, _place(number, path.name, line))
        line = reader.line_num + 1
    if not number:
        raise InputError(
            [Problem("has no rows", str(path), accepted="a line of column names, and a line for each row")]
        )


def _named(cells: Sequence[str], header: tuple[str, ...], path: Path, line: int) -> dict[str, str]:
    if len(cells) != len(header):
        accepted = f"{len(header)} cells: {', '.join(header)}; put a cell that holds a comma in double quotes"
        raise InputError(
            [Problem("has another number of cells", str(path), line, None, str(len(cells)), shown_list(accepted))]
        )
    return {name: cell for name, cell in zip(header, cells, strict=True) if name}


def shown_list(text: str, limit: int = 300) -> str:
    """A list of names that came from a file, safe on a terminal and not endless."""
    return shown(text, limit)[1:-1]


@contextmanager
def _wide_fields(limit: int) -> Iterator[None]:
    """The csv module refuses cells of over 128 KiB, as a long document is. Its limit is the process's, so put back."""
    before = csv.field_size_limit(max(limit, 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
