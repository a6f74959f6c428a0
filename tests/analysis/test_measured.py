"""The one reader of requests: which attempt counts, and each record read once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streambench.analysis import measured
from streambench.analysis.measured import RunFacts, by_model, measured_requests
from streambench.metrics.findings import findings
from streambench.records.schema import AttemptRecord
from streambench.testing import make_header, make_record

HEADER = make_header("alpha", "beta")


def test_a_request_is_its_last_attempt_with_all_before_it() -> None:
    """Warm-up is left out; requests keep the order in which they were first recorded."""
    first, other, second = make_record(seq=4), make_record(seq=2, model="beta"), make_record(seq=4, attempt=2)
    found = measured_requests([make_record(seq=0, phase="warmup"), first, other, second], RunFacts(HEADER))
    assert [(each.record, each.attempts) for each in found] == [(second, (first, second)), (other, (other,))]


def test_a_conversation_that_was_sent_anew_counts_by_its_last_part() -> None:
    """Attempts 1 and 2 of part 0 are abandoned: attempt 1 of part 1 is the request."""
    ticket = replace(make_record().ticket, session_id="p0:0:alpha", turn=0)
    rows = [make_record(ticket=ticket, attempt=n, segment=part) for n, part in ((1, 0), (2, 0), (1, 1))]
    (found,) = measured_requests(rows, RunFacts(HEADER))
    assert (found.record, found.attempts) == (rows[2], (rows[2],))


def test_models_stand_in_the_configs_order() -> None:
    """Also one without requests; one that the config does not name comes last."""
    rows = [make_record(seq=0, model="stray"), make_record(seq=1, model="beta")]
    found = by_model(HEADER, measured_requests(rows, RunFacts(HEADER)))
    assert [(model, len(each.requests)) for model, each in found.items()] == [("alpha", 0), ("beta", 1), ("stray", 1)]


def test_each_record_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks, and however often."""
    read: list[AttemptRecord] = []

    def counted(record: AttemptRecord, *more: object) -> object:
        read.append(record)
        return findings(record, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(measured, "findings", counted)
    record, facts = make_record(finish_reason="length"), RunFacts(HEADER)
    assert [found.name for found in facts.findings(record)] == [found.name for found in facts.findings(record)] != []
    assert read == [record]
