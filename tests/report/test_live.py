"""What is seen while a run goes on, and that it cannot harm the run."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from sentences import numbers_in

from streambench.records.schema import AttemptRecord, Failure, Usage
from streambench.report.live import KEPT, LiveView, Progress, headline, lines
from streambench.testing import make_record

S = 1_000_000_000


class HandClock:
    """Monotonic time that stands still until it is moved."""

    def __init__(self) -> None:
        self.ns = 5 * S

    def now_ns(self) -> int:
        return self.ns

    async def sleep_until(self, when_ns: int) -> None:
        self.ns = max(self.ns, when_ns)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def progress(clock: HandClock) -> Progress:
    progress = Progress(["alpha", "beta"], 10, clock)
    progress.on_phase("measure")
    return progress


def through(progress: Progress, *records: AttemptRecord) -> None:
    for record in records:
        progress.on_attempt_start(record.ticket)
        progress.on_attempt_end(record.ticket)
        progress.on_request_end(record)


def test_ended_failed_and_running_are_counted(progress: Progress) -> None:
    """One fine, one failed, one that still runs."""
    through(progress, make_record(seq=0), make_record(seq=1, failure=Failure("timeout")))
    progress.on_attempt_start(make_record(seq=2).ticket)
    assert (progress.done, progress.failed, progress.in_flight) == (2, 1, 1)


def test_warm_up_is_not_counted_as_done(progress: Progress) -> None:
    """It is over, and in no figure."""
    through(progress, make_record(phase="warmup"))
    assert (progress.done, progress.in_flight) == (0, 0)


def test_a_failed_stream_is_in_no_ttft(progress: Progress) -> None:
    """The cut one was fast: 5 ms beside 100."""
    through(progress, make_record(seq=0), make_record(seq=1, kinds="c", at_ms=(5,), finish_reason=None))
    assert progress.models["alpha"].ttft_p50_ms == 100


def test_the_running_median_is_in_the_middle(progress: Progress) -> None:
    """Of 300, 100 and 200, in whatever order they came."""
    through(progress, *(make_record(seq=at, kinds="c", at_ms=(at,)) for at in (300, 100, 200)))
    assert progress.models["alpha"].ttft_p50_ms == 200


def test_kept_ttfts_are_bounded_and_stay_a_fair_sample(progress: Progress) -> None:
    """Of 1 to 5,000 ms the median is 2,500; of 1,000 fair draws within 395 (5 standard errors of 79)."""
    through(progress, *(make_record(seq=at, kinds="c", at_ms=(at,)) for at in range(1, 5_001)))
    counts = progress.models["alpha"]
    assert len(counts.ttfts_ns) == KEPT
    assert counts.ttfts_ns == sorted(counts.ttfts_ns)
    assert counts.ttft_p50_ms == pytest.approx(2_500, abs=395)


def test_tokens_per_second_count_from_the_measured_phase(progress: Progress, clock: HandClock) -> None:
    """3 tokens in 2 s."""
    through(progress, make_record())
    clock.ns += 2 * S
    assert progress.tokens_s(progress.models["alpha"]) == 1.5


def test_tokens_without_usage_are_unknown(progress: Progress, clock: HandClock) -> None:
    """Not zero."""
    through(progress, make_record(usage=None), make_record(seq=1, usage=Usage(input=3)))
    clock.ns += S
    assert progress.tokens_s(progress.models["alpha"]) is None


def test_the_eta_follows_the_rate_so_far(progress: Progress, clock: HandClock) -> None:
    """2 of 10 in 4 s: 8 more take 16 s."""
    through(progress, make_record(seq=0), make_record(seq=1))
    clock.ns += 4 * S
    assert progress.eta_s() == 16


def test_the_eta_is_unknown_before_the_first_request_and_without_a_plan(clock: HandClock) -> None:
    """No rate, or nothing to divide."""
    assert Progress(["alpha"], 10, clock).eta_s() is None
    endless = Progress(["alpha"], None, clock)
    endless.on_phase("measure")
    through(endless, make_record())
    clock.ns += S
    assert endless.eta_s() is None


def test_a_model_nobody_announced_gets_a_row(progress: Progress) -> None:
    """Rather than a KeyError inside the run."""
    through(progress, make_record(model="stray"))
    assert [counts.model for counts in progress.snapshot()] == ["alpha", "beta", "stray"]


def test_a_quiet_wire_is_not_in_flight() -> None:
    """Between the end of its stream and its record, an attempt is neither in flight nor done."""
    progress = Progress(["alpha"], 10, HandClock())
    progress.on_attempt_start(make_record().ticket)
    progress.on_attempt_end(make_record().ticket)
    assert (progress.done, progress.in_flight) == (0, 0)


def test_the_headline_is_the_run_in_one_line(progress: Progress, clock: HandClock) -> None:
    """1 of 10 in 2 s: 9 more take 18 s."""
    through(progress, make_record())
    clock.ns += 2 * S
    assert headline(progress) == "[2 s] measure: 1 of 10 done, 0 failed, 0 in flight, ETA 18 s"


def test_each_model_has_a_row(progress: Progress, clock: HandClock) -> None:
    """Done, failed, in flight, TTFT p50, tokens a second."""
    through(progress, make_record())
    clock.ns += 2 * S
    rows = [line.split() for line in lines(progress, 80, 24)[2:]]
    assert rows == [["alpha", "1", "0", "0", "100", "1.50"], ["beta", "0", "0", "0", "-", "-"]]


def test_the_block_fits_the_terminal(clock: HandClock) -> None:
    """40 models with awkward names in 10 lines of 50 characters."""
    progress = Progress([f"\x1b[31m\n{place}" * 30 for place in range(40)], None, clock)
    block = lines(progress, 50, 10)
    assert len(block) == 10
    assert all(len(line) <= 50 and line.isprintable() for line in block)
    assert numbers_in(block[-1]) == [33]


# --- the view


def test_a_pipe_gets_a_last_line(progress: Progress) -> None:
    """Also when the run is over before the first one is due; and no escapes."""
    out = io.StringIO()
    with LiveView(progress, out):
        through(progress, make_record())
    (line,) = out.getvalue().splitlines()
    assert numbers_in(line)[1:3] == [1, 10]
    assert line.isprintable()


def test_quiet_is_quiet(progress: Progress) -> None:
    """Not a byte."""
    out = io.StringIO()
    with LiveView(progress, out, quiet=True):
        through(progress, make_record())
    assert out.getvalue() == ""


def test_a_closed_output_does_not_harm_the_run(progress: Progress) -> None:
    """stderr may be gone, before or meanwhile."""
    gone = io.StringIO()
    gone.close()
    with LiveView(progress, gone):
        through(progress, make_record())
    assert progress.done == 1


def test_an_error_in_the_run_passes_through(progress: Progress) -> None:
    """The view swallows its own errors only."""
    with pytest.raises(KeyError), LiveView(progress, io.StringIO()):
        raise KeyError


def test_a_terminal_is_drawn_on_and_left_clean() -> None:
    """On a real pseudo-terminal: rows appear, the cursor is back at the end, stdout is untouched."""
    program = """
import threading
from streambench.clock import MonotonicClock
from streambench.report.live import LiveView, Progress
from streambench.testing import make_record
progress = Progress(["alpha"], 10, MonotonicClock())
progress.on_phase("measure")
with LiveView(progress):
    record = make_record()
    progress.on_attempt_start(record.ticket)
    progress.on_attempt_end(record.ticket)
    progress.on_request_end(record)
    threading.Event().wait(1.2)
"""
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    ran = subprocess.run(
        [sys.executable, "-c", program], stderr=slave, stdout=subprocess.PIPE, env=env, timeout=60, check=True
    )
    os.close(slave)
    seen = os.read(master, 1 << 16).decode()
    os.close(master)
    assert ran.stdout == b""
    assert re.search(r"\b1 of 10\b", seen)
    assert "alpha" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")


def test_the_view_loads_neither_pandas_nor_the_sdk() -> None:
    """It starts before the first request."""
    program = "import sys, streambench.report.live; print(*sorted({'pandas', 'openai', 'rich'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert ran.stdout.split() == []
