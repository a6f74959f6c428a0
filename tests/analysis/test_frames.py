"""Records as frames: rows, marks, dtypes and units."""

from __future__ import annotations

import pandas as pd
import pytest

from streambench.analysis.frames import (
    ATTEMPT_COLUMNS,
    SCALARS,
    attempts_frame,
    chunks_frame,
    mean_and_quantiles,
    requests_frame,
)
from streambench.records.schema import AttemptRecord, Failure, RunHeader, Usage
from streambench.testing import MS, make_header, make_record

HEADER = make_header("beta", "alpha", simulated=("alpha",))


def run() -> list[AttemptRecord]:
    """A warm-up, a request that needed two tries 300 ms apart, and one that was cut short."""
    refused = Failure("http_error", "slow down", status=429)
    return [
        make_record(seq=0, phase="warmup"),
        make_record(seq=0, attempt=1, kinds="", at_ms=(), failure=refused, finish_reason=None, usage=None),
        make_record(seq=0, attempt=2, start_at_ns=1_300 * MS),
        make_record(seq=1, model="beta", finish_reason=None, usage=None),
    ]


def test_attempts_have_one_row_each_in_the_journals_order() -> None:
    """Four tries on the wire, warm-up included."""
    frame = attempts_frame(run(), HEADER)
    assert frame["outcome"].tolist() == ["ok", "http_error", "ok", "truncated"]
    assert frame["warmup"].tolist() == [True, False, False, False]
    assert frame["simulated"].tolist() == [True, True, True, False]


@pytest.mark.parametrize("records", [run(), []], ids=["some", "none"])
def test_attempts_have_the_declared_columns_and_dtypes(records: list[AttemptRecord]) -> None:
    """The same schema for an empty run."""
    frame = attempts_frame(records, HEADER)
    declared = {column.name: column.dtype for column in ATTEMPT_COLUMNS}
    declared |= {metric.column: "float64" for metric in SCALARS}
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == declared


def test_a_metrics_column_is_that_metrics_value() -> None:
    """The frame and the table are two views of one record."""
    (record,) = records = [make_record()]
    row = attempts_frame(records, HEADER).iloc[0]
    for metric in SCALARS:
        value = metric.value(record)
        assert pd.isna(row[metric.column]) if value is None else row[metric.column] == value, metric.name


def test_unknown_is_na_and_zero_is_zero() -> None:
    """Usage was never stated in the one, stated as nought in the other."""
    records = [make_record(seq=0, usage=None), make_record(seq=1, usage=Usage(output=0))]
    tokens = attempts_frame(records, HEADER)["output_tokens"]
    assert tokens.isna().tolist() == [True, False]
    assert tokens[1] == 0


def test_nanoseconds_stay_exact() -> None:
    """2**60 + 1 is no float."""
    frame = attempts_frame([make_record(start_at_ns=2**60 + 1), make_record(sent_ns=None)], HEADER)
    assert frame["start_at_ns"][0] == 2**60 + 1


def test_started_is_a_date() -> None:
    """The anchor, 1.8e9 s after 1970, and one second."""
    started = attempts_frame([make_record()], HEADER)["started"][0]
    assert started == pd.Timestamp("2027-01-15 08:00:01", tz="UTC")


def test_models_keep_the_configs_order() -> None:
    """Also one that has no attempt, and then those the config does not know."""
    frame = attempts_frame([make_record(model="stray"), make_record(model="alpha")], HEADER)
    assert frame["model"].cat.categories.tolist() == ["beta", "alpha", "stray"]


def test_a_request_is_its_last_attempt() -> None:
    """The warm-up with the same seq is a request of its own."""
    frame = requests_frame(run(), HEADER)
    assert frame["phase"].tolist() == ["warmup", "measure", "measure"]
    assert frame["attempts"].tolist() == [1, 2, 1]
    assert frame["outcome"].tolist() == ["ok", "ok", "truncated"]


def test_ttft_with_retries_counts_from_the_first_try() -> None:
    """100 ms, and 1300 - 1000 ms lost before."""
    row = requests_frame(run(), HEADER).iloc[1]
    assert row["ttft_ms"] == 100
    assert row["ttft_with_retries_ms"] == 400


def test_requests_of_an_empty_run_have_their_columns() -> None:
    """No row, and nothing raised."""
    frame = requests_frame([], HEADER)
    assert len(frame) == 0
    assert {"attempts", "ttft_with_retries_ms", "outcome"} <= set(frame.columns)


def test_chunks_have_one_row_each() -> None:
    """Reads 0, 1, 2, 2: the gap into read 2 and the one inside it are unknown."""
    frame = chunks_frame([make_record(kinds="rccc", at_ms=(90, 100, 130, 130), reads=(0, 1, 2, 2))], HEADER)
    assert frame["kind"].tolist() == ["role", "content", "content", "content"]
    assert frame["chunk"].tolist() == [0, 1, 2, 3]
    assert frame["offset_ns"].tolist() == [90 * MS, 100 * MS, 130 * MS, 130 * MS]
    assert frame["shared_read"].tolist() == [False, False, True, True]
    assert frame["gap_ms"].isna().tolist() == [True] * 4


def test_a_chunks_gap_is_since_the_generated_chunk_before() -> None:
    """Role at 90, content at 100 and 120, usage at 121: one gap, of 20."""
    frame = chunks_frame([make_record(kinds="rccu", at_ms=(90, 100, 120, 121))], HEADER)
    assert frame["gap_ms"].fillna(-1).tolist() == [-1, -1, 20, -1]


def test_chunks_carry_their_attempts_facts() -> None:
    """Each chunk knows whose it is; attempts without chunks have no row."""
    frame = chunks_frame(run(), HEADER)
    assert frame["model"].tolist() == ["alpha"] * 10 + ["beta"] * 5
    assert frame["attempt"].tolist() == [1] * 5 + [2] * 5 + [1] * 5
    assert frame["warmup"].tolist() == [True] * 5 + [False] * 10


def test_chunks_of_one_model() -> None:
    """So that a large run need not be held whole."""
    assert set(chunks_frame(run(), HEADER, model="beta")["model"]) == {"beta"}


@pytest.mark.parametrize("header", [HEADER, make_header()])
def test_chunks_of_an_empty_run_have_their_columns_and_dtypes(header: RunHeader) -> None:
    """The same schema as with rows."""
    empty, full = chunks_frame([], HEADER), chunks_frame(run(), HEADER)
    assert [str(kind) for kind in empty.dtypes] == [str(kind) for kind in full.dtypes]
    assert list(empty.columns) == list(full.columns)


def test_quantiles_are_linear() -> None:
    """Of 10, 20, 30, 40: p50 is 25, p90 is 30 + 0.7 x 10 = 37, the mean 25."""
    mean, quantiles = mean_and_quantiles([40, 10, 30, 20], [0.5, 0.9])
    assert mean == 25
    assert quantiles == pytest.approx([25, 37])


def test_half_a_surrogate_pair_is_text() -> None:
    """A gateway may name a model, or a reason, by what no UTF-8 holds; frames keep it, with pyarrow there or not."""
    record = make_record(model_served="\ud800", finish_reason="\udfff")
    frame = attempts_frame([record], make_header("alpha"))
    assert list(frame["model_served"]) == ["\ud800"]
    assert list(frame["finish_reason"]) == ["\udfff"]
