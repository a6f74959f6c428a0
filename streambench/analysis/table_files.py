"""Writes frames as Parquet, CSV, JSON lines or JSON. No other module imports pyarrow.

Chunks are built and written one model at a time, because all of them may not fit into memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from streambench.analysis.frames import plain_rows
from streambench.analysis.run import Run, Runs
from streambench.analysis.summary_files import to_csv
from streambench.errors import ResultsError

if TYPE_CHECKING:
    from streambench.analysis.frames import Frame

FileFormat = Literal["parquet", "csv", "jsonl", "json"]
Table = Literal["attempts", "requests", "chunks"]
Parts: TypeAlias = Iterator["Frame"]

NO_PYARROW = "Parquet needs pyarrow: pip install 'streambench[parquet]'"


def write_tables(runs: Run | Runs, folder: Path, form: FileFormat, tables: Sequence[Table]) -> list[Path]:
    """Writes `<table>.<form>` for each table and returns the paths.

    A file is replaced only once it is written completely. Raises ResultsError if pyarrow is missing or a file cannot be
    written.
    """
    written = []
    for table in tables:
        path = folder / f"{table}.{form}"
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _WRITERS[form](draft, _parts(runs, table))
            draft.replace(path)
        except ImportError as error:
            raise ResultsError(NO_PYARROW) from error
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written: {error.strerror or error}") from error
        finally:
            draft.unlink(missing_ok=True)
        written.append(path)
    return written


def _parts(runs: Run | Runs, table: Table) -> Parts:
    if table == "attempts":
        yield runs.attempts
    elif table == "requests":
        yield runs.requests
    else:
        models = runs.models or ("",)  # "" matches no model: the table then has columns and no rows
        yield from (runs.chunks_of(model) for model in models)


def _parquet(path: Path, parts: Parts) -> None:
    """Writes one or more row groups per part. Categories become text, so that all parts have the same schema."""
    import pyarrow
    from pyarrow import parquet

    writer = None
    try:
        for part in parts:
            table = pyarrow.Table.from_pandas(_without_categories(part), preserve_index=False)
            table = table.replace_schema_metadata(None) if writer is None else table.cast(writer.schema)
            writer = writer or parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _without_categories(frame: Frame) -> Frame:
    texts: Mapping[str, str] = dict.fromkeys(frame.select_dtypes("category").columns, "string")
    return frame.astype(texts)


def _csv(path: Path, parts: Parts) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        for number, part in enumerate(parts):
            rows = plain_rows(part)
            head, _, body = to_csv(rows or [dict.fromkeys(map(str, part.columns))]).partition("\r\n")
            out.write(("" if number else f"{head}\r\n") + (body if rows else ""))


def _jsonl(path: Path, parts: Parts) -> None:
    with path.open("w", encoding="utf-8") as out:
        for part in parts:
            out.writelines(f"{json.dumps(row, allow_nan=False)}\n" for row in plain_rows(part))


def _json(path: Path, parts: Parts) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.write("[")
        before = "\n"
        for part in parts:
            for row in plain_rows(part):
                out.write(f"{before}{json.dumps(row, allow_nan=False)}")
                before = ",\n"
        out.write("\n]\n")


_WRITERS: Mapping[FileFormat, Callable[[Path, Parts], None]] = {
    "parquet": _parquet,
    "csv": _csv,
    "jsonl": _jsonl,
    "json": _json,
}
