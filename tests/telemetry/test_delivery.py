"""Every span is counted: delivered, failed or lost, whatever a collector does; and the end comes in time."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest
from home import ROOT

from streambench.telemetry.pipeline import Delivery
from streambench.telemetry.settings import Endpoint, TelemetrySettings
from telemetry.given import KEY, facts, opened, settings_for, until
from telemetry.small_sink import Sink, served


def test_a_burst_of_20000_loses_none(protocol: str) -> None:
    """As fast as Python makes them, with the default settings."""
    with served(Sink(protocol)) as sink:
        pipeline = opened(settings_for(sink.url, protocol))
        for number in range(20_000):
            pipeline.emit(facts(number))
        found = pipeline.close(60)
        assert found == Delivery(20_000, 20_000, 0, 0)
        assert found.lost == 0
    assert len({span.span_id for span in sink.spans}) == 20_000


def test_a_slow_collector_loses_none_where_pressure_is_obeyed(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of 1,000 and 0.1 s a request: 3,000 spans fit because the caller waits at 0.75."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1000")
    with served(Sink(protocol, delay_s=0.1)) as sink:
        pipeline = opened(settings_for(sink.url, protocol))
        for number in range(3_000):
            until(lambda: pipeline.pressure < 0.75)
            pipeline.emit(facts(number))
        assert pipeline.close(60) == Delivery(3_000, 3_000, 0, 0)
    assert len({span.span_id for span in sink.spans}) == 3_000


def test_a_collector_that_is_away_for_a_while_gets_all(protocol: str) -> None:
    """503 for five seconds, which is longer than a run needs to fill several batches."""
    back = time.monotonic() + 5
    sink = Sink(protocol, answers=lambda: 200 if time.monotonic() > back else 503)
    with served(sink):
        pipeline = opened(settings_for(sink.url, protocol))
        for number in range(2_000):
            pipeline.emit(facts(number))
        found = pipeline.close(60)
    assert (found.ended, found.delivered, found.failed, found.lost) == (2_000, 2_000, 0, 0)
    assert len({span.span_id for span in sink.spans}) == 2_000


def test_a_batch_that_an_exporter_gave_up_is_sent_again(protocol: str) -> None:
    """With a timeout of half a second the exporter never waits for its first retry; ours brings it."""
    answers = iter([503, 503])
    sink = Sink(protocol, answers=lambda: next(answers, 200))
    with served(sink):
        settings = settings_for(sink.url, protocol)
        assert settings.traces_to is not None
        short = Endpoint(**{**_fields(settings.traces_to), "timeout_s": 0.5})  # type: ignore[arg-type]
        pipeline = opened(TelemetrySettings(traces="otlp", traces_to=short))
        pipeline.emit(facts())
        found = pipeline.close(30)
    assert (found.delivered, found.failed) == (1, 0)
    assert found.last_error is not None
    assert "503" in found.last_error or "UNAVAILABLE" in found.last_error


def _fields(endpoint: Endpoint) -> dict[str, object]:
    return {name: getattr(endpoint, name) for name in Endpoint.__slots__}


def test_fat_spans_stay_under_four_mebibytes(protocol: str) -> None:
    """300 spans of 100 kB: 30 MB, of which a gRPC server takes 4 MiB at a time."""
    with served(Sink(protocol)) as sink:
        pipeline = opened(settings_for(sink.url, protocol))
        for number in range(300):
            pipeline.emit(facts(number, {"gen_ai.output.messages": "ä" * 50_000}))
        assert pipeline.close(60) == Delivery(300, 300, 0, 0)
    assert 1_000_000 < sink.largest < 4 * 1024 * 1024


# --- what fails is told


@pytest.mark.parametrize(("status", "says"), [(401, "401 Unauthorized"), (404, "404 Not Found")])
def test_a_refusal_is_final_and_told(status: int, says: str) -> None:
    """It is not tried again: it would be as wrong."""
    sink = Sink(answers=lambda: status)
    with served(sink):
        pipeline = opened(settings_for(sink.url, "http"))
        for number in range(1_000):
            pipeline.emit(facts(number))
        assert pipeline.close(30) == Delivery(1_000, 0, 1_000, 0, last_error=says)
        assert pipeline.pressure == 0
    assert 2 <= len(sink.headers) <= 4


def test_a_refusal_by_grpc_is_final_and_told() -> None:
    """The code and its details."""
    sink = Sink("grpc", answers=lambda: 401)
    with served(sink):
        pipeline = opened(settings_for(sink.url, "grpc"))
        pipeline.emit(facts())
        assert pipeline.close(30) == Delivery(1, 0, 1, 0, last_error="UNAUTHENTICATED answered 401")


def test_spans_that_a_collector_rejects_have_failed(protocol: str) -> None:
    """partial_success: 3 of 10 in each request, with its reason; the exporter says nothing of it."""
    with served(Sink(protocol, reject=3)) as sink:
        pipeline = opened(settings_for(sink.url, protocol))
        for number in range(10):
            pipeline.emit(facts(number))
        found = pipeline.close(10)
    failed = 3 * len(sink.requests)
    assert (found.delivered, found.failed) == (10 - failed, failed)
    assert found.last_error == "3 spans refused: too old"


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [(302, b"", "302 Found"), (200, b"<!doctype html>", "200, but with a web page: not an OTLP endpoint")],
)
def test_what_only_looks_like_a_success_is_none(status: int, body: bytes, says: str) -> None:
    """The exporter takes a redirect for a success, and a login page too."""
    with served(Sink(answers=lambda: status, body=body)) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts())
        assert pipeline.close(10) == Delivery(1, 0, 1, 0, last_error=says)


def test_a_success_in_words_of_its_own_is_one() -> None:
    """Some backends answer JSON, or `ok`."""
    with served(Sink(body=b'{"partialSuccess":{}}')) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts())
        assert pipeline.close(10) == Delivery(1, 1, 0, 0)


def test_the_key_is_in_no_message() -> None:
    """A collector that echoes it."""
    sink = Sink("grpc", reject=1)
    with served(sink):
        pipeline = opened(settings_for(sink.url, "grpc"))
        hush = logging.getLogger("opentelemetry.sdk")
        hush.error("failed with %s", KEY)
        pipeline.emit(facts())
        found = pipeline.close(10)
    assert found.last_error is not None
    assert KEY not in repr(found)
    assert pipeline._log_capture.last == "failed with ***"


# --- dead ends


def test_a_dead_endpoint_costs_no_more_than_the_deadline(protocol: str, closed_port: int) -> None:
    """All has failed, and the reason is the innermost one."""
    url = f"http://127.0.0.1:{closed_port}" if protocol == "http" else f"127.0.0.1:{closed_port}"
    pipeline = opened(settings_for(url, protocol))
    for number in range(1_000):
        pipeline.emit(facts(number))
    began = time.monotonic()
    found = pipeline.close(1.0)
    assert time.monotonic() - began < 3
    assert (found.ended, found.delivered, found.failed, found.waiting, found.lost) == (1_000, 0, 1_000, 0, 0)
    assert found.last_error is not None
    assert "refused" in found.last_error


def test_an_endpoint_that_hangs_costs_no_more_than_the_deadline(protocol: str) -> None:
    """It accepts, and never answers."""
    with served(Sink(protocol, hang=True)) as sink:
        pipeline = opened(settings_for(sink.url, protocol))
        for number in range(1_000):
            pipeline.emit(facts(number))
        began = time.monotonic()
        found = pipeline.close(1.0)
        assert time.monotonic() - began < 3
        assert (found.ended, found.delivered, found.failed, found.waiting) == (1_000, 0, 1_000, 0)


def test_a_full_queue_blocks_nobody_and_is_counted(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of 100 and 1,000 spans: what was pushed out is lost, what was kept has failed."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    pipeline = opened(settings_for(f"http://127.0.0.1:{closed_port}", "http"))
    for number in range(1_000):
        pipeline.emit(facts(number))
    found = pipeline.close(0.5)
    assert found.ended == 1_000
    assert found.delivered == 0
    assert found.failed + found.lost == 1_000
    assert found.lost >= 800


def test_a_second_close_says_the_same() -> None:
    """And what is emitted after the first is not sent."""
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts())
        first = pipeline.close(10)
        pipeline.emit(facts(2))
        assert pipeline.close(10) == first
    assert len(sink.spans) == 1


# --- manners


def test_the_sdk_writes_nothing_on_our_terminal(closed_port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Its retries and failures are caught, and its loggers are as they were afterwards."""
    logger = logging.getLogger("opentelemetry")
    before = (list(logger.handlers), logger.propagate)
    with served(Sink(answers=lambda: 401)) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts())
        pipeline.close(10)
        assert pipeline._log_capture.last is not None
    assert (list(logger.handlers), logger.propagate) == before
    dead = opened(settings_for(f"http://127.0.0.1:{closed_port}", "http"))
    dead.emit(facts())
    dead.close(1.5)
    until(lambda: logger.propagate)
    assert capfd.readouterr() == ("", "")


def test_pipelines_that_overlap_leave_the_loggers_as_they_were() -> None:
    """The first ends while the second is open."""
    logger = logging.getLogger("opentelemetry")
    until(lambda: logger.propagate)
    first, second = opened(TelemetrySettings()), opened(TelemetrySettings())
    first.close(1)
    assert not logger.propagate
    second.close(1)
    assert logger.propagate


PROGRAM = """
import sys, time
from streambench.telemetry.span_model import SpanFacts, SpanId
from streambench.telemetry.pipeline import open_pipeline
from streambench.telemetry.settings import Endpoint, TelemetrySettings
url, protocol = sys.argv[1:]
kind = "http/protobuf" if protocol == "http" else "grpc"
path = "/v1/traces" if protocol == "http" else ""
base = Endpoint(url + path, kind, "t", timeout_s=90, insecure=True)
points = Endpoint(url + path.replace("traces", "metrics"), kind, "t", timeout_s=90, insecure=True)
pipeline = open_pipeline(TelemetrySettings("otlp", "otlp", base, points), run_id="r", version="0")
for number in range(2000):
    pipeline.emit(SpanFacts("s", "internal", SpanId("1" * 32, f"{number + 1:016x}"), None, 1, 2, {}))
pipeline.active(1, {})
began = time.monotonic()
found = pipeline.close(1.0)
print(found.ended, found.delivered, found.failed, time.monotonic() - began < 2.5)
"""


@pytest.mark.parametrize("ending", ["refused", "hangs"])
def test_the_interpreter_ends_though_the_endpoint_is_dead(protocol: str, ending: str, closed_port: int) -> None:
    """Spans and metrics both; the process prints its counts and is gone, with nothing on stderr.

    An export that waits for its answer would hold it for the timeout of 90 s if one of our threads were no daemon.
    """
    with served(Sink(protocol, hang=True)) as sink:
        refused = f"http://127.0.0.1:{closed_port}" if protocol == "http" else f"127.0.0.1:{closed_port}"
        url = sink.url if ending == "hangs" else refused
        began = time.monotonic()
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, url, protocol],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
        )
        assert (ran.stdout.split(), ran.stderr, ran.returncode) == (["2000", "0", "2000", "True"], "", 0)
        assert time.monotonic() - began < 20
