"""The sink itself: what the official exporters send is what it says, and it misbehaves as it is told."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # ships no types
import pytest
import trustme
from home import ROOT
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context
from otlp_sink import Behaviour, Event, Protocol, Sink, Tls, print_tree

PROGRAM = ROOT / "tests" / "otlp_sink.py"
PATIENCE_S = 30
START = 1_800_000_000_000_000_000
MS = 1_000_000
both = pytest.mark.parametrize("protocol", ["http", "grpc"])
TRACES = "opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(autouse=True)
def quiet_exporters() -> Iterator[None]:
    """Each failed export would be a line of log in the report."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def spans(count: int = 3) -> Sequence[ReadableSpan]:
    """A root `run`, below it `chat 1`, `chat 2`, ...: 10 ms each, 10 ms apart, the last one failed."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "sink-test"}), shutdown_on_exit=False)
    tracer = provider.get_tracer("scope", "1.2", schema_url="https://example.org/schema")
    run = tracer.start_span("run", start_time=START)
    made = [run]
    for number in range(1, count):
        begin = START + number * 10 * MS
        chat = tracer.start_span(
            f"chat {number}",
            context=set_span_in_context(run),
            kind=SpanKind.CLIENT,
            start_time=begin,
            attributes={"model": "a", "tokens": number, "ratio": 0.5, "stream": True, "reasons": ["stop", "length"]},
            links=[Link(run.get_span_context(), {"streambench.link": "run"})],
        )
        chat.add_event("first", {"gap_s": 0.25}, timestamp=begin + MS)
        if number == count - 1:
            chat.set_status(Status(StatusCode.ERROR, "cut"))
        chat.end(begin + 10 * MS)
        made.append(chat)
    run.end(START + count * 10 * MS)
    kept.export([span for span in made if isinstance(span, ReadableSpan)])
    return kept.get_finished_spans()


def exporter(sink: Sink, timeout_s: float = PATIENCE_S, **settings: Any) -> SpanExporter:
    if sink.protocol == "grpc":
        return GrpcSpanExporter(endpoint=sink.endpoint, timeout=timeout_s, **settings)
    return OTLPSpanExporter(endpoint=f"{sink.endpoint}/v1/traces", timeout=timeout_s, **settings)


def send(sink: Sink, timeout_s: float = PATIENCE_S, **settings: Any) -> SpanExportResult:
    """Three spans in one export, with a new exporter."""
    sender = exporter(sink, timeout_s, **settings)
    try:
        return sender.export(spans())
    finally:
        sender.shutdown()


# --- what it answers


@both
def test_a_span_is_what_was_sent(protocol: Protocol) -> None:
    """Every field of a span comes out as it went in, ids in hex and times in nanoseconds."""
    sent = spans(3)
    with Sink(protocol) as sink:
        sender = exporter(sink)
        assert sender.export(sent) is SpanExportResult.SUCCESS
        sender.shutdown()
        root, first, last = sink.wait_for(3, PATIENCE_S)
    context = sent[1].get_span_context()
    assert context is not None
    assert (first.trace_id, first.span_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert (first.name, first.kind, root.kind) == ("chat 1", "CLIENT", "INTERNAL")
    assert (root.parent_id, first.parent_id) == (None, root.span_id)
    assert (first.start_ns, first.end_ns) == (START + 10 * MS, START + 20 * MS)
    assert first.attributes == {
        "model": "a",
        "tokens": 1,
        "ratio": 0.5,
        "stream": True,
        "reasons": ("stop", "length"),
    }
    assert first.events == (Event("first", START + 11 * MS, {"gap_s": 0.25}),)
    (link,) = first.links
    assert (link.trace_id, link.span_id, link.attributes) == (root.trace_id, root.span_id, {"streambench.link": "run"})
    assert (first.status_code, last.status_code, last.status_message) == ("UNSET", "ERROR", "cut")
    assert first.resource["service.name"] == "sink-test"
    assert (first.scope.name, first.scope.version) == ("scope", "1.2")
    assert first.scope.schema_url == "https://example.org/schema"


@both
def test_metrics_are_what_was_recorded(protocol: Protocol) -> None:
    """0.05 and 3.0 with bounds 0.1 and 1: one below, none between, one above; the counter holds 2 + 3."""
    with Sink(protocol) as sink:
        record_metrics(metric_exporter(sink))
        assert sink.wait_until(lambda: len(sink.metrics) >= 2, PATIENCE_S)
        duration, counter = sink.metric("duration"), sink.metric("requests")
    assert (duration.kind, duration.unit, duration.temporality) == ("histogram", "s", "CUMULATIVE")
    (point,) = duration.points
    assert (point.bounds, point.buckets) == ((0.1, 1.0), (1, 0, 1))
    assert (point.count, point.sum, point.min, point.max) == (2, 3.05, 0.05, 3.0)
    assert point.attributes == {"model": "a"}
    assert (counter.kind, counter.monotonic, counter.points[0].value) == ("sum", True, 5)


def test_an_exemplar_names_its_span() -> None:
    """A value recorded inside a span carries its ids."""
    with Sink() as sink:
        context = record_metrics(metric_exporter(sink))
        assert sink.wait_until(lambda: len(sink.metrics) >= 2, PATIENCE_S)
        exemplars = sink.metric("duration").points[0].exemplars
    ids = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert [(each.value, each.trace_id, each.span_id) for each in exemplars] == [(3.0, *ids)]


def metric_exporter(sink: Sink) -> MetricExporter:
    if sink.protocol == "grpc":
        return GrpcMetricExporter(endpoint=sink.endpoint)
    return OTLPMetricExporter(endpoint=f"{sink.endpoint}/v1/metrics")


def record_metrics(sender: MetricExporter) -> Any:
    """Two durations, the second inside a span, and two counts; the span's context."""
    provider = MeterProvider([PeriodicExportingMetricReader(sender)], shutdown_on_exit=False)
    meter = provider.get_meter("scope")
    duration = meter.create_histogram("duration", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    requests = meter.create_counter("requests", "{request}")
    duration.record(0.05, {"model": "a"})
    with TracerProvider(shutdown_on_exit=False).get_tracer("scope").start_as_current_span("chat") as span:
        duration.record(3.0, {"model": "a"})
    requests.add(2)
    requests.add(3)
    provider.shutdown()
    return span.get_span_context()


def test_logs_are_what_was_emitted() -> None:
    """Body, severity and attributes of a record of the event API."""
    with Sink() as sink:
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(
            SimpleLogRecordProcessor(OTLPLogExporter(endpoint=f"{sink.endpoint}/v1/logs"))
        )
        provider.get_logger("scope").emit(body="said", severity_text="WARN", attributes={"n": 1}, event_name="e")
        provider.shutdown()
        assert sink.wait_until(lambda: sink.requests == 1, PATIENCE_S)
        (log,) = sink.logs
    assert (log.body, log.severity_text, log.attributes, log.event_name) == ("said", "WARN", {"n": 1}, "e")
    assert log.trace_id is None


@both
def test_headers_are_kept(protocol: Protocol) -> None:
    """A header of the user's is there as sent."""
    with Sink(protocol) as sink:
        send(sink, headers={"x-api-key": "k-123"})
        (request,) = sink.received
    assert request.headers["x-api-key"] == "k-123"
    assert request.path == ("/v1/traces" if protocol == "http" else f"/{TRACES}")


def test_gzip_is_unpacked_and_told() -> None:
    """The header says gzip, the body is readable, and fewer bytes came over the wire."""
    with Sink() as sink:
        send(sink, compression=Compression.Gzip)
        (request,) = sink.received
    assert request.headers["content-encoding"] == "gzip"
    assert b"chat 1" in request.body
    assert request.wire_bytes < len(request.body)
    assert len(sink.spans) == 3


@both
def test_raw_holds_everything(protocol: Protocol) -> None:
    """Names, values and headers can be found in the bytes; so can those of a refused request."""
    with Sink(protocol, Behaviour(status=401)) as sink:
        send(sink, headers={"x-api-key": "k-123"})
        assert [each in sink.raw for each in (b"chat 2", b"length", b"k-123", b"nowhere")] == [True, True, True, False]
        assert sink.spans == ()


# --- how it misbehaves


@both
@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_is_final(protocol: Protocol, status: int) -> None:
    """These are not retried: one request, nothing taken."""
    with Sink(protocol, Behaviour(status=status)) as sink:
        assert send(sink) is SpanExportResult.FAILURE
        assert (sink.requests, sink.span_count) == (1, 0)


@both
def test_unavailable_for_a_while(protocol: Protocol) -> None:
    """503 or UNAVAILABLE to the first request, with a wait of 0 s: the second is taken."""
    with Sink(protocol, Behaviour(status=503, retry_after_s=0, first=1)) as sink:
        assert send(sink) is SpanExportResult.SUCCESS
        assert (sink.requests, sink.span_count) == (2, 3)


@both
def test_unavailable_for_ever_and_too_long_a_wait(protocol: Protocol) -> None:
    """An exporter with 2 s does not wait for 60: it read the wait, and gives up after one request."""
    with Sink(protocol, Behaviour(status=503, retry_after_s=60)) as sink:
        assert send(sink, timeout_s=2) is SpanExportResult.FAILURE
        assert (sink.requests, sink.span_count) == (1, 0)


@both
def test_a_request_that_hangs_is_never_answered(protocol: Protocol) -> None:
    """The client's own time limit ends it; the sink has what was sent, and takes no span of it."""
    with Sink(protocol, Behaviour(hang=True)) as sink:
        begun = time.monotonic()
        assert send(sink, timeout_s=0.4) is SpanExportResult.FAILURE
        assert time.monotonic() - begun >= 0.4
        assert (b"chat 1" in sink.raw, sink.span_count) == (True, 0)


@both
def test_a_closed_connection_is_retried(protocol: Protocol) -> None:
    """The first is closed without an answer. Over gRPC the next try comes after 1 s, over HTTP at once."""
    with Sink(protocol, Behaviour(close=True, first=1)) as sink:
        assert send(sink) is SpanExportResult.SUCCESS
        assert (sink.requests, sink.span_count) == (2, 3)


@both
def test_an_answer_can_be_slow(protocol: Protocol) -> None:
    """0.3 s before each answer, which is a good one."""
    with Sink(protocol, Behaviour(delay_s=0.3)) as sink:
        begun = time.monotonic()
        assert send(sink) is SpanExportResult.SUCCESS
        assert time.monotonic() - begun >= 0.3


@both
def test_behaviour_can_change(protocol: Protocol) -> None:
    """A sink that recovers while it runs."""
    with Sink(protocol, Behaviour(status=401)) as sink:
        assert send(sink) is SpanExportResult.FAILURE
        sink.behaviour = Behaviour()
        assert send(sink) is SpanExportResult.SUCCESS


@both
def test_it_can_die_and_come_back(protocol: Protocol) -> None:
    """Stopped, it refuses; started again it has the same port and what it had before."""
    with Sink(protocol) as sink:
        sender = exporter(sink, timeout_s=1)
        assert sender.export(spans()) is SpanExportResult.SUCCESS
        where = sink.endpoint
        sink.stop()
        assert sender.export(spans()) is SpanExportResult.FAILURE
        sink.start()
        assert sink.endpoint == where
        assert send(sink) is SpanExportResult.SUCCESS
        sender.shutdown()
        assert sink.span_count == 6


@both
def test_tls_with_client_certificates(protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with a certificate of the right authority is let in, one without is not."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)  # the HTTP exporter's library puts these above its own setting
    authority = trustme.CA()
    names = {"ca": tmp_path / "ca.pem", "sink": tmp_path / "sink.pem", "client": tmp_path / "client.pem"}
    authority.cert_pem.write_to_path(str(names["ca"]))
    for name, identity in (("sink", "127.0.0.1"), ("client", "client.example")):
        issued = authority.issue_cert(identity)
        issued.cert_chain_pems[0].write_to_path(str(names[name]))
        issued.private_key_pem.write_to_path(str(names[name].with_suffix(".key")))
    tls = Tls(names["sink"], names["sink"].with_suffix(".key"), client_ca=names["ca"])
    with Sink(protocol, tls=tls) as sink:
        assert send(sink, **tls_settings(protocol, names["ca"], names["client"])) is SpanExportResult.SUCCESS
        assert send(sink, timeout_s=1, **tls_settings(protocol, names["ca"])) is SpanExportResult.FAILURE
        assert sink.span_count == 3


def tls_settings(protocol: Protocol, authority: Path, client: Path | None = None) -> dict[str, Any]:
    if protocol == "http":
        shown = {"client_certificate_file": client, "client_key_file": client.with_suffix(".key")} if client else {}
        return {name: str(file) for name, file in {"certificate_file": authority, **shown}.items()}
    pair = (client.with_suffix(".key").read_bytes(), client.read_bytes()) if client else (None, None)
    return {"credentials": grpc.ssl_channel_credentials(authority.read_bytes(), *pair)}


def test_http_refuses_what_is_not_otlp() -> None:
    """Another path is 404, JSON 415, bytes that are no message 400; none is taken."""
    with Sink() as sink:
        assert post(f"{sink.endpoint}/v2/traces", b"") == 404
        assert post(f"{sink.endpoint}/v1/traces", b"{}", "application/json") == 415
        assert post(f"{sink.endpoint}/v1/traces", b"\xff\xff\xff") == 400
        assert post(f"{sink.endpoint}/v1/traces", b"") == 200
        assert sink.span_count == 0


def post(url: str, body: bytes, content_type: str = "application/x-protobuf") -> int:
    request = urllib.request.Request(url, body, {"content-type": content_type})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=PATIENCE_S) as response:
            return int(response.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def test_one_fault_at_a_time() -> None:
    """A behaviour that contradicts itself, or has no counterpart in gRPC, is refused when it is written."""
    with pytest.raises(ValueError, match="one fault"):
        Behaviour(hang=True, close=True)
    with pytest.raises(ValueError, match="status 418"):
        Behaviour(status=418)


def test_too_few_spans_are_told_with_numbers() -> None:
    """A wait that ends in vain says what came."""
    with Sink() as sink:
        send(sink)
        with pytest.raises(AssertionError, match=r"3 of 4 spans after 0\.05 s, in 1 requests"):
            sink.wait_for(4, 0.05)


def test_a_burst_is_taken_whole() -> None:
    """20,000 spans in requests of 500 are all there, each once."""
    with Sink() as sink:
        sender = exporter(sink)
        for _ in range(40):
            assert sender.export(spans(500)) is SpanExportResult.SUCCESS
        sender.shutdown()
        taken = sink.wait_for(20_000, PATIENCE_S)
    assert len({(span.trace_id, span.span_id) for span in taken}) == 20_000


# --- how it draws


def test_the_tree_is_drawn() -> None:
    """Children stand under their parent in order of their start, with what is worth knowing of each."""
    with Sink() as sink:
        send(sink)
        drawn = print_tree(sink.spans)
        run = sink.spans[0]
    link = f"{run.trace_id[:8]}/{run.span_id[:8]}"
    assert drawn.splitlines() == [
        f"trace {run.trace_id}",
        "└─ run  INTERNAL  0.030 s",
        f"   ├─ chat 1  CLIENT  0.010 s  events: first  links: {link}",
        f"   └─ chat 2  CLIENT  0.010 s  ERROR cut  events: first  links: {link}",
    ]


def test_the_tree_says_what_is_odd() -> None:
    """A span that came twice is x2, and one without its parent says so."""
    with Sink() as sink:
        sender = exporter(sink)
        chat = spans(2)[1:]
        sender.export(chat)
        sender.export(chat)
        sender.shutdown()
        (_, line) = print_tree(sink.spans).splitlines()
    assert re.search(r"x2  parent [0-9a-f]{16} is not here$", line)


def test_a_long_tree_is_cut() -> None:
    """Of nine siblings two are shown, and how many more there are."""
    with Sink() as sink:
        exporter(sink).export(spans(10))
        drawn = print_tree(sink.spans, most=2).splitlines()
    assert len(drawn) == 1 + 1 + 2 + 1
    assert drawn[-1].strip() == "└─ ... 7 more"


@pytest.mark.parametrize("ending", ["interrupt", "time"])
def test_the_program_prints_what_came(ending: str) -> None:
    """At Ctrl-C, or after its time: the tree and the count."""
    command = [sys.executable, str(PROGRAM), "--port", "0", *(["--for", "3"] if ending == "time" else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    endpoint = process.stdout.readline().removeprefix("READY ").strip()
    sender = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    assert sender.export(spans()) is SpanExportResult.SUCCESS
    if ending == "interrupt":
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert "   └─ chat 2  CLIENT" in said
    assert said.splitlines()[-1] == "1 requests, 3 spans (3 distinct), 0 logs, 0 metrics"
    assert process.returncode == 0


@both
def test_the_program_says_that_its_port_is_taken(protocol: Protocol) -> None:
    """Its last line, whatever the library raises and gRPC writes before."""
    with Sink() as other:
        command = [sys.executable, str(PROGRAM), "--port", str(other.port), "--protocol", protocol]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"cannot listen on port {other.port}: ")
    assert "Traceback" not in done.stderr
