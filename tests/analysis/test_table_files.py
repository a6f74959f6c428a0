"""Frames of several runs, their documented columns, and their files read back."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from frames_page import COLUMN_DOCS, REQUESTS_ONLY
from pyarrow import parquet

import streambench
from streambench.analysis.frames import ATTEMPT_COLUMNS, CHUNK_COLUMNS, SCALARS
from streambench.analysis.table_files import NO_PYARROW
from streambench.cli.main import commands
from streambench.errors import InputError, ResultsError
from streambench.records.journal import Journal
from streambench.testing import make_end, make_header, make_record

HOSTILE = "=cmd|' /C calc'!A0"
TABLES = ("attempts", "requests", "chunks")


def written(folder: Path, *models: str) -> str:
    """A warm-up request and two measured ones of each model."""
    with Journal.create(folder, make_header(*models)) as journal:
        for seq, model in enumerate(models):
            journal.append(make_record(seq=seq, model=model, phase="warmup"))
            journal.append(make_record(seq=2 * seq, model=model))
            journal.append(make_record(seq=2 * seq + 1, model=model, finish_reason=None, usage=None))
        journal.close(make_end())
    return str(journal.folder)


def export(*arguments: str) -> Any:
    return commands.main(["export", *arguments], standalone_mode=False)


def test_every_column_is_documented_once() -> None:
    """And nothing else is."""
    columns = {column.name for column in ATTEMPT_COLUMNS}
    columns |= {name for name, _ in REQUESTS_ONLY} | {name for name, _, _ in CHUNK_COLUMNS}
    assert set(COLUMN_DOCS) == columns


def test_a_requests_columns_are_those_documented(tmp_path: Path) -> None:
    """Those of attempts but for `attempt`, and two more."""
    found = {name: str(dtype) for name, dtype in streambench.load(written(tmp_path, "alpha")).requests.dtypes.items()}
    declared = {column.name: str(column.dtype) for column in ATTEMPT_COLUMNS} | {
        one.column: "float64" for one in SCALARS
    }
    del declared["attempt"]
    assert found == declared | dict(REQUESTS_ONLY)


def test_several_runs_are_one_set_of_frames(tmp_path: Path) -> None:
    """Six rows of the one and three of the other, with the dtypes of one; warm-up is marked."""
    one, other = written(tmp_path, "beta", "alpha"), written(tmp_path, "gamma")
    runs = streambench.load(one, other)
    assert runs.attempts["run_id"].value_counts(sort=False).to_dict() == {Path(one).name: 6, Path(other).name: 3}
    assert runs.attempts["warmup"].sum() == 3
    assert list(runs.attempts["model"].cat.categories) == ["beta", "alpha", "gamma"]
    alone = streambench.load(one)
    for table in TABLES:
        assert list(getattr(runs, table).columns) == list(getattr(alone, table).columns)
        kinds = [str(dtype) for dtype in getattr(runs, table).dtypes]
        assert kinds == [str(dtype) for dtype in getattr(alone, table).dtypes]


def test_chunks_come_by_model(tmp_path: Path) -> None:
    """Three attempts of five chunks each."""
    runs = streambench.load(written(tmp_path, "alpha", "beta"), written(tmp_path, "alpha"))
    assert runs.models == ("alpha", "beta")
    assert len(runs.chunks_of("alpha")) == 2 * 15
    assert len(runs.chunks) == 3 * 15


def test_a_run_given_twice_is_refused(tmp_path: Path) -> None:
    """Its rows could not be told apart."""
    folder = written(tmp_path, "alpha")
    with pytest.raises(ResultsError, match="is the same run"):
        streambench.load(folder, folder)


# --- files


@pytest.mark.parametrize("table", TABLES)
def test_parquet_is_read_back_the_same(tmp_path: Path, table: str) -> None:
    """With its dtypes, but that categories are text."""
    folder = written(tmp_path, "alpha", "beta")
    assert export(folder, "--to", "parquet") == 0
    frame = getattr(streambench.load(folder), table)
    found = parquet.read_table(Path(folder) / f"{table}.parquet")
    assert found.num_rows == len(frame)
    assert found.column_names == list(frame.columns)
    kinds = {"Int64": "int64", "float64": "double", "boolean": "bool", "datetime64[ns, UTC]": "timestamp[ns, tz=UTC]"}
    for field, dtype in zip(found.schema, frame.dtypes, strict=True):
        assert str(field.type).removeprefix("large_") == kinds.get(str(dtype), "string"), field.name
    for name in frame.columns:
        assert found[name].to_pylist() == [None if pd.isna(one) else one for one in frame[name].tolist()], name


def test_parquet_without_pyarrow_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That says what to install; nothing is left behind."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    folder = written(tmp_path, "alpha")
    before = sorted(Path(folder).iterdir())
    with pytest.raises(ResultsError) as caught:
        export(folder, "--to", "parquet")
    assert str(caught.value) == NO_PYARROW
    assert sorted(Path(folder).iterdir()) == before


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_text_forms_hold_the_same_rows(tmp_path: Path, form: str) -> None:
    """Unknown is empty or null; one head, however many models."""
    folder = written(tmp_path, "alpha", "beta")
    assert export(folder, "--to", form, "--table", "chunks", "--table", "attempts") == 0
    for table, rows in (("chunks", 30), ("attempts", 6)):
        text = (Path(folder) / f"{table}.{form}").read_text("utf-8")
        found: list[Any] = (
            list(csv.DictReader(text.splitlines()))
            if form == "csv"
            else json.loads(text)
            if form == "json"
            else [json.loads(line) for line in text.splitlines()]
        )
        assert len(found) == rows
        assert found[0]["model"] == "alpha"
    assert found[0]["failure_retry_after_s"] in (None, "")


def test_a_formula_in_csv_is_inert(tmp_path: Path) -> None:
    """It starts with an apostrophe."""
    folder = written(tmp_path, HOSTILE)
    export(folder, "--to", "csv", "--table", "requests")
    (first, *_) = csv.DictReader((Path(folder) / "requests.csv").read_text("utf-8").splitlines())
    assert first["model"] == f"'{HOSTILE}"


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "json"])
def test_an_empty_run_has_empty_tables(tmp_path: Path, form: str) -> None:
    """With their columns, where the form has any."""
    with Journal.create(tmp_path, replace(make_header(), config={})) as journal:
        journal.close(make_end())
    assert export(str(journal.folder), "--to", form, *(part for table in TABLES for part in ("--table", table))) == 0
    text = (journal.folder / f"chunks.{form}").read_bytes()
    if form == "csv":
        assert text.startswith(b"run_id,seq,attempt")
        assert text.count(b"\n") == 1


def test_several_runs_need_an_output_folder(tmp_path: Path) -> None:
    """And go into one file there."""
    folders = [written(tmp_path / "runs", "alpha"), written(tmp_path / "runs", "alpha")]
    with pytest.raises(InputError, match="--output"):
        export(*folders, "--to", "jsonl")
    assert export(*folders, "--to", "jsonl", "--output", str(tmp_path / "out")) == 0
    assert len((tmp_path / "out" / "requests.jsonl").read_text().splitlines()) == 6
