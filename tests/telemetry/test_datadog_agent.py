"""A vendor's decoder reads what a run sends, by HTTP and by gRPC: its spans and its metrics.

Spans of the SDK's own exporters come first: what they cannot do here, no run can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest
from datadog_agent import DatadogAgent, datadog_agent
from home import KEY, MARK, Ran
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context
from otlp_sink import Event, Metric, Protocol, Sink, Span
from scripted_gateway import ScriptedGateway

from streambench.telemetry import semconv

from .running import (
    OUTPUT,
    PROTOCOLS,
    QUICK_RETRY,
    answering,
    ids,
    ids_of_record,
    named,
    scripted,
    shape,
    spans_line,
    to,
    traced_home,
)

# Long, for the first run on a machine builds the agent's environment, which counts as part of the first test.
pytestmark = pytest.mark.timeout(600)

START = 1_800_000_000_000_000_000
MS = 1_000_000
PATIENCE_S = 20.0
RESOURCE = Resource({"service.name": "streambench"})
SPAN_EXPORTERS: Mapping[str, Callable[[str], SpanExporter]] = {
    "http": lambda endpoint: OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces"),
    "grpc": lambda endpoint: GrpcSpanExporter(endpoint=endpoint),
}
METRIC_EXPORTERS: Mapping[str, Callable[[str], MetricExporter]] = {
    "http": lambda endpoint: OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics"),
    "grpc": lambda endpoint: GrpcMetricExporter(endpoint=endpoint),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatadogAgent]:
    with datadog_agent(tmp_path_factory.mktemp("datadog")) as agent:
        yield agent


@pytest.fixture
def agent(running: DatadogAgent) -> DatadogAgent:
    running.clear()
    return running


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


def test_it_reads_a_tree_of_spans(agent: DatadogAgent, protocol: Protocol) -> None:
    """Names, kinds, parents, times, attributes, events, links and status are what was sent."""
    send_spans(SPAN_EXPORTERS[protocol](agent.endpoint(protocol)))
    chat, run = sorted(agent.wait_for(2, PATIENCE_S), key=lambda span: span.name)
    assert (run.name, run.kind, run.parent_id, run.status_code) == ("streambench.run", "INTERNAL", None, "UNSET")
    assert (chat.name, chat.kind, chat.parent_id) == ("chat sim-swift", "CLIENT", run.span_id)
    assert (chat.start_ns, chat.end_ns) == (START + MS, START + 90 * MS)
    assert chat.attributes == {"gen_ai.request.model": "sim-swift", "tokens": 8, "ttft_s": 0.25, "ok": True}
    assert chat.events == (Event("first_chunk", START + 61 * MS, {"index": 0}),)
    assert [(link.trace_id, link.span_id) for link in chat.links] == [(run.trace_id, run.span_id)]
    assert (chat.status_code, chat.status_message) == ("ERROR", "cut")
    assert chat.resource["service.name"] == "streambench"


def test_it_reads_the_same_as_the_sink(agent: DatadogAgent, protocol: Protocol) -> None:
    """Two decoders, one meaning: all but the ids, which are new each time."""
    with Sink(protocol) as sink:
        send_spans(SPAN_EXPORTERS[protocol](sink.endpoint))
        ours = sink.wait_for(2, PATIENCE_S)
    send_spans(SPAN_EXPORTERS[protocol](agent.endpoint(protocol)))
    assert [told(span) for span in agent.wait_for(2, PATIENCE_S)] == [told(span) for span in ours]


def test_it_reads_a_histogram(agent: DatadogAgent, protocol: Protocol) -> None:
    """0.03 and 0.05 s: one in the second bucket, one in the third."""
    provider = MeterProvider(
        [PeriodicExportingMetricReader(METRIC_EXPORTERS[protocol](agent.endpoint(protocol)))],
        resource=RESOURCE,
        shutdown_on_exit=False,
    )
    histogram = provider.get_meter("streambench").create_histogram(
        "gen_ai.client.operation.duration", "s", explicit_bucket_boundaries_advisory=[0.02, 0.04, 0.08]
    )
    histogram.record(0.03, {"gen_ai.request.model": "sim-swift"})
    histogram.record(0.05, {"gen_ai.request.model": "sim-swift"})
    provider.shutdown()
    (metric,) = agent.metrics
    assert (metric.name, metric.unit, metric.kind) == ("gen_ai.client.operation.duration", "s", "histogram")
    (point,) = metric.points
    assert (point.bounds, point.buckets) == ((0.02, 0.04, 0.08), (0, 1, 1, 0))
    assert (point.count, point.sum) == (2, 0.08)
    assert point.attributes == {"gen_ai.request.model": "sim-swift"}


# --- a whole run


@dataclass(frozen=True)
class Sent:
    """A run that sent to the agent, an export of it to the sink, and what the agent made of the first."""

    ran: Ran
    spans: tuple[Span, ...]
    metrics: tuple[Metric, ...]
    exported: tuple[Span, ...]


@pytest.fixture(scope="module", params=["http", "grpc"])
def sent(request: pytest.FixtureRequest, running: DatadogAgent, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """Two models, three prompts; a request of one needs a second attempt."""
    running.clear()
    with (
        traced_home(tmp_path_factory.mktemp("datadog-run")) as home,
        ScriptedGateway(answering("beta")) as gateway,
        Sink(request.param) as sink,
    ):
        telemetry = {"protocol": PROTOCOLS[request.param]}
        config = home.config("alpha", "beta", gateway=scripted(gateway.url), retry=QUICK_RETRY, telemetry=telemetry)
        ran = home.run(config, env=to(running.endpoint(request.param)))
        spans = running.wait_for(spans_line(ran).delivered, PATIENCE_S)
        assert home.export(ran, sink).code == 0
        return Sent(ran, spans, running.metrics, sink.spans)


def test_it_reads_a_whole_run(sent: Sent) -> None:
    """Each span once, with the ids of the record, in the tree of the docs."""
    assert sent.ran.code == 0
    assert ids(sent.spans) == ids_of_record(sent.ran)
    (ways,) = shape(sent.spans).values()
    beta = ("streambench.run", "streambench.model beta", "chat beta")
    assert (len(ways), ways.count((*beta, "POST"))) == (len(sent.spans), 2) == (11, 2)
    assert [span.status_code for span in named(sent.spans, "POST")] == ["ERROR", "UNSET"]


def test_it_reads_of_a_run_what_the_sink_reads(sent: Sent) -> None:
    """Attributes, events, times and status, span by span: the export of the same run."""
    theirs, ours = ({span.span_id: told(span) for span in spans} for spans in (sent.spans, sent.exported))
    assert theirs == ours


def test_it_reads_a_runs_metrics(sent: Sent) -> None:
    """Six requests, of which none failed."""
    newest = {metric.name: metric for metric in sent.metrics}
    assert newest.keys() - {semconv.ACTIVE.name, semconv.TIME_PER_OUTPUT_CHUNK.name, semconv.OUTPUT_SPEED.name} == {
        *(semconv.DURATION.name, semconv.TIME_TO_FIRST_CHUNK.name, semconv.TOKEN_USAGE.name),
        *(semconv.REQUESTS.name, semconv.RETRIES.name),
    }
    duration = newest[semconv.DURATION.name]
    assert (duration.unit, {point.bounds for point in duration.points}) == ("s", {semconv.WAITS})
    assert sum(point.count or 0 for point in duration.points) == 6
    assert sum(point.value or 0 for point in newest[semconv.REQUESTS.name].points) == 6


def test_no_key_and_no_text_reached_it(sent: Sent) -> None:
    """In whatever it read."""
    assert [text for text in (KEY, MARK, OUTPUT) if text in repr((sent.spans, sent.metrics))] == []


def test_clear_forgets(agent: DatadogAgent) -> None:
    """A test begins with nothing."""
    send_spans(SPAN_EXPORTERS["http"](agent.http_endpoint))
    agent.wait_for(2, PATIENCE_S)
    agent.clear()
    assert agent.spans == ()


def send_spans(exporter: SpanExporter) -> None:
    """A run and a failed request below it, each sent as it ends."""
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("streambench", "0.1.0")
    run = tracer.start_span("streambench.run", start_time=START)
    chat = tracer.start_span(
        "chat sim-swift",
        context=set_span_in_context(run),
        kind=SpanKind.CLIENT,
        start_time=START + MS,
        attributes={"gen_ai.request.model": "sim-swift", "tokens": 8, "ttft_s": 0.25, "ok": True},
        links=[Link(run.get_span_context())],
    )
    chat.add_event("first_chunk", {"index": 0}, timestamp=START + 61 * MS)
    chat.set_status(Status(StatusCode.ERROR, "cut"))
    chat.end(START + 90 * MS)
    run.end(START + 100 * MS)
    provider.shutdown()


def told(span: Span) -> tuple[object, ...]:
    """All of it but its ids."""
    times = (span.start_ns, span.end_ns)
    status = (span.status_code, span.status_message)
    resource = {key: value for key, value in span.resource.items() if key != "service.instance.id"}
    return (span.name, span.kind, times, span.attributes, span.events, len(span.links), status, resource, span.scope)
