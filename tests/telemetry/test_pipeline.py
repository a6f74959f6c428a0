"""What arrives through real sockets is what was given, with the ids, resource and sampling that were asked for."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streambench.errors import ConfigError
from streambench.telemetry import semconv
from streambench.telemetry.batch_queue import QueueCounters
from streambench.telemetry.pipeline import Delivery
from streambench.telemetry.settings import Endpoint, TelemetrySettings
from streambench.telemetry.span_model import EventFacts, LinkFacts, LogFacts, SpanFacts, SpanId, Value
from telemetry.given import KEY, START_NS, attributes_of, facts, opened, settings_for, span_id, until
from telemetry.small_sink import Sink, served


def test_a_span_arrives_as_it_was_given(protocol: str) -> None:
    """Ids, parent, times, kind, attributes, events, links and status, by both protocols."""
    parent, other = span_id(1), span_id(2)
    given = SpanFacts(
        name="chat m",
        kind="client",
        id=SpanId(parent.trace_id, "00000000000000aa"),
        parent=parent,
        start_ns=START_NS,
        end_ns=START_NS + 7,
        attributes={"text": "ä", "flag": True, "number": 3, "seconds": 0.25, "reasons": ("stop", "length")},
        events=(EventFacts("streambench.first_chunk", START_NS + 2, {"n": 1}),),
        links=(LinkFacts(other, {"streambench.link": "run"}),),
        error="429 from the gateway",
    )
    with served(Sink(protocol)) as sink:
        pipeline = opened(settings_for(sink.url, protocol))
        pipeline.emit(given)
        assert pipeline.close(10) == Delivery(1, 1, 0, 0)
    (span,) = sink.spans
    assert (span.trace_id.hex(), span.span_id.hex()) == (parent.trace_id, "00000000000000aa")
    assert span.parent_span_id.hex() == parent.span_id
    assert (span.name, span.kind) == ("chat m", Span.SPAN_KIND_CLIENT)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (START_NS, START_NS + 7)
    assert attributes_of(span.attributes) == dict(given.attributes)
    (event,) = span.events
    assert (event.name, event.time_unix_nano) == ("streambench.first_chunk", START_NS + 2)
    assert attributes_of(event.attributes) == {"n": 1}
    (link,) = span.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (other.trace_id, other.span_id)
    assert attributes_of(link.attributes) == {"streambench.link": "run"}
    assert (span.status.code, span.status.message) == (2, "429 from the gateway")
    assert sink.headers[0]["x-key"] == KEY


def test_a_span_without_an_error_has_no_status() -> None:
    """Unset, as the convention wants it of a success."""
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts())
        pipeline.close(10)
    assert sink.spans[0].status.code == 0


def test_no_attribute_of_a_rich_span_is_dropped() -> None:
    """100 attributes; the SDK's limit is 128, and it drops the oldest."""
    wanted: dict[str, Value] = {f"streambench.a{number}": number for number in range(100)}
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts(0, wanted))
        pipeline.close(10)
    assert attributes_of(sink.spans[0].attributes) == wanted
    assert sink.spans[0].dropped_attributes_count == 0


def test_the_users_limit_of_attributes_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT is the SDK's to read."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts(0, {str(number): number for number in range(5)}))
        pipeline.close(10)
    assert len(sink.spans[0].attributes) == 3


def test_what_protobuf_cannot_hold_does_not_fail_its_batch() -> None:
    """Half a character, and an integer of 70 bits."""
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts(0, {"half": "a\ud800b", "huge": 2**70}))
        assert pipeline.close(10).delivered == 1
    assert attributes_of(sink.spans[0].attributes) == {"half": "a?b", "huge": str(2**70)}


def resource_of(sink: Sink) -> dict[str, object]:
    return attributes_of(sink.requests[0].resource_spans[0].resource.attributes)


def test_resource_and_scope_name_us_and_the_run() -> None:
    """With what the caller adds."""
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"), team="blue")
        pipeline.emit(facts())
        pipeline.close(10)
    found = resource_of(sink)
    assert {key: found[key] for key in ("service.name", "service.version", "streambench.run.id", "team")} == {
        "service.name": "streambench",
        "service.version": "1.2.3",
        "streambench.run.id": "run-1",
        "team": "blue",
    }
    scoped = sink.requests[0].resource_spans[0].scope_spans[0]
    assert (scoped.scope.name, scoped.scope.version, scoped.schema_url) == (semconv.SCOPE, "1.2.3", semconv.SCHEMA_URL)


def test_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over our own words."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=ci,openinference.project.name=mine")
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http", compat=frozenset({"openinference"})))
        pipeline.emit(facts())
        pipeline.close(10)
    found = resource_of(sink)
    assert found["service.name"] == "nightly"
    assert found["deployment.environment.name"] == "ci"
    assert found["openinference.project.name"] == "mine"


def test_openinference_gets_a_project() -> None:
    """Phoenix sorts by it; none was given."""
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http", compat=frozenset({"openinference"})))
        pipeline.emit(facts())
        pipeline.close(10)
    assert resource_of(sink)["openinference.project.name"] == "streambench"


# --- sampling


def test_a_span_that_is_not_sampled_is_counted_apart() -> None:
    """One of two goes out."""
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts(1, sampled=False))
        pipeline.emit(facts(2))
        assert pipeline.close(10) == Delivery(1, 1, 0, 0, unsampled=1)
    assert [span.name for span in sink.spans] == ["chat 2"]


def test_the_samplers_word_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """always_off: nothing goes out, and `sampled` says so ahead of time."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        assert not pipeline.sampled(span_id(1).trace_id)
        pipeline.emit(facts())
        assert pipeline.close(10) == Delivery(0, 0, 0, 0, unsampled=1)
    assert sink.spans == []


def test_a_ratio_decides_alike_ahead_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace ids below and above the half of 64 bits: the first is sampled, the second is not."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    low, high = f"{1:016x}{1:016x}", f"{1:016x}{2**64 - 1:016x}"
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        assert (pipeline.sampled(low), pipeline.sampled(high)) == (True, False)
        for trace_id in (low, high):
            pipeline.emit(SpanFacts("root", "internal", SpanId(trace_id, "1" * 16), None, 1, 2, {}))
        pipeline.close(10)
    assert [span.trace_id.hex() for span in sink.spans] == [low]


def test_a_parent_that_was_not_sampled_decides_for_the_run() -> None:
    """As a CI job's TRACEPARENT may say."""
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        assert not pipeline.sampled(span_id(1).trace_id, parent=span_id(1, sampled=False))
        assert pipeline.sampled(span_id(1).trace_id, parent=span_id(1))
        pipeline.close(10)


# --- an installed provider


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A provider of somebody else's."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield kept
    provider.shutdown()


def test_an_installed_provider_is_used_alone_and_stays_open(installed: InMemorySpanExporter) -> None:
    """Its exporter gets the span with our ids; ours none; and it works on after we have closed."""
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        pipeline.emit(facts(7))
        assert pipeline.close(10) == Delivery(1, 0, 0, 0, known=False)
        assert pipeline.delivery.lost == 0
    assert sink.spans == []
    (span,) = installed.get_finished_spans()
    assert span.context is not None
    assert f"{span.context.span_id:016x}" == span_id(7).span_id
    trace.get_tracer("theirs").start_span("after").end()
    ids = {each.context.span_id for each in installed.get_finished_spans() if each.context}
    assert len(ids) == 2


def test_our_own_provider_is_not_installed() -> None:
    """Whoever else uses OpenTelemetry in this process does not notice us."""
    with served(Sink()) as sink:
        pipeline = opened(settings_for(sink.url, "http"))
        assert not isinstance(trace.get_tracer_provider(), TracerProvider)
        pipeline.close(10)


def test_without_settings_nothing_is_opened() -> None:
    """No thread, no count, no error."""
    before = threading.active_count()
    pipeline = opened(TelemetrySettings())
    pipeline.emit(facts())
    pipeline.active(1, {})
    assert not pipeline.sampled(span_id(1).trace_id)
    assert threading.active_count() == before
    assert pipeline.close(10) == Delivery(0, 0, 0, 0)


# --- content


def test_content_goes_out_as_a_log_record_of_its_span(protocol: str) -> None:
    """Only where events are asked for, to an endpoint of its own."""
    with served(Sink(protocol)) as sink:
        url = sink.url + ("/v1/logs" if protocol == "http" else "")
        to = Endpoint(url, "grpc" if protocol == "grpc" else "http/protobuf", "test", insecure=True)
        pipeline = opened(TelemetrySettings(logs_to=to, content="EVENT_ONLY"))
        pipeline.log(LogFacts(semconv.CONTENT_EVENT, START_NS, span_id(3), {"gen_ai.output.messages": "[]"}))
        pipeline.close(10)
        assert pipeline.logged == QueueCounters(1, 1, 0, 0)
    (request,) = sink.requests
    assert isinstance(request, ExportLogsServiceRequest)
    (record,) = request.resource_logs[0].scope_logs[0].log_records
    assert (record.event_name, record.time_unix_nano) == (semconv.CONTENT_EVENT, START_NS)
    assert (record.trace_id.hex(), record.span_id.hex()) == (span_id(3).trace_id, span_id(3).span_id)
    assert attributes_of(record.attributes) == {"gen_ai.output.messages": "[]"}


def test_no_content_goes_out_unasked() -> None:
    """The endpoint is there, the wish is not."""
    with served(Sink()) as sink:
        to = Endpoint(sink.url + "/v1/logs", "http/protobuf", "test")
        pipeline = opened(TelemetrySettings(logs_to=to))
        pipeline.log(LogFacts(semconv.CONTENT_EVENT, START_NS, span_id(3), {"gen_ai.output.messages": "[]"}))
        pipeline.close(10)
    assert sink.requests == []


# --- manners
def test_the_console_exporter_writes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """stdout is the report's."""
    pipeline = opened(TelemetrySettings(traces="console"))
    pipeline.emit(facts(5))
    assert pipeline.close(10) == Delivery(1, 1, 0, 0)
    out, err = capfd.readouterr()
    assert out == ""
    assert '"name": "chat 5"' in err


def test_a_variable_that_the_sdk_cannot_read_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told with the variable's name."""
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "many")
    with pytest.raises(ConfigError, match="OTEL_SPAN_EVENT_COUNT_LIMIT"):
        opened(TelemetrySettings(traces="console"))


def test_what_was_opened_before_a_fault_is_closed(tmp_path: Path) -> None:
    """The logs' certificate is not there, which is found out last: no thread of the others is left."""
    before = set(threading.enumerate())
    good = Endpoint("127.0.0.1:9", "grpc", "test", insecure=True)
    bad = Endpoint("127.0.0.1:9", "grpc", "test", certificate=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"none\.pem"):
        opened(TelemetrySettings("otlp", "otlp", good, good, logs_to=bad, content="EVENT_ONLY"))
    until(lambda: not [each for each in threading.enumerate() if each not in before])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_headers_that_the_endpoint_has_not_are_not_sent(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporters add the environment's by themselves, wherever the endpoint came from."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-other=secret")
    with served(Sink(protocol)) as sink:
        settings = settings_for(sink.url, protocol)
        assert settings.traces_to is not None
        for headers in ({}, {"x-key": KEY}):
            to = replace(settings.traces_to, headers=headers)
            pipeline = opened(replace(settings, traces_to=to))
            pipeline.emit(facts())
            assert pipeline.close(10).delivered == 1
    assert [each.get("x-key") for each in sink.headers] == [None, KEY]
    assert not [each for each in sink.headers if "x-other" in each]


def test_facts_names_settings_and_points_load_no_opentelemetry() -> None:
    """A run without telemetry does not pay for it."""
    program = (
        "import sys; from streambench.telemetry import span_model, semconv, measurements, settings;"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'numpy', 'requests'))])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"
