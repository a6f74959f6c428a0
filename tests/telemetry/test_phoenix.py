"""Phoenix takes what an exporter sends, by HTTP and by gRPC, and gives it back over REST.

Whose exporter it is stands in EXPORTERS, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from phoenix import PROJECT_ATTRIBUTE, Phoenix, PhoenixSpan, phoenix

# Long, for the first run on a machine builds Phoenix's environment, which counts as part of the first test.
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
START_NS = int(START.timestamp()) * 1_000_000_000
MS = 1_000_000
PATIENCE_S = 60.0
REQUESTS = 20
EXPORTERS: Mapping[str, Callable[[str], SpanExporter]] = {
    "http": lambda endpoint: OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=60),
    "grpc": lambda endpoint: GrpcSpanExporter(endpoint=endpoint, timeout=60),
}
CHAT: Mapping[str, str | int | float] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "sim-swift",
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.usage.output_tokens": 9,
    "gen_ai.response.time_to_first_chunk": 0.25,
    "streambench.run.id": "r-1",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    with phoenix(tmp_path_factory.mktemp("phoenix")) as running:
        yield running


@pytest.fixture(params=["http", "grpc"], scope="module")
def stored(request: pytest.FixtureRequest, server: Phoenix) -> tuple[PhoenixSpan, ...]:
    """A run with its requests, read back from a project of its own."""
    project = f"p-{uuid4().hex[:8]}"
    send(EXPORTERS[request.param](server.endpoint(request.param)), project)
    return server.wait_for(project, 1 + REQUESTS, PATIENCE_S)


def test_every_span_is_stored_once(stored: tuple[PhoenixSpan, ...]) -> None:
    """The run and 20 requests, all in one trace."""
    assert len({span.span_id for span in stored}) == len(stored) == 1 + REQUESTS
    assert len({span.trace_id for span in stored}) == 1


def test_requests_stand_below_their_run(stored: tuple[PhoenixSpan, ...]) -> None:
    """One root, and no span without its parent."""
    (run,) = (span for span in stored if span.parent_id is None)
    assert run.name == "streambench.run"
    assert {span.parent_id for span in stored if span is not run} == {run.span_id}


def test_a_request_is_what_was_sent(stored: tuple[PhoenixSpan, ...]) -> None:
    """Times, attributes, events and status come back as they went in."""
    chat = next(span for span in stored if span.attributes.get("index") == 0)
    assert (chat.name, chat.status_code, chat.status_message) == ("chat sim-swift", "ERROR", "cut")
    assert (chat.start, chat.end) == (START + timedelta(milliseconds=1), START + timedelta(milliseconds=90))
    assert CHAT.items() <= chat.attributes.items()
    (event,) = chat.events
    assert (event.name, event.at) == ("streambench.first_chunk", START + timedelta(milliseconds=61))


def test_it_knows_a_request_for_a_call_of_a_model(stored: tuple[PhoenixSpan, ...]) -> None:
    """It reads `gen_ai.*` as its own: an LLM span with model and tokens. A run is nothing to it."""
    kinds = {span.name: span.span_kind for span in stored}
    assert kinds == {"streambench.run": "UNKNOWN", "chat sim-swift": "LLM"}
    chat = next(span for span in stored if span.parent_id)
    counted = [chat.attributes[f"llm.token_count.{kind}"] for kind in ("prompt", "completion")]
    assert (chat.attributes["llm.model_name"], counted) == ("sim-swift", [7, 9])


def send(exporter: SpanExporter, project: str) -> None:
    """A run and its requests, the first of which failed, each sent as it ends."""
    resource = Resource({"service.name": "streambench", PROJECT_ATTRIBUTE: project})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("streambench", "0.1.0")
    run = tracer.start_span("streambench.run", start_time=START_NS)
    for index in range(REQUESTS):
        chat = tracer.start_span(
            "chat sim-swift",
            context=set_span_in_context(run),
            kind=SpanKind.CLIENT,
            start_time=START_NS + MS,
            attributes={**CHAT, "index": index},
        )
        chat.add_event("streambench.first_chunk", timestamp=START_NS + 61 * MS)
        if index == 0:
            chat.set_status(Status(StatusCode.ERROR, "cut"))
        chat.end(START_NS + 90 * MS)
    run.end(START_NS + 100 * MS)
    provider.shutdown()
