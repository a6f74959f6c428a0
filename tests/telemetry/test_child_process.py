"""A session in a process of its own: the same spans, and a run that goes on whatever becomes of that process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from home import ROOT
from otlp_sink import Sink

from streambench.errors import ConfigError
from streambench.records.schema import AttemptRecord, RunTrace
from streambench.telemetry.child_process import TelemetryProcess, framed, open_session, unframed
from streambench.telemetry.request_spans import request_spans, requests_of
from streambench.telemetry.run_context import about_run
from streambench.telemetry.run_spans import run_spans
from streambench.telemetry.session import TelemetrySession
from streambench.telemetry.settings import Endpoint, TelemetrySettings
from streambench.testing import make_end

from .given import HEADER, RECORDS, play, settings_for, until

TRACE = RunTrace("a" * 32, "b" * 16)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def with_ids(record: AttemptRecord, number: int) -> AttemptRecord:
    group = f"{record.ticket.seq + 1:016x}"
    return replace(record, trace_id=TRACE.trace_id, request_span_id=group, span_id=f"{0xF00 + number:016x}")


KNOWN = tuple(with_ids(record, at) for at, record in enumerate(RECORDS))


def begun(sink: Sink, **changes: Any) -> TelemetryProcess:
    session = open_session(settings_for(sink.endpoint, "http", **changes), TRACE, "0")
    assert isinstance(session, TelemetryProcess)
    session.opened(HEADER)
    return session


def test_what_arrives_is_what_the_records_say(sink: Sink) -> None:
    """Requests, attempts, models and run, each once."""
    session = begun(sink)
    play(session, KNOWN)
    outcome = session.close(KNOWN, make_end())
    about = about_run(HEADER)
    wanted = [span for group in requests_of(KNOWN) for span in request_spans(group, about)]
    wanted += run_spans(about, KNOWN, make_end())
    assert sorted((span.span_id, span.name) for span in sink.spans) == sorted((w.id.span_id, w.name) for w in wanted)
    assert outcome is not None
    assert outcome.whole
    assert outcome.delivery.delivered == len(wanted)
    assert session.close(KNOWN, make_end()) is outcome


def test_spans_arrive_while_the_run_goes_on(sink: Sink) -> None:
    """Within a second or so, though the parent has nothing more to say."""
    session = begun(sink)
    play(session, KNOWN)
    assert sink.wait_until(lambda: sink.span_count >= 3, 30)
    session.close((), None)


def test_a_process_that_dies_costs_spans_and_says_so(sink: Sink) -> None:
    """Nothing raises, nothing waits; what had not been confirmed has failed."""
    session = begun(sink)
    session._child.kill()
    session._child.wait()
    play(session, KNOWN)
    assert session.held_ns() == 0
    began = time.monotonic()
    outcome = session.close(KNOWN, make_end())
    assert time.monotonic() - began < 5
    assert outcome is not None
    assert not outcome.whole
    assert (outcome.delivery.ended, outcome.delivery.delivered, outcome.delivery.failed) == (6, 0, 6)
    assert outcome.delivery.last_error == "the telemetry process ended early"


def test_a_process_that_has_stopped_holds_nobody_up(sink: Sink) -> None:
    """More than its pipe takes waits in memory; at the end it has its deadline, and is killed."""
    session = begun(sink, deadline_s=0.2)
    os.kill(session._child.pid, signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(200):
        play(session, KNOWN)
    assert session.close(KNOWN, make_end()) is not None
    assert time.monotonic() - began < 15
    assert session._child.returncode == -signal.SIGKILL


def test_what_the_environment_makes_unusable_is_told_before_the_first_request(tmp_path: Path, sink: Sink) -> None:
    """The child finds it, the parent raises it, and no child is left."""
    bad = tmp_path / "ca.pem"
    bad.write_text("not a certificate")
    endpoint = Endpoint("127.0.0.1:1", "grpc", "test", certificate=str(bad.with_name("missing.pem")))
    session = open_session(TelemetrySettings("otlp", traces_to=endpoint), TRACE, "0")
    assert isinstance(session, TelemetryProcess)
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        session.opened(HEADER)
    assert session._child.returncode is not None


def test_a_session_that_never_opened_leaves_no_process(sink: Sink) -> None:
    """The config was wrong after all."""
    session = open_session(settings_for(sink.endpoint, "http"), TRACE, "0")
    assert isinstance(session, TelemetryProcess)
    assert session.close((), None) is None
    assert session._child.returncode is not None


def test_a_console_is_in_this_process() -> None:
    """What it prints is for who ran the command."""
    assert isinstance(open_session(TelemetrySettings("console"), TRACE, "0"), TelemetrySession)


PROGRAM = """
import os, signal, sys
sys.path.insert(0, "tests")
from telemetry.given import HEADER, play, settings_for
from telemetry.test_child_process import KNOWN, TRACE
from streambench.telemetry.child_process import TelemetryProcess
session = TelemetryProcess(settings_for(sys.argv[1], "http"), TRACE, "0")
session.opened(HEADER)
play(session, KNOWN)
print(session._child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_still_delivers_what_had_ended(sink: Sink) -> None:
    """And its child is gone soon after: it outlives no parent."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, sink.endpoint], stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )
    assert ran.returncode == -signal.SIGKILL
    until(lambda: sink.span_count >= 3)
    until(lambda: not _runs(int(ran.stdout)))


def _runs(pid: int) -> bool:
    """A zombie does not: nobody has waited for it, as its parent is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_messages_survive_any_cut() -> None:
    """A pipe hands over what it likes."""
    whole = framed("one") + framed({"two": 2})
    for cut in range(len(whole)):
        held, found = bytearray(), []
        for part in (whole[:cut], whole[cut:]):
            held += part
            found += list(unframed(held))
        assert (found, held) == (["one", {"two": 2}], bytearray())
