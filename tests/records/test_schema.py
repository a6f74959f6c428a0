"""Records, headers and ends survive the way to the disk and back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.errors import SchemaError
from streambench.records.schema import (
    KINDS,
    SCHEMA,
    AttemptRecord,
    ChunkTimeline,
    Connection,
    Failure,
    RunEnd,
    Usage,
    WorkerAnchor,
    as_plain,
    from_line,
    header_from_plain,
    header_to_plain,
    to_line,
)
from streambench.testing import MS, make_end, make_header, make_record

NS = st.integers(0, 2**62)
TEXT = st.text(max_size=40)
MAYBE_TEXT = st.none() | TEXT
MAYBE_NS = st.none() | NS
MONEY = st.none() | st.floats(0, 1e6, allow_nan=False)


@st.composite
def timelines(draw: st.DrawFn) -> ChunkTimeline:
    kinds = draw(st.text(alphabet=sorted(KINDS), max_size=20))
    column = st.lists(NS, min_size=len(kinds), max_size=len(kinds)).map(tuple)
    return ChunkTimeline(offset_ns=draw(column), kind=kinds, chars=draw(column), read=draw(column))


FAILURES = st.none() | st.builds(Failure, kind=TEXT, message=TEXT, detail=MAYBE_TEXT, status=MAYBE_NS, code=MAYBE_TEXT)
RECORDS = st.builds(
    make_record,
    scheduled_at_ns=NS,
    start_at_ns=NS,
    queue_ns=NS,
    first_byte_ns=MAYBE_NS,
    timeline=timelines(),
    connection=st.none() | st.builds(Connection, new=st.booleans(), dns_ns=MAYBE_NS, tls_ns=MAYBE_NS),
    headers=st.dictionaries(TEXT, TEXT, max_size=4),
    usage=st.none() | st.builds(Usage, input=MAYBE_NS, output=MAYBE_NS, cost_usd=MONEY),
    failure=FAILURES,
    error_frame=FAILURES,
    finish_reason=MAYBE_TEXT,
    text=MAYBE_TEXT,
)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: AttemptRecord) -> None:
    """Whatever the facts, the line holds them all."""
    assert from_line(to_line(record)) == record


@given(RECORDS)
def test_a_record_is_one_line_of_ascii(record: AttemptRecord) -> None:
    """No text of a gateway can break the journal's lines, in any encoding."""
    line = to_line(record)
    assert len(line.splitlines()) == 1
    assert line.isascii()


def test_unknown_stays_apart_from_zero() -> None:
    """None and 0 are two facts."""
    record = make_record(first_byte_ns=None, queue_ns=0)
    plain = json.loads(to_line(record))
    assert plain["first_byte_ns"] is None
    assert plain["queue_ns"] == 0


@pytest.mark.parametrize("line", ["", "{", "[]", "3", "null", "{}", '{"ticket": {}}', '{"ticket": 3}', "\0\0"])
def test_what_is_no_record_is_refused(line: str) -> None:
    """Only the three stated exceptions come out."""
    with pytest.raises((ValueError, TypeError, KeyError)):
        from_line(line)


def test_a_header_comes_back_as_it_was() -> None:
    """Through JSON, where tuples become lists."""
    header = make_header("alpha", "beta", simulated=("alpha", "beta"))
    assert header_from_plain(json.loads(json.dumps(as_plain(header)))) == header


def test_a_newer_schema_is_named() -> None:
    """The message has both numbers and the mend."""
    plain = asdict(replace(make_header("alpha"), schema=SCHEMA + 1))
    with pytest.raises(SchemaError, match=f"schema {SCHEMA + 1}.*up to {SCHEMA}.*update"):
        header_from_plain(plain)


def test_an_end_comes_back_as_it_was() -> None:
    """Its lag has None where no sample could carry a percentile."""
    end = make_end(client_lag_ns={"n": 0, "p50": None})
    assert RunEnd(**json.loads(json.dumps(as_plain(end)))) == end


def test_a_line_from_before_there_was_a_choice_is_a_streamed_chat() -> None:
    """Older journals have neither field."""
    plain = json.loads(to_line(make_record()))
    del plain["api"], plain["streamed"]
    assert from_line(json.dumps(plain)) == make_record()


# --- workers


def test_each_workers_instants_count_from_its_own_anchor() -> None:
    """Worker 1 read its clock 250 ms after the process that wrote the header."""
    header = make_header("alpha", workers=(WorkerAnchor(1, 1_800_000_000_250_000_000, 7),))
    own, theirs = make_record(start_at_ns=1_000 * MS), make_record(start_at_ns=1_000 * MS, worker=1)
    assert header.started_wall_ns(own) == 1_800_000_001_000_000_000
    assert header.started_wall_ns(theirs) == 1_800_000_001_250_000_000
    assert header.start_in_part_ns(theirs) == 1_250 * MS


def test_workers_are_written_only_where_there_are_some() -> None:
    """So the files of runs without workers are as before."""
    assert "worker" not in json.loads(to_line(make_record()))
    assert "workers" not in header_to_plain(make_header("alpha"))
    record, anchors = make_record(worker=2), (WorkerAnchor(2, 5, 6, {"system": "Linux"}),)
    assert from_line(to_line(record)) == record
    header = make_header("alpha", workers=anchors)
    assert header_from_plain(json.loads(json.dumps(header_to_plain(header)))).workers == anchors


def test_an_unknown_worker_is_an_error() -> None:
    """Its records cannot be dated."""
    with pytest.raises(LookupError, match="part 0 of this run has no worker 3"):
        make_header("alpha").started_wall_ns(make_record(worker=3))
